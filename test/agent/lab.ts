import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { EntityState } from "../../src/agent/compare.ts";
import { Flusher } from "../../src/agent/flusher.ts";
import { systemClock } from "../../src/model/clock.ts";
import { createKeysOf } from "../../src/model/identity.ts";
import { digestOf } from "../../src/model/json.ts";
import type { OpIntent } from "../../src/model/op.ts";
import type { Capture } from "../../src/outbox/append.ts";
import { type Outbox, openOutbox } from "../../src/outbox/outbox.ts";
import type { ShareLimits } from "../../src/protocol/limits.ts";
import { type ShareServer, type ShareServerOptions, startShareServer } from "../../src/server/node.ts";
import { capnwebTransport } from "../../src/transport/capnweb.ts";
import type { Timing } from "../../src/transport/timing.ts";
import type { RedeemedShare } from "../../src/transport/transport.ts";
import type { Dial } from "../../src/transport/websocket.ts";
import { discard } from "../evidence/folder.ts";
import { recorded, secret } from "../evidence/record.ts";
import { type FaultProxy, startProxy } from "../fixture/proxy.ts";

export const SERVER_KEY = "server-key-of-the-tests-0123456789abcdef";

const IDENTITY = "identity-of-the-tests-0123456789abcdefghij";

export interface LogLine {
	/** Of performance.now(). */
	readonly at: number;
	readonly level: string;
	readonly message: string;
	readonly facts: Record<string, unknown>;
}

/** A real server behind a fault proxy, and an outbox whose flusher a test starts and stops. */
export interface Lab {
	readonly dir: string;
	readonly outbox: Outbox;
	readonly proxy: FaultProxy;
	readonly log: LogLine[];
	/** What OpenCode would have, for comparisons; unknown sessions are undefined. */
	readonly truth: Map<string, EntityState[]>;
	/** Captures messages with the given texts as the next events of a session. */
	capture(sessionId: string, texts: readonly string[]): void;
	append(sessionId: string, items: readonly OpIntent[]): void;
	/** As what is captured of a session that OpenCode does not have. */
	appendWithoutFacts(sessionId: string, items: readonly OpIntent[]): void;
	appendAs(sessionId: string, items: readonly OpIntent[], facts: Capture["facts"]): void;
	start(): void;
	/** There is work for the flusher. */
	wake(): void;
	stop(): Promise<void>;
	/** Resolves when nothing is left that can be sent. */
	drained(): Promise<void>;
	until(claim: () => boolean): Promise<void>;
	reopen(): Promise<void>;
	stopServer(): Promise<void>;
	startServer(databasePath?: string): Promise<void>;
	/** A capability of the session's share, straight to the server. */
	redeem(sessionId: string): Promise<RedeemedShare>;
	/** The share's digests by key, straight from the server. */
	digests(sessionId: string): Promise<Map<string, string>>;
	/** Takes everything down. Done by itself when the test ends; safe to repeat. */
	dispose(): Promise<void>;
}

export interface LabOptions {
	readonly timing?: Partial<Timing>;
	/** Of the server, where they are lower than LIMITS. */
	readonly limits?: Partial<ShareLimits>;
	/** What differs in the server. */
	readonly server?: Partial<ShareServerOptions>;
	/** How the agent opens its WebSockets. */
	readonly dial?: Dial;
	/** Default 0.01: waits are short. */
	readonly random?: () => number;
	/** Where its folder is made; the system's folder for temporary files unless given. */
	readonly parent?: string;
}

/** The same outbox, of which a test may put other verbs in place. */
export function replaceable(outbox: Outbox): { -readonly [Verb in keyof Outbox]: Outbox[Verb] } {
	return outbox;
}

