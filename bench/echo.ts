import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { newWebSocketRpcSession, RpcTarget } from "capnweb";
import { WebSocketServer } from "ws";
import { MESSAGE_BYTES_MAX } from "../src/protocol/limits.ts";
import type { AppendBatch, OpAck } from "../src/protocol/schema.ts";

/** A process that acknowledges every batch and keeps nothing: what capnweb can carry. Prints its port, and runs until killed. */
class Echo extends RpcTarget {
	appendOps({ ops }: AppendBatch): OpAck {
		const cursor = (ops.at(-1)?.expected_cursor ?? 0) + 1;
		return { cursor, applied: ops.map((op) => op.op_id), duplicates: [], rejected: [] };
	}
}

const server = new WebSocketServer({
	...{ host: "127.0.0.1", port: 0, maxPayload: MESSAGE_BYTES_MAX, perMessageDeflate: false },
});
server.on("connection", (socket) => newWebSocketRpcSession(socket as unknown as WebSocket, new Echo()));
await once(server, "listening");
process.stdout.write(`${(server.address() as AddressInfo).port}\n`);
