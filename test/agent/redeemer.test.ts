import { rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { GRANT, startScriptedServer } from "../fixture/scripted-server.ts";
import { messageDigests, openLab } from "./lab.ts";

test("a share that is said to be of another session gets nothing", async () => {
	const scripted = await startScriptedServer();
	const lab = await openLab();
	lab.proxy.retarget(scripted.port);
	lab.capture("ses_other", ["not for them"]);
	lab.start();
	const redemptions = () => scripted.calls.filter((method) => method === "redemption").length;
	await lab.until(() => redemptions() >= 2 || scripted.calls.includes("appendOps"));
	expect(scripted.calls).not.toContain("appendOps");
	expect(lab.outbox.session("ses_other")).toMatchObject({ acked_cursor: 0, pending: 1 });
	await lab.stop();
	await scripted.close();
});

test("a grant is shown to no server but the one that made it", async () => {
	const scripted = await startScriptedServer();
	const lab = await openLab();
	lab.proxy.retarget(scripted.port);
	lab.capture("ses_1", ["waits"]);
	lab.outbox.ask("ses_1", "https://elsewhere.example", "k".repeat(43), 1);
	lab.outbox.granted("ses_1", GRANT);
	lab.start();
	await lab.drained();
	expect(scripted.calls).toEqual([]);
	expect(lab.outbox.session("ses_1")).toMatchObject({ parked_code: "other_server", pending: 1 });
	await lab.stop();
	await scripted.close();
});

test("a removal that was not acknowledged is repeated when its share is compared", async () => {
	const lab = await openLab();
	lab.capture("ses_1", ["goes", "stays"]);
	lab.start();
	await lab.drained();
	await lab.stop();
	lab.append("ses_1", [{ op_id: "gone", type: "message_removed", key: "message/msg_0", payload: "{}" }]);
	lab.outbox.mustCompare("ses_1", "a test wants it");
	const payload = JSON.stringify({ id: "msg_1", text: "stays" });
	lab.truth.set("ses_1", [{ type: "message", key: "message/msg_1", payload }]);
	lab.start();
	await lab.drained();
	expect([...(await lab.digests("ses_1")).keys()]).toEqual(["message/msg_1"]);
});

test("what both OpenCode and the server have lost is rebuilt from the outbox", async () => {
	const lab = await openLab();
	lab.capture("ses_1", ["old", "older"]);
	lab.start();
	await lab.drained();
	const first = lab.outbox.share("ses_1")?.share_id;
	await lab.stopServer();
	for (const suffix of ["", "-wal", "-shm"]) rmSync(join(lab.dir, `share.db${suffix}`), { force: true });
	await lab.startServer();
	lab.capture("ses_1", ["new"]);
	await lab.until(() => lab.outbox.share("ses_1")?.share_id !== first);
	await lab.drained();
	expect(await lab.digests("ses_1")).toEqual(messageDigests(["old", "older", "new"]));
});

test("an unshare of unknown outcome is asked for again", async () => {
	const scripted = await startScriptedServer();
	const lab = await openLab();
	lab.proxy.retarget(scripted.port);
	lab.capture("ses_1", ["secret plans"]);
	lab.start();
	await lab.drained();
	scripted.script.deleteShare = () => {
		throw new Error("broken");
	};
	lab.outbox.want("ses_1", "unshare");
	lab.capture("ses_2", ["wakes the flusher"]);
	await scripted.called("deleteShare");
	await lab.until(() => lab.outbox.session("ses_1")?.wanted === "never" || scripted.calls.at(-1) !== "deleteShare");
	expect(lab.outbox.session("ses_1")?.wanted).toBe("unshare");
	expect(lab.outbox.share("ses_1")?.secret).toBe(GRANT.secret);
	await lab.stop();
	await scripted.close();
});