/** Makes a lab that cleans up after the test. */
export async function openLab(options: LabOptions = {}): Promise<Lab> {
	const dir = mkdtempSync(join(options.parent ?? tmpdir(), "outbox-lab-"));
	const log: LogLine[] = [];
	const write = (level: string) => (facts: object, message: string) =>
		void log.push({ at: performance.now(), level, message, facts: facts as Record<string, unknown> });
	const [debug, info, warn, error] = [write("debug"), write("info"), write("warn"), write("error")];
	const logger = recorded({ debug, info, warn, error });
	secret("server key", SERVER_KEY);
	const truth = new Map<string, EntityState[]>();
	const seqs = new Map<string, number>();
	const { limits = {} } = options;
	// What a test changes in `options.server` holds from the next start on.
	const start = (databasePath = join(dir, "share.db")) =>
		startShareServer({
			...{ databasePath, serverKeys: [SERVER_KEY], port: 0, logger, clock: systemClock, limits },
			...options.server,
		});
	let server: ShareServer | undefined = await start();
	const proxy = await startProxy({ targetPort: server.port });
	let outbox = await openOutbox(join(dir, "outbox.db"));
	let isDisposed = false;
	let running: { flusher: Flusher; stop: AbortController; done: Promise<void> } | undefined;

	const lab: Lab = {
		dir,
		proxy,
		log,
		truth,
		get outbox() {
			return outbox;
		},
		capture(sessionId, texts) {
			const from = seqs.get(sessionId) ?? 0;
			lab.append(
				sessionId,
				texts.map((text, n) => ({
					op_id: `evt_${sessionId}_${from + n}`,
					type: "message",
					key: `message/msg_${from + n}`,
					payload: JSON.stringify({ id: `msg_${from + n}`, text }),
				})),
			);
		},
		append: (sessionId, items) =>
			lab.appendAs(sessionId, items, { parent_id: null, title: "a session", directory: "/project" }),
		appendWithoutFacts: (sessionId, items) => lab.appendAs(sessionId, items, null),
		appendAs(sessionId, items, facts) {
			const before = seqs.get(sessionId) ?? 0;
			const to = before + items.length;
			const mark = (seq: number) => (seq === 0 ? null : { seq: seq - 1, event_id: `mark_${seq - 1}` });
			const input = { session_id: sessionId, facts, from: mark(before), to: mark(to), items };
			const result = outbox.append(input, Date.now());
			if (result.outcome !== "appended") throw new Error("the watermark moved");
			seqs.set(sessionId, to);
			running?.flusher.wake();
		},
		start() {
			const stop = new AbortController();
			const { timing = {}, dial } = options;
			const transport = capnwebTransport({ url: proxy.url, clock: systemClock, timing, ...(dial && { dial }) });
			const flusher = new Flusher({
				...{ outbox, transport, mode: "auto", clock: systemClock, log: logger, owner: "lab" },
				random: options.random ?? (() => 0.01),
				server: { id: "lab", key: () => SERVER_KEY },
				createKey: createKeysOf(IDENTITY),
				truth: async (sessionId) => {
					const entities = truth.get(sessionId);
					return (
						entities && {
							entities,
							unreadable: new Set(),
							removed: [],
							watermark: outbox.session(sessionId)?.watermark ?? null,
						}
					);
				},
			});
			running = { flusher, stop, done: flusher.run(stop.signal) };
		},
		wake: () => running?.flusher.wake(),
		async stop() {
			running?.stop.abort();
			await running?.done;
			running = undefined;
		},
		drained: () => lab.until(() => running?.flusher.idle() ?? false),
		async until(claim) {
			const end = Date.now() + 15_000;
			while (!claim()) {
				if (Date.now() > end)
					throw new Error(`it did not come true: ${claim}\n${JSON.stringify(log.slice(-10), null, 1)}`);
				await systemClock.sleep(2);
			}
		},
		async reopen() {
			await lab.stop();
			outbox.close();
			outbox = await openOutbox(join(dir, "outbox.db"));
			outbox.recover();
		},
		async stopServer() {
			await server?.close(0);
			server = undefined;
		},
		async startServer(databasePath) {
			server = await start(databasePath);
			proxy.retarget(server.port);
		},
		async redeem(sessionId) {
			const share = outbox.share(sessionId);
			if (!share?.share_id || !share.secret || !server) throw new Error("there is no share to redeem");
			const transport = capnwebTransport({ url: server.url, clock: systemClock });
			const connection = await transport.connect(new AbortController().signal);
			onTestFinished(() => connection.close());
			return connection.redeem(share.share_id, share.secret);
		},
		async digests(sessionId) {
			const handle = await lab.redeem(sessionId);
			const digests = new Map<string, string>();
			for (let after: string | undefined; ; ) {
				const page = await handle.entityDigests(after);
				for (const { key, digest } of page.entities) digests.set(key, digest);
				if (page.next === null) return digests;
				after = page.next;
			}
		},
		async dispose() {
			if (isDisposed) return;
			isDisposed = true;
			await lab.stop();
			await proxy.close();
			await lab.stopServer();
			outbox.close();
			discard(dir);
		},
	};
	onTestFinished(() => lab.dispose());
	return lab;
}

/** What `capture` puts on the share, for comparison with `digests`. */
export function messageDigests(texts: readonly string[]): Map<string, string> {
	return new Map(texts.map((text, n) => [`message/msg_${n}`, digestOf(JSON.stringify({ id: `msg_${n}`, text }))]));
}
