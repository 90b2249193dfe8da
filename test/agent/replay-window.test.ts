import { expect, test } from "vitest";
import { LIMITS } from "../../src/protocol/limits.ts";
import { dialWebSocket } from "../../src/transport/websocket.ts";
import { redemptionOf, startScriptedServer } from "../fixture/scripted-server.ts";
import { type Lab, openLab } from "./lab.ts";

test("a batch is acknowledged by its own answer, and by none of a younger one", async () => {
	const scripted = await startScriptedServer();
	const lab = await openLab({ timing: { callMs: 300 } });
	const limits = { ...LIMITS, ops_per_batch: 1 };
	scripted.script.redemption = (shareId) => ({ ...redemptionOf(shareId), limits });
	scripted.script.appendOps = ({ ops: [op] }) =>
		op?.expected_cursor === 0
			? new Promise(() => undefined)
			: { cursor: 2, applied: [op?.op_id], duplicates: [], rejected: [] };
	lab.proxy.retarget(scripted.port);
	lab.capture("ses_1", ["never answered", "answered"]);
	lab.start();
	await scripted.called("appendOps", 2);
	await lab.until(() => lab.log.some((line) => line.message === "an attempt failed"));
	expect(lab.outbox.session("ses_1")).toMatchObject({ acked_cursor: 0, sealed_cursor: 2, pending: 2 });
	await lab.stop();
	await scripted.close();
});

test("a batch that is answered with HTTP 500 stays in the line, and goes once the server is well", async () => {
	const scripted = await startScriptedServer();
	const lab = await openLab();
	let failures = 0;
	// Only a batch is as large as this.
	scripted.script.post = (request, response) => {
		if (Number(request.headers["content-length"]) < 50_000) return false;
		failures++;
		response.writeHead(500).end("internal error");
		return true;
	};
	lab.proxy.faults.refuseUpgrades = true;
	lab.proxy.retarget(scripted.port);
	lab.capture("ses_1", ["x".repeat(100_000)]);
	lab.start();
	await lab.until(() => failures >= 2 || lab.outbox.deadLetters().length > 0);
	expect(lab.outbox.deadLetters()).toEqual([]);
	expect(lab.outbox.session("ses_1")).toMatchObject({ acked_cursor: 0, pending: 1 });
	scripted.script.post = () => false;
	await lab.drained();
	expect(scripted.calls.filter((method) => method === "appendOps")).toHaveLength(1);
	expect(lab.outbox.session("ses_1")).toMatchObject({ acked_cursor: 1, pending: 0 });
	await lab.stop();
	await scripted.close();
});

test("nothing is sealed before a redemption has told where the share stands and what it takes", async () => {
	const scripted = await startScriptedServer();
	const lab = await openLab();
	const batches: number[] = [];
	const { appendOps } = scripted.script;
	scripted.script.redeemShare = () => {
		throw new Error("broken");
	};
	scripted.script.redemption = (shareId) => ({
		...redemptionOf(shareId),
		limits: { ...LIMITS, ops_per_batch: 1 },
	});
	scripted.script.appendOps = (batch) => {
		batches.push(batch.ops.length);
		return appendOps(batch);
	};
	lab.proxy.retarget(scripted.port);
	lab.capture("ses_1", ["one", "two", "three"]);
	lab.start();
	await scripted.called("redeemShare", 2);
	expect(lab.outbox.session("ses_1")).toMatchObject({ sealed_cursor: 0, pending: 3 });
	scripted.script.redeemShare = () => undefined;
	await lab.drained();
	expect(batches).toEqual([1, 1, 1]);
	await lab.stop();
	await scripted.close();
});

const OPS = 10;

/** A lab whose batches have one op each; `onWritten` is told when a message has left, with what lets the agent know. */
async function openSlowLab(onWritten: (lab: Lab, tell: () => void) => void) {
	const scripted = await startScriptedServer();
	const lab = await openLab({
		dial: (url) => {
			const socket = dialWebSocket(url);
			const send = socket.send.bind(socket) as (text: string, written: () => void) => void;
			return Object.assign(socket, {
				send: (text: string, written: () => void) => send(text, () => onWritten(lab, written)),
			});
		},
	});
	scripted.script.redemption = (shareId) => ({ ...redemptionOf(shareId), limits: { ...LIMITS, ops_per_batch: 1 } });
	lab.proxy.retarget(scripted.port);
	lab.capture(
		"ses_1",
		Array.from({ length: OPS }, (_, n) => `text ${n}`),
	);
	return { lab, scripted };
}

test("a full window's next batch is sealed once those before it have left", async () => {
	const sealed: (number | undefined)[] = [];
	const { lab, scripted } = await openSlowLab(({ outbox }, tell) => {
		sealed.push(outbox.session("ses_1")?.sealed_cursor);
		tell();
	});
	const { appendOps } = scripted.script;
	// The first turn is of four batches; in the second one nobody else waits.
	scripted.script.appendOps = (batch) =>
		(batch.ops[0]?.expected_cursor ?? 0) < 4 ? appendOps(batch) : new Promise(() => undefined);
	lab.start();
	await scripted.called("appendOps", 8);
	await lab.until(() => lab.outbox.session("ses_1")?.sealed_cursor === 9);
	expect(sealed.at(-1)).toBe(8);
	await lab.dispose();
	await scripted.close();
});

test("batches whose leaving is not told are sent all the same", async () => {
	const { lab, scripted } = await openSlowLab(() => undefined);
	lab.start();
	await lab.drained();
	expect(scripted.calls.filter((method) => method === "appendOps")).toHaveLength(OPS);
	await lab.stop();
	await scripted.close();
});
