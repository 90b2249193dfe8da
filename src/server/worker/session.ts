import type { WebSocket as WorkerSocket } from "@cloudflare/workers-types";
import { RpcSession, WebSocketTransport } from "capnweb";
import type { Clock } from "../../model/clock.ts";
import { guarded } from "../../protocol/message.ts";
import type { Allowance } from "../allowance.ts";
import { Connection } from "../connection.ts";
import { type HttpContext, RPC_LIMITS } from "../http.ts";
import { Api } from "../rpc.ts";
import type { ObjectRules } from "./object-rules.ts";

/** Messages between two looks at what a session holds, and what it may hold; as on Node (server/socket.ts). */
const MESSAGES_PER_LOOK = 256;
const HELD_MAX = 5000;

/** How long a session that is due waits for a moment without a call under way, in ms. */
const GRACE_MS = 10_000;
const LOOK_MS = 250;

const SERVICE_RESTART = 1012;
const POLICY_VIOLATION = 1008;

export interface SessionCaps {
	readonly ms: number;
	/** Calls of objects. The whole session is one request to the platform, which counts them. */
	readonly calls: number;
}

/**
 * One capnweb session over a client's WebSocket, which ends here and not in any object.
 *
 *     open --too old, or too many calls--> due --nothing under way, or GRACE_MS--> closed (1012)
 *
 * A client takes the close as what it is, a lost connection: it connects anew, and asks what became of what was under way.
 */
export function serveSession(
	socket: WorkerSocket,
	context: HttpContext,
	rules: ObjectRules,
	allowance: Allowance,
	caps: SessionCaps,
): void {
	const { redactor, clock } = context;
	socket.accept();
	const transport = guarded(new WebSocketTransport(socket as unknown as globalThis.WebSocket), "client");
	const connection = new Connection("socket", redactor, () => undefined, allowance);
	const session = new RpcSession(transport, new Api(context, connection), {
		onSendError: (error) => (socket.readyState === WEBSOCKET_OPEN ? redactor.sent(error) : error),
		limits: RPC_LIMITS,
	});
	const over = new AbortController();
	let messages = 0;
	let isDue = false;
	const due = () => {
		if (isDue) return;
		isDue = true;
		void closeWhenIdle(socket, rules, clock, over.signal);
	};
	socket.addEventListener("close", () => over.abort());
	socket.addEventListener("error", () => over.abort());
	socket.addEventListener("message", () => {
		if (rules.asked >= caps.calls) due();
		if (++messages % MESSAGES_PER_LOOK !== 0) return;
		const { imports, exports } = session.getStats();
		if (imports + exports > HELD_MAX) socket.close(POLICY_VIOLATION, "Too much is held; release what is done.");
	});
	void rules.lost.then(due);
	void clock.sleep(caps.ms, over.signal).then(() => !over.signal.aborted && due());
}

const WEBSOCKET_OPEN = 1;

async function closeWhenIdle(socket: WorkerSocket, rules: ObjectRules, clock: Clock, over: AbortSignal): Promise<void> {
	for (let waitedMs = 0; waitedMs < GRACE_MS && !over.aborted; waitedMs += LOOK_MS) {
		// One turn after the last answer was made, so that it is sent.
		await clock.sleep(LOOK_MS, over);
		if (rules.pending === 0) break;
	}
	if (!over.aborted) socket.close(SERVICE_RESTART, "The session has lasted long enough; connect again.");
}
