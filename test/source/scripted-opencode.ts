import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { canonicalJson } from "../../src/model/json.ts";

interface ScriptedMessage {
	info: Record<string, unknown>;
	parts: Map<string, Record<string, unknown>>;
}
interface ScriptedSession {
	info: { id: string; title: string; directory: string; time: { created: number; updated: number } };
	messages: Map<string, ScriptedMessage>;
	todos: { content: string; status: string; priority: string }[];
	seq: number;
}

/** How its versions number the events that they tell. */
export type Numbering = "numbered" | "zero" | "none";

/** So that requests overlap where they are not held back. */
const ANSWER_MS = 2;

/**
 * An OpenCode server with a hand on everything it says: sessions over HTTP, their events on `/global/event`.
 *
 * A change is told on the streams that are open, unless `tells` is false: as another OpenCode process would make it.
 */
export class ScriptedOpencode {
	readonly sessions = new Map<string, ScriptedSession>();
	/** Paths that were asked for, with their queries. */
	readonly asked: string[] = [];
	numbering: Numbering = "numbered";
	tells = true;
	/** Answers in its place when it returns true. */
	instead: (path: string, response: ServerResponse, request: IncomingMessage) => boolean = () => false;
	/** How many requests are being answered, and how many there were at once at most. */
	atOnce = 0;
	atOnceMax = 0;
	readonly #streams = new Set<ServerResponse>();
	#events = 0;
	#time = 1000;
	readonly #server = createServer((request, response) => this.#answer(request, response));

	static async start(): Promise<ScriptedOpencode> {
		const opencode = new ScriptedOpencode();
		await new Promise<void>((resolve) => opencode.#server.listen(0, "127.0.0.1", resolve));
		return opencode;
	}

	get url(): string {
		return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
	}

	get streams(): number {
		return this.#streams.size;
	}

	async close(): Promise<void> {
		this.#server.closeAllConnections();
		await new Promise((resolve) => this.#server.close(resolve));
	}

	/** Ends every stream: as it should be ended, or by cutting its connection. */
	endStreams(how: "end" | "cut"): void {
		for (const stream of this.#streams) how === "end" ? stream.end() : stream.socket?.destroy();
		this.#streams.clear();
	}

	/** Writes to every stream. */
	write(text: string): void {
		for (const stream of this.#streams) stream.write(text);
	}

	create(id: string, title = `title of ${id}`): void {
		const time = { created: ++this.#time, updated: this.#time };
		const info = { id, slug: id, projectID: "global", directory: "/project", title, version: "1", time };
		this.sessions.set(id, { info, messages: new Map(), todos: [], seq: -1 });
		this.#tell(id, "session.created", { info });
	}

	rename(id: string, title: string): void {
		const { info } = this.#session(id);
		info.title = title;
		info.time.updated = ++this.#time;
		this.#tell(id, "session.updated", { info });
	}

	message(id: string, messageId: string, more: object = {}): void {
		const info = { role: "user", time: { created: ++this.#time }, ...more, id: messageId, sessionID: id };
		const { messages } = this.#session(id);
		messages.set(messageId, { info, parts: messages.get(messageId)?.parts ?? new Map() });
		this.#tell(id, "message.updated", { info });
	}

	part(id: string, messageId: string, partId: string, text: string): void {
		const part = { type: "text", text, id: partId, sessionID: id, messageID: messageId };
		this.#session(id).messages.get(messageId)?.parts.set(partId, part);
		this.#tell(id, "message.part.updated", { part, time: this.#time });
	}

	removeMessage(id: string, messageID: string): void {
		this.#session(id).messages.delete(messageID);
		this.#tell(id, "message.removed", { messageID });
	}

	todo(id: string, ...contents: string[]): void {
		const todos = contents.map((content) => ({ content, status: "pending", priority: "high" }));
		this.#session(id).todos = todos;
		this.#plain("todo.updated", { sessionID: id, todos });
	}

	idle(id: string): void {
		this.#plain("session.idle", { sessionID: id });
	}

	delete(id: string): void {
		const { info } = this.#session(id);
		this.#tell(id, "session.deleted", { info });
		this.sessions.delete(id);
	}

	/** The log was wiped: numbers begin anew. */
	wipeLog(): void {
		for (const session of this.sessions.values()) session.seq = -1;
	}

	/** What a replica of a session must hold: key to payload. */
	truth(id: string): Map<string, string> {
		const { info, messages, todos } = this.#session(id);
		const truth = new Map([["session", canonicalJson(info)]]);
		for (const [messageId, { info, parts }] of messages) {
			truth.set(`message/${messageId}`, canonicalJson(info));
			for (const [partId, part] of parts) truth.set(`part/${messageId}/${partId}`, canonicalJson(part));
		}
		truth.set("todo", canonicalJson(todos));
		return truth;
	}

	#session(id: string): ScriptedSession {
		const session = this.sessions.get(id);
		if (session === undefined) throw new Error(`no session ${id}`);
		return session;
	}

	/** A durable event: as it is, and as it stands in the log. */
	#tell(sessionID: string, type: string, properties: object): void {
		const session = this.#session(sessionID);
		session.seq++;
		const data = { sessionID, ...properties };
		const id = this.#plain(type, data);
		if (this.numbering === "none") return;
		const seq = this.numbering === "zero" ? 0 : session.seq;
		const syncEvent = { id, type: `${type}.1`, seq, aggregateID: sessionID, data };
		this.#frame({ type: "sync", syncEvent });
	}

	#plain(type: string, properties: object): string {
		const id = `evt_${String(++this.#events).padStart(12, "0")}`;
		this.#frame({ type, properties, ...(this.numbering === "none" ? {} : { id }) });
		return id;
	}

	#frame(payload: object): void {
		if (this.tells) this.write(`data: ${JSON.stringify({ directory: "/project", payload })}\n\n`);
	}

	#answer(request: IncomingMessage, response: ServerResponse): void {
		const path = request.url ?? "";
		this.asked.push(path);
		if (path !== "/global/event") {
			this.atOnceMax = Math.max(this.atOnceMax, ++this.atOnce);
			response.once("close", () => this.atOnce--);
		}
		if (this.instead(path, response, request)) return;
		if (path === "/global/event") {
			response.writeHead(200, { "content-type": "text/event-stream" });
			response.write(`data: ${JSON.stringify({ payload: { type: "server.connected", properties: {} } })}\n\n`);
			this.#streams.add(response);
			response.once("close", () => this.#streams.delete(response));
			return;
		}
		setTimeout(() => {
			const body = this.#body(path);
			if (body === undefined) response.writeHead(404).end("{}");
			else response.end(JSON.stringify(body));
		}, ANSWER_MS);
	}

	#body(path: string): unknown {
		if (path.startsWith("/experimental/session?")) return [...this.sessions.values()].map(({ info }) => info);
		const [, id = "", what] = /^\/session\/([^/?]+)(?:\/(\w+))?/.exec(path) ?? [];
		const session = this.sessions.get(id);
		if (session === undefined) return undefined;
		if (what === undefined) return session.info;
		if (what === "todo") return session.todos;
		return [...session.messages.values()].map(({ info, parts }) => ({ info, parts: [...parts.values()] }));
	}
}
