import { expect, test } from "vitest";
import { GRANT, redemptionOf, startScriptedServer } from "../fixture/scripted-server.ts";
import { openLab } from "./lab.ts";

const YEAR_MS = 365 * 24 * 3600 * 1000;

test("a clock that was set back by a year holds nothing up", async () => {
	const lab = await openLab();
	lab.capture("ses_1", ["before"]);
	const before = Date.now() + YEAR_MS;
	lab.outbox.nack("ses_1", before, "it failed before the clock was set back");
	lab.outbox.say({ next_connect_at: before, connect_attempts: 1 }, before);
	lab.start();
	await lab.drained();
	expect((await lab.redeem("ses_1")).redemption.cursor).toBe(1);
});

test("a session whose call is never answered holds up no other", async () => {
	const scripted = await startScriptedServer();
	const lab = await openLab();
	scripted.script.createShare = (_key, request) => {
		const { session_id } = request as { session_id: string };
		return { ...GRANT, share_id: session_id };
	};
	scripted.script.redemption = (shareId) => ({ ...redemptionOf(shareId), session_id: shareId });
	const { appendOps } = scripted.script;
	scripted.script.appendOps = (batch) =>
		batch.ops[0]?.op_id.startsWith("evt_ses_1") ? new Promise(() => undefined) : appendOps(batch);
	lab.proxy.retarget(scripted.port);
	lab.capture("ses_1", ["never answered"]);
	lab.start();
	await scripted.called("appendOps");
	lab.capture("ses_2", ["healthy"]);
	await lab.until(() => lab.outbox.session("ses_2")?.acked_cursor === 1);
	expect(lab.outbox.session("ses_1")).toMatchObject({ acked_cursor: 0, pending: 1 });
	await lab.stop();
	await scripted.close();
});

test("an attempt to connect waits until it is due, after a restart as well", async () => {
	const scripted = await startScriptedServer();
	const lab = await openLab();
	let connectedAt = 0;
	scripted.script.socket = () => {
		connectedAt = Date.now();
		return false;
	};
	lab.proxy.retarget(scripted.port);
	lab.capture("ses_1", ["waits"]);
	const due = Date.now() + 300;
	lab.outbox.say({ next_connect_at: due, connect_attempts: 3 }, Date.now());
	lab.start();
	await lab.drained();
	// A timer may fire up to a millisecond early.
	expect(connectedAt).toBeGreaterThanOrEqual(due - 1);
	await lab.stop();
	await scripted.close();
});
