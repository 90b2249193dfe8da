import { rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { createKeysOf } from "../../src/model/identity.ts";
import { openSqlite } from "../../src/sqlite/driver.ts";
import { type Lab, messageDigests, openLab } from "./lab.ts";

const S = "ses_1";

describe("create keys", () => {
	const keyOf = createKeysOf("an identity");

	test("are 256 bits, the same each time, and differ by identity, server, session and generation", () => {
		expect(keyOf("embedded", S, 0)).toMatch(/^[A-Za-z0-9_-]{43}$/);
		expect(createKeysOf("an identity")("embedded", S, 0)).toBe(keyOf("embedded", S, 0));
		const others = [
			...[keyOf("http://other", S, 0), keyOf("embedded", "ses_2", 0), keyOf("embedded", S, 1)],
			...[createKeysOf("another")("embedded", S, 0), keyOf("embedded,ses_1", "", 0)],
		];
		expect(new Set([keyOf("embedded", S, 0), ...others]).size).toBe(6);
	});
});

/** The outbox is gone; OpenCode still has the session. */
async function loseOutbox(lab: Lab): Promise<void> {
	await lab.stop();
	lab.outbox.close();
	for (const suffix of ["", "-wal", "-shm"]) rmSync(join(lab.dir, `outbox.db${suffix}`), { force: true });
	await lab.reopen();
}

/** Captures anew what OpenCode has of the session, as a snapshot does. */
function recapture(lab: Lab, texts: readonly string[]): void {
	const items = texts.map((text, n) => {
		const payload = JSON.stringify({ id: `msg_${n}`, text });
		return { op_id: `again_${n}`, type: "message" as const, key: `message/msg_${n}`, payload };
	});
	lab.truth.set(S, items);
	const facts = { parent_id: null, title: "a session", directory: "/project" };
	lab.outbox.append({ session_id: S, facts, from: null, to: null, items }, Date.now());
}

test("a lost outbox finds its shares again, with their links and secrets, and compares them", async () => {
	const lab = await openLab();
	lab.capture(S, ["a", "b"]);
	lab.start();
	await lab.drained();
	const { share_id, slug, secret } = lab.outbox.share(S) ?? {};
	await loseOutbox(lab);
	recapture(lab, ["a", "b", "c"]);
	lab.start();
	await lab.drained();
	expect(lab.outbox.share(S)).toMatchObject({ share_id, slug, secret });
	expect(await lab.digests(S)).toEqual(messageDigests(["a", "b", "c"]));
	expect(lab.log.filter((line) => line.message.startsWith("comparing"))).toHaveLength(1);
});

test("a session that was taken back is not shared again by itself after the outbox was lost", async () => {
	const lab = await openLab();
	lab.capture(S, ["a"]);
	lab.start();
	await lab.drained();
	lab.outbox.want(S, "unshare");
	await lab.reopen();
	lab.start();
	await lab.until(() => lab.outbox.session(S)?.wanted === "never");
	expect(lab.outbox.generation(S)).toBe(1);
	await loseOutbox(lab);
	recapture(lab, ["a"]);
	lab.start();
	await lab.until(() => lab.outbox.session(S)?.parked_code != null);
	expect(lab.outbox.session(S)).toMatchObject({ parked_code: "revoked" });

	// As `status` advises: unshare, then share, makes a new share.
	await lab.stop();
	lab.outbox.want(S, "unshare");
	lab.start();
	await lab.until(() => lab.outbox.session(S)?.wanted === "never");
	await lab.stop();
	lab.outbox.want(S, "share");
	recapture(lab, ["a"]);
	lab.start();
	await lab.drained();
	expect(lab.outbox.session(S)).toMatchObject({ parked_code: null, pending: 0 });
	expect(await lab.digests(S)).toEqual(messageDigests(["a"]));
});

test("a share whose id or secret is damaged here is asked for again by its key, and stays the same one", async () => {
	for (const [column, value] of [
		["secret", "x".repeat(43)],
		["share_id", "shr_unknown0123456789012345678901"],
	] as const) {
		const lab = await openLab();
		lab.capture(S, ["a"]);
		lab.truth.set(S, [{ type: "message", key: "message/msg_0", payload: JSON.stringify({ id: "msg_0", text: "a" }) }]);
		lab.start();
		await lab.drained();
		const before = lab.outbox.share(S);
		await lab.stop();
		const sqlite = await openSqlite(join(lab.dir, "outbox.db"));
		sqlite.prepare(`UPDATE share SET ${column} = ?`).run(value);
		sqlite.close();
		lab.capture(S, ["b"]);
		lab.truth.set(S, [
			...(lab.truth.get(S) ?? []),
			{ type: "message", key: "message/msg_1", payload: JSON.stringify({ id: "msg_1", text: "b" }) },
		]);
		lab.start();
		await lab.until(() => lab.outbox.session(S)?.pending === 0 && lab.outbox.share(S)?.share_id === before?.share_id);
		const { share_id, slug, secret } = before ?? {};
		expect(lab.outbox.share(S)).toMatchObject({ share_id, slug, secret });
		expect(await lab.digests(S)).toEqual(messageDigests(["a", "b"]));
	}
});
