import { differenceOf, expectedDigests } from "../../src/agent/verify.ts";
import { digestOf } from "../../src/model/json.ts";
import { keys } from "../../src/model/op.ts";
import { DatabaseSource } from "../../src/source/database.ts";
import { findOpencodeDatabase } from "../../src/source/discovery.ts";
import { isPoison } from "../../src/source/source.ts";
import type { Sqlite } from "../../src/sqlite/driver.ts";
import type { Machine } from "./machine.ts";
import { fail, type Walk } from "./walk.ts";

/**
 * What holds in an outbox whenever nobody writes: its sealed batches fill the positions from the acked to the sealed cursor,
 * and what is told to be pending is what lies behind the acked op.
 *
 * @returns what to call after every step.
 */
export function outboxCheck(sqlite: Sqlite): () => void {
	const broken = sqlite.prepare<{ session_id: string }>(`
		SELECT session_id FROM session WHERE acked_cursor > sealed_cursor OR acked_id > sealed_id
			OR sealed_cursor - acked_cursor <> (
				SELECT count(*) FROM op WHERE op.session_id = session.session_id AND id > acked_id AND id <= sealed_id)
			OR sealed_cursor <> coalesce(
				(SELECT max(first_position + ops) FROM batch WHERE batch.session_id = session.session_id), acked_cursor)`);
	const miscounted = sqlite.prepare<{ session_id: string }>(`
		SELECT session_id FROM session WHERE (pending_ops, pending_bytes) <> (
			SELECT count(*), coalesce(sum(bytes), 0) FROM op WHERE op.session_id = session.session_id AND id > acked_id)
			OR oldest_pending_at IS NOT (
				SELECT captured_at FROM op WHERE op.session_id = session.session_id AND id > acked_id ORDER BY id LIMIT 1)`);
	return () => {
		const row = broken.get();
		if (row) fail(`the positions of ${row.session_id} do not add up`);
		const other = miscounted.get();
		if (other) fail(`what ${other.session_id} has pending is miscounted`);
	};
}

/** What holds once everything has drained: every share equals its session in OpenCode (G4), or it is visible why not (G6). */
export async function checkShares(walk: Walk): Promise<void> {
	await checkMaterialised(walk);
	const path = walk.opencode.database.path;
	const source = await DatabaseSource.open(findOpencodeDatabase({}, path));
	try {
		for (const machine of walk.machines)
			for (const sessionId of walk.opencode.known) await checkShare(walk, machine, source, sessionId);
	} finally {
		source.close();
	}
}

async function checkShare(walk: Walk, machine: Machine, source: DatabaseSource, sessionId: string): Promise<void> {
	const { outbox } = machine;
	const session = outbox.session(sessionId);
	const truth = await source.snapshot(sessionId);
	const about = `${machine.name}: ${sessionId}`;
	if (session === undefined) {
		if (truth !== undefined) fail(`${about} was never captured`);
		return;
	}
	if (session.wanted === "never") return;
	if (session.parked_code !== null) {
		if (!["denied", "revoked"].includes(session.parked_code)) fail(`${about} is parked: ${session.parked_code}`);
		return;
	}
	if (session.pending > 0) fail(`${about} has ${session.pending} ops pending`);
	const share = outbox.share(sessionId);
	const replica = walk.oracle.replica(share?.share_id ?? "");
	if (replica === undefined) {
		// Another copy of the outbox has made it anew on a restored server; this one learns of it with its next change.
		if (walk.scars.has("outbox cloned") && walk.scars.has("server restored")) return;
		fail(`${about} has no share`);
	}
	// Deleted by an administrator while nothing was pending: its agent learns of it with the next change.
	if (replica.deleted) return;
	const letters = lettersOf(walk);
	const actual = new Map([...replica.live].map(([key, { digest }]) => [key, digest]));
	if (truth === undefined) {
		const known = session.source_state === "deleted" ? replica.live.has(keys.sessionDeleted) : true;
		if (session.source_state === "present" || !known) fail(`${about} was deleted, and its share does not say so`);
		if (walk.scars.has("outbox restored") || walk.scars.has("outbox cloned")) return;
		const { missing, different } = differenceOf(
			expectedDigests(undefined, outbox.capturedDigests(sessionId), outbox.checkpoints(sessionId)),
			actual,
		);
		const gone = [...missing, ...different].filter(
			(key) => !letters.some((letter) => letter.startsWith(`${sessionId} ${key} `)),
		);
		if (gone.length > 0) fail(`${about} was deleted, and its share has lost ${gone.join(", ")}`);
		return;
	}
	const entities = truth.entities.map((entity) => (isPoison(entity) ? fail(`${about} is unreadable`) : entity));
	const expected = expectedDigests(entities, outbox.capturedDigests(sessionId), outbox.checkpoints(sessionId));
	const { missing, different, extra } = differenceOf(expected, actual);
	// Where several copies of an outbox hear an answer, whichever compared last has put there what it knew of the text that
	// is over OpenCode's present state: a comparison sees digests, which do not tell whose text is longer.
	const texts = walk.machines.flatMap(({ outbox }) => [...outbox.checkpoints(sessionId)]);
	const committed = expectedDigests(entities, outbox.capturedDigests(sessionId));
	const isText = (key: string) =>
		walk.scars.has("outbox cloned") &&
		texts.some(
			([of, { checkpoint, digest }]) =>
				of === key && digest === committed.get(key) && [checkpoint, digest].includes(actual.get(key) ?? ""),
		);
	const silent = [...missing, ...different].filter(
		(key) => !letters.includes(`${sessionId} ${key} ${expected.get(key)}`) && !isText(key),
	);
	if (silent.length > 0) fail(`${about} lacks ${silent.join(", ")}`);
	const foreign = walk.scars.has("outbox restored") || walk.scars.has("server restored");
	if (extra.length > 0 && !foreign) fail(`${about} has ${extra.join(", ")}, which OpenCode has not`);
}

/** What is set aside, visibly: session, key and digest. */
function lettersOf({ machines }: Walk): string[] {
	return machines
		.flatMap((machine) => machine.outbox.deadLetters())
		.map((letter) => `${letter.session_id} ${letter.key} ${digestOf(letter.payload ?? "")}`);
}

/** The server's tables hold what the ops that took effect add up to. */
async function checkMaterialised({ server, oracle }: Walk): Promise<void> {
	for (const { share_id, cursor, isDeleted, digests } of await server.held()) {
		const replica = oracle.replica(share_id);
		if (replica === undefined) fail(`${share_id} was never made`);
		if (!isDeleted && cursor !== replica.opIds.length) fail(`${share_id} stands at ${cursor}`);
		const expected = new Map([...replica.live].map(([key, { digest }]) => [key, digest]));
		const { missing, different, extra } = differenceOf(expected, digests);
		const wrong = [...missing, ...different, ...extra];
		if (wrong.length > 0) fail(`${share_id} holds something else than was applied: ${wrong.join(", ")}`);
	}
}
