import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Flusher } from "../src/agent/flusher.ts";
import { systemClock } from "../src/model/clock.ts";
import { createKeysOf } from "../src/model/identity.ts";
import { type Logger, silent } from "../src/model/logger.ts";
import { type Outbox, openOutbox } from "../src/outbox/outbox.ts";
import { LIMITS } from "../src/protocol/limits.ts";
import { capnwebTransport } from "../src/transport/capnweb.ts";
import type { Connection, Transport } from "../src/transport/transport.ts";
import { type CliProcess, startCli } from "../test/fixture/cli.ts";
import type { Context } from "./figure.ts";
import { capture } from "./ops.ts";

/** A share server to send to. */
export interface Target {
	readonly url: string;
	readonly key: string;
	/** The process that serves; undefined where it is somebody else's. */
	readonly process: CliProcess | undefined;
	stop(): Promise<void>;
}

let servers = 0;

/** A share server in a process of its own, as people start it; or the one that the person named. */
export async function target({ folder, server }: Context): Promise<Target> {
	if (server !== undefined) {
		const key = readFileSync(server.keyFile, "utf8").trim();
		return { url: server.url, key, process: undefined, stop: async () => undefined };
	}
	const dataDir = join(folder, `server-${servers++}`);
	const env = { PATH: process.env.PATH ?? "", HOME: folder, OPENCODE_OUTBOX_LOG_LEVEL: "warn" };
	const serve = startCli(["serve", "--json", "--port", "0", "--data-dir", dataDir], env);
	const { url, key_file } = await serve.ready<{ url: string; key_file: string }>();
	return { url, key: readFileSync(key_file, "utf8").trim(), process: serve, stop: () => serve.kill() };
}

/** An outbox in which `ops` ops of one session wait to be sent. */
export async function filledOutbox(path: string, ops: number): Promise<void> {
	const outbox = await openOutbox(path);
	for (let from = 0; from < ops; from += 1000)
		outbox.append(capture("ses_1", from, Math.min(ops, from + 1000)), Date.now());
	outbox.close();
}

export interface Flushed {
	/** From the start of the flusher, connecting and making the share included, to the last ack on the disk. */
	readonly seconds: number;
	/** Ops per second from the first ack to the last: connecting and making the share are behind it then. */
	readonly pace: number;
}

export interface Way {
	/** Fewer than the server takes, to see what a batch's size does. */
	readonly opsPerBatch?: number;
	/** As CapnwebOptions has it. */
	readonly compress?: boolean;
}

/** Sends all that waits in an outbox. */
export async function flushed(
	outbox: Outbox,
	ops: number,
	{ url, key }: Pick<Target, "url" | "key">,
	{ opsPerBatch = LIMITS.ops_per_batch, compress }: Way = {},
): Promise<Flushed> {
	const stop = new AbortController();
	const { promise: done, resolve } = Promise.withResolvers<void>();
	let [acked, first, firstAt, lastAt] = [0, 0, 0, 0];
	const log: Logger = {
		...silent,
		debug(facts, message) {
			if (message !== "a batch was acknowledged") return;
			lastAt = performance.now();
			acked += Number((facts as { ops?: number }).ops ?? 0);
			if (first === 0) [first, firstAt] = [acked, lastAt];
			if (acked >= ops) resolve();
		},
	};
	const flusher = new Flusher({
		...{ outbox, mode: "auto", clock: systemClock, log, owner: "bench", random: Math.random },
		transport: withBatchesOf(opsPerBatch, capnwebTransport({ url, clock: systemClock, compress })),
		server: { id: url, key: () => key },
		// Another one each time, so that each time a new share is made.
		createKey: createKeysOf(crypto.randomUUID()),
		truth: async () => undefined,
	});
	const startedAt = performance.now();
	const running = flusher.run(stop.signal);
	await Promise.race([done, running]);
	stop.abort();
	await running;
	return { seconds: (lastAt - startedAt) / 1000, pace: ((acked - first) * 1000) / (lastAt - firstAt) };
}

function withBatchesOf(ops_per_batch: number, transport: Transport): Transport {
	return {
		async connect(signal) {
			const connection = await transport.connect(signal);
			const redeem: Connection["redeem"] = async (shareId, secret) => {
				const share = await connection.redeem(shareId, secret);
				const limits = { ...share.redemption.limits, ops_per_batch };
				return { ...share, redemption: { ...share.redemption, limits } };
			};
			return { ...connection, closed: connection.closed, redeem };
		},
	};
}
