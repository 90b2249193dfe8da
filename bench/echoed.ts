import { join } from "node:path";
import { newWebSocketRpcSession, type RpcStub, type RpcTarget } from "capnweb";
import type { AppendBatch, OpAck } from "../src/protocol/schema.ts";
import { dialWebSocket } from "../src/transport/websocket.ts";
import { startProcess } from "../test/fixture/cli.ts";
import { seconds } from "./measure.ts";
import { batchesOf } from "./rules.ts";

interface EchoRpc extends RpcTarget {
	appendOps(batch: AppendBatch): OpAck;
}

/** Ops per second through capnweb and back, into a process that keeps nothing, `window` batches under way. */
export async function echoed(ops: number, perBatch: number, window: number): Promise<number> {
	const script = join(import.meta.dirname, "echo.ts");
	const server = startProcess("echo", [process.execPath, script], { PATH: process.env.PATH ?? "" });
	const socket = dialWebSocket(`ws://127.0.0.1:${await server.ready<number>()}`);
	const api: RpcStub<EchoRpc> = newWebSocketRpcSession<EchoRpc>(socket as unknown as WebSocket);
	const batches = batchesOf(ops, perBatch, 1);
	await api.appendOps(batches[0] as AppendBatch);
	const took = await seconds(async () => {
		const flights: PromiseLike<unknown>[] = [];
		for (const batch of batches) {
			flights.push(api.appendOps(batch));
			if (flights.length >= window) await flights.shift();
		}
		await Promise.all(flights);
	});
	socket.terminate();
	await server.kill();
	return ops / took;
}
