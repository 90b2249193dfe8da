import { copyFileSync, existsSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Capture } from "../../src/agent/capture.ts";
import { launch } from "../../src/agent/flight.ts";
import { expectedDigests } from "../../src/agent/verify.ts";
import { systemClock } from "../../src/model/clock.ts";
import { silent } from "../../src/model/logger.ts";
import { openOutbox } from "../../src/outbox/outbox.ts";
import { type Change, isPoison } from "../../src/source/source.ts";
import { openSqlite } from "../../src/sqlite/driver.ts";
import { OpencodeDatabase, openSource } from "../source/opencode-database.ts";
import { type AppliedOp, openServer } from "./direct.ts";
import { startAgent } from "./machine.ts";

const LIMITS = { ops_per_batch: 8, batch_bytes: 1 << 20, op_bytes: 8 << 20, sealed_ops: 2000 };
export const SESSIONS = ["ses_a", "ses_b", "ses_c"];

/** A machine at work, as the files of its outbox, its OpenCode and its server lie on the disk at one moment. */
export interface Prototype {
	readonly name: string;
	readonly folder: string;
	/** What the server has applied so far. */
	readonly applied: readonly AppliedOp[];
	/** Everything that OpenCode ever said: key and payload. */
	readonly said: ReadonlySet<string>;
	/** What each share must hold in the end: key to digest. */
	readonly truth: ReadonlyMap<string, ReadonlyMap<string, string>>;
	readonly grants: ReadonlyMap<string, { share_id: string; slug: string; secret: string }>;
}

/** How far the WAL of the prototype had been moved into the file when it was copied. */
export type Checkpointed = "never" | "in the middle" | "at the end";

/**
 * Makes a machine whose outbox has acknowledged, applied but unacknowledged, sealed, leased, unsealed and dead rows, and
 * removals among them; and an OpenCode that has moved on since.
 */
export async function makePrototype(folder: string, name: Checkpointed): Promise<Prototype> {
	mkdirSync(folder, { recursive: true });
	const opencodePath = join(folder, "opencode.db");
	const opencode = await OpencodeDatabase.create(opencodePath);
	const server = await openServer(join(folder, "share.db"));
	const said = new Set<string>();
	const note = async () => {
		const source = await openSource(opencodePath);
		for (const id of SESSIONS)
			for (const entity of (await source.snapshot(id))?.entities ?? [])
				if (!isPoison(entity)) said.add(`${entity.key}\n${entity.payload}`);
		source.close();
	};
	const talk = async (from: number, to: number) => {
		for (const id of SESSIONS)
			for (let n = from; n < to; n++) {
				opencode.message(id, `${id}_m${n}`, `message ${n} of ${id}`);
				for (let p = 0; p < 2; p++) opencode.part(id, `${id}_m${n}`, `${id}_p${n}_${p}`, "text ".repeat(20 + n * 17));
			}
		await note();
	};
	for (const id of SESSIONS) opencode.session(id);
	await talk(0, 6);
	const agent = await startAgent({ folder, opencode: opencodePath, transport: server.transport, log: [] });
	await agent.drain(AbortSignal.timeout(20_000));
	await agent.stop();

	const path = join(folder, "outbox.db");
	const outbox = await openOutbox(path);
	// A checkpoint by the way, as they come, would make the three prototypes alike.
	const reader = await openSqlite(path);
	if (name === "never") reader.exec("BEGIN; SELECT count(*) FROM op");
	const capture = new Capture({ outbox, mode: "auto", clock: systemClock, log: silent });
	const pass = async () => {
		const source = await openSource(opencodePath);
		await capture.pass(source, new AbortController().signal);
		source.close();
	};
	await talk(6, 12);
	opencode.removePart("ses_a", "ses_a_m2", "ses_a_p2_1");
	opencode.removeMessage("ses_b", "ses_b_m3");
	await pass();
	const connection = await server.transport.connect(new AbortController().signal);
	for (const id of ["ses_a", "ses_b"]) {
		for (let batches = 0; batches < 3; batches++) outbox.seal(id, LIMITS, Date.now());
		const first = outbox.reserve(id, "a dead agent", 600_000, Date.now());
		const grant = outbox.share(id);
		if (!first || !grant?.share_id || !grant.secret) throw new Error("nothing was sealed");
		// It arrived, and its reply was lost.
		if (id === "ses_a") await launch(first, await connection.redeem(grant.share_id, grant.secret)).answer;
	}
	if (name === "in the middle") outbox.checkpoint();
	const from = outbox.session("ses_c")?.watermark ?? null;
	const letter = {
		op_id: "evt_dead",
		type: "part",
		key: "part/gone/p",
		code: "too_large",
		reason: "too large",
	} as const;
	outbox.append({ session_id: "ses_c", facts: null, from, to: from, items: [letter] }, Date.now());
	await talk(12, 15);
	opencode.removeMessage("ses_c", "ses_c_m7");
	await pass();
	if (name === "at the end") outbox.checkpoint();
	else outbox.want("ses_c", "auto");
	// Not captured any more.
	await talk(15, 17);
	opencode.removePart("ses_b", "ses_b_m9", "ses_b_p9_0");
	await note();

	const copy = join(folder, "as-it-lay");
	mkdirSync(copy);
	for (const file of ["outbox.db", "outbox.db-wal"])
		if (existsSync(join(folder, file))) copyFileSync(join(folder, file), join(copy, file));
	const grants = new Map(
		SESSIONS.map((id) => {
			const { share_id, slug, secret } = outbox.share(id) ?? {};
			if (!share_id || !slug || !secret) throw new Error("a session has no share");
			return [id, { share_id, slug, secret }];
		}),
	);
	reader.close();
	outbox.close();
	server.close();
	copyFileSync(join(folder, "share.db"), join(copy, "share.db"));
	const source = await openSource(opencodePath);
	const truth = new Map<string, Map<string, string>>();
	for (const id of SESSIONS) {
		const { entities = [] } = (await source.snapshot(id)) ?? {};
		const readable = entities.filter((entity): entity is Change => !isPoison(entity));
		truth.set(id, expectedDigests(readable, new Map()));
	}
	source.close();
	opencode.sql.close();
	return { name, folder, applied: [...server.applied], said, truth, grants };
}

export type Wound = { readonly file: "outbox.db" | "outbox.db-wal"; readonly kind: "cut" | "flip" | "zero" };

/** Damages one file of an outbox that nobody has open. */
export function wound(folder: string, { file, kind }: Wound, random: () => number): string {
	const path = join(folder, file);
	const bytes = readFileSync(path);
	const at = Math.floor(random() * bytes.length);
	if (kind === "cut") {
		truncateSync(path, at);
		return `${file} cut at ${at} of ${bytes.length}`;
	}
	if (kind === "zero") {
		const length = Math.min(1 + Math.floor(random() * 8192), bytes.length - at);
		bytes.fill(0, at, at + length);
		writeFileSync(path, bytes);
		return `${file} zeroed from ${at} on, ${length} bytes`;
	}
	const places = Array.from({ length: 1 + Math.floor(random() * 24) }, () => Math.floor(random() * bytes.length));
	for (const place of places) bytes[place] = (bytes[place] ?? 0) ^ (1 << Math.floor(random() * 8));
	writeFileSync(path, bytes);
	return `${file} flipped at ${places.join(", ")}`;
}
