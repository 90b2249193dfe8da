import { onTestFinished } from "vitest";
import { systemClock } from "../../src/model/clock.ts";
import type { AppendBatch } from "../../src/protocol/schema.ts";
import { capnwebTransport } from "../../src/transport/capnweb.ts";
import type { Timing } from "../../src/transport/timing.ts";
import type { Connection, TransportKind } from "../../src/transport/transport.ts";
import { errorLine, secret } from "../evidence/record.ts";
import { type FaultProxy, startProxy } from "../fixture/proxy.ts";
import { type ScriptedServer, startScriptedServer } from "../fixture/scripted-server.ts";

export const KINDS: TransportKind[] = ["websocket", "http-batch"];
export const SECRET = "a-secret-that-the-scripted-server-is-shown1";

export interface Lab {
	readonly server: ScriptedServer;
	readonly proxy: FaultProxy;
	readonly connection: Connection;
	/** Settles when the connection is gone. */
	readonly gone: Promise<Error>;
}

/** A scripted server, a fault proxy before it, and a connection of `kind` through the proxy; gone when the test ends. */
export async function openLab(kind: TransportKind, timing: Partial<Timing> = {}): Promise<Lab> {
	secret("share secret", SECRET);
	const server = await startScriptedServer();
	const proxy = await startProxy({ targetPort: server.port });
	onTestFinished(async () => {
		await proxy.close();
		await server.close();
	});
	proxy.faults.refuseUpgrades = kind === "http-batch";
	const transport = capnwebTransport({ url: proxy.url, clock: systemClock, timing });
	const connection = await transport.connect(new AbortController().signal);
	onTestFinished(() => connection.close());
	return { server, proxy, connection, gone: goneOf(connection) };
}

export function goneOf(connection: Connection): Promise<Error> {
	return new Promise((resolve) => {
		const { closed } = connection;
		if (closed.aborted) resolve(closed.reason);
		else closed.addEventListener("abort", () => resolve(closed.reason));
	});
}

export function batchOf(opIds: string[], from = 0, payload = "{}"): AppendBatch {
	const ops = opIds.map((op_id, seq) => ({
		op_id,
		batch_id: "bat_1",
		seq,
		expected_cursor: from + seq,
		capability_epoch: 1,
		type: "part" as const,
		key: `part/msg_1/${op_id}`,
		payload,
	}));
	return { batch_id: "bat_1", ops, source_watermark: null };
}

/** The error that `promise` ends with. */
export async function failureOf(promise: Promise<unknown>): Promise<Error> {
	try {
		await promise;
	} catch (error) {
		errorLine(error);
		return error as Error;
	}
	throw new Error("it did not fail");
}

/** An answer that never comes. */
export function never(): Promise<never> {
	return new Promise(() => {});
}
