import { rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { digestOf } from "../../src/model/json.ts";
import { type Lab, messageDigests, openLab } from "./lab.ts";

/** What a comparison does where OpenCode does not have the session any more: `lab.truth` stays empty. */

test("an outbox leaves a share alone that was brought further than it ever captured, and notes what is there", async () => {
	const lab = await openLab();
	await drainOnce(lab);
	const share = await lab.redeem("ses_1");
	const { capability_epoch } = share.redemption;
	const [batch_id, payload] = ["of another copy", JSON.stringify({ id: "msg_0", text: "newer" })];
	const of = { batch_id, seq: 0, expected_cursor: 1, capability_epoch };
	const op = { ...of, op_id: "evt_newer", type: "message", key: "message/msg_0", payload } as const;
	const ack = await share.appendOps({ batch_id, ops: [op], source_watermark: { seq: 1, event_id: "mark_1" } });
	expect(ack.applied).toEqual(["evt_newer"]);
	lab.outbox.mustCompare("ses_1", "a test wants it");
	lab.start();
	await lab.drained();
	const newer = new Map([["message/msg_0", digestOf(payload)]]);
	expect(await lab.digests("ses_1")).toEqual(newer);
	expect(lab.outbox.capturedDigests("ses_1")).toEqual(newer);
});

test("what nobody has any more becomes a dead letter, and no watermark claims it", async () => {
	const lab = await openLab();
	await drainOnce(lab);
	expect(lab.outbox.retain(Date.now() + 1, 0)).toEqual({ deleted: 1, more: false });
	await emptyServer(lab);
	lab.start();
	await lab.until(() => lab.outbox.deadLetters().length > 0);
	await lab.drained();
	expect(lab.outbox.deadLetters()).toMatchObject([{ session_id: "ses_1", key: "message/msg_0", code: "lost" }]);
	expect(lab.outbox.session("ses_1")?.watermark).toBeNull();
});

test("a server that went back is noticed after a reconnect, though nothing is left to send", async () => {
	const lab = await openLab();
	lab.capture("ses_1", ["old"]);
	lab.start();
	await lab.drained();
	const before = lab.outbox.share("ses_1")?.share_id;
	await emptyServer(lab);
	await lab.until(() => ![before, null, undefined].includes(lab.outbox.share("ses_1")?.share_id));
	await lab.drained();
	expect(await lab.digests("ses_1")).toEqual(messageDigests(["old"]));
});

async function drainOnce(lab: Lab): Promise<void> {
	lab.capture("ses_1", ["old"]);
	lab.start();
	await lab.drained();
	await lab.stop();
}

async function emptyServer(lab: Lab): Promise<void> {
	await lab.stopServer();
	for (const suffix of ["", "-wal", "-shm"]) rmSync(join(lab.dir, `share.db${suffix}`), { force: true });
	await lab.startServer();
}
