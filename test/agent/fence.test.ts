import { expect, test } from "vitest";
import type { RedeemedShare } from "../../src/transport/transport.ts";
import { startScriptedServer } from "../fixture/scripted-server.ts";
import { openLab } from "./lab.ts";

const entity = (n: number, text: string) => ({
	type: "message" as const,
	key: `message/msg_${n}`,
	payload: JSON.stringify({ id: `msg_${n}`, text }),
});

/** A copy of an op that arrives late, at a position that is free again. */
function lateCopy(old: RedeemedShare, expected_cursor: number) {
	const { capability_epoch } = old.redemption;
	const op = { op_id: "late", batch_id: "late", seq: 0, expected_cursor, capability_epoch, ...entity(9, "late") };
	return old.appendOps({ batch_id: "late", ops: [op], source_watermark: null });
}

test("what was under way to a share before it was compared can do nothing", async () => {
	const lab = await openLab();
	lab.capture("ses_1", ["before"]);
	lab.start();
	await lab.drained();
	const old = await lab.redeem("ses_1");
	await lab.stop();
	lab.outbox.mustCompare("ses_1", "a test wants it");
	lab.truth.set("ses_1", [entity(0, "before"), entity(1, "after")]);
	lab.capture("ses_1", ["after"]);
	lab.start();
	await lab.drained();
	await expect(lateCopy(old, 2)).rejects.toMatchObject({ code: "stale_epoch" });
	expect((await lab.redeem("ses_1")).redemption.cursor).toBe(2);
});

test("what was under way before an op was set aside can do nothing", async () => {
	const lab = await openLab();
	lab.capture("ses_1", ["before"]);
	lab.start();
	await lab.drained();
	const old = await lab.redeem("ses_1");
	lab.append("ses_1", [{ op_id: "bad", type: "message", key: "message/bad", payload: "{" }]);
	await lab.drained();
	expect(lab.outbox.deadLetters()).toMatchObject([{ op_id: "bad" }]);
	await expect(lateCopy(old, 1)).rejects.toMatchObject({ code: "stale_epoch" });
	expect((await lab.redeem("ses_1")).redemption.cursor).toBe(1);
});

test("no op is set aside and no seal undone before the fence stands", async () => {
	const scripted = await startScriptedServer();
	const lab = await openLab();
	scripted.script.appendOps = ({ ops }) => {
		const rejected = ops.map(({ op_id }) => ({ op_id, code: "invalid_payload", reason: "no" }));
		return { cursor: 0, applied: [], duplicates: [], rejected };
	};
	scripted.script.revokeCapability = () => {
		throw new Error("broken");
	};
	lab.proxy.retarget(scripted.port);
	lab.capture("ses_1", ["refused"]);
	lab.start();
	const fences = () => scripted.calls.filter((method) => method === "revokeCapability").length;
	await lab.until(() => fences() >= 2 || lab.outbox.deadLetters().length > 0);
	expect(lab.outbox.deadLetters()).toEqual([]);
	expect(lab.outbox.session("ses_1")).toMatchObject({ pending: 1, sealed_cursor: 1, acked_cursor: 0 });
	await lab.stop();
	await scripted.close();
});
