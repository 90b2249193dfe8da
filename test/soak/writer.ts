import { OpencodeDatabase } from "../source/opencode-database.ts";

/**
 * Fills an OpenCode database as OpenCode does, one short transaction per event, at an even rate: a process of its own,
 * forked by stage.ts with a Workload as its only argument. Tells every second what it has written; ends when told "stop".
 */
export interface Workload {
	readonly path: string;
	/** Events per second. */
	readonly rate: number;
	/** A new session comes every so often, in ms, until there are `sessionsMax`. */
	readonly sessionEveryMs: number;
	readonly sessionsMax: number;
	/** A session that has this many messages loses its oldest with each new one. */
	readonly messagesMax: number;
}

/** What has been committed so far. */
export interface Written {
	events: number;
	sessions: number;
	messages: number;
	messagesRemoved: number;
	partsRemoved: number;
}

interface Message {
	readonly id: string;
	readonly parts: string[];
}

/** How long it sleeps between two bursts, in ms. */
const TICK_MS = 20;
const TELL_MS = 1000;
const PARTS_PER_MESSAGE = 3;
/** Of a new session: it comes with some history, so that updates spread over many entities and few collapse. */
const MESSAGES_AT_FIRST = 24;
/** Characters of a part; OpenCode's tool calls and answers are mostly below a kilobyte. */
const TEXT = { min: 50, max: 600 } as const;

const workload = JSON.parse(process.argv[2] ?? "") as Workload;
const written: Written = { events: 0, sessions: 0, messages: 0, messagesRemoved: 0, partsRemoved: 0 };
const sessions: { readonly id: string; readonly messages: Message[] }[] = [];
const opencode = await OpencodeDatabase.create(workload.path);
let isOver = false;
process.on("message", () => {
	isOver = true;
});
process.once("disconnect", () => process.exit(isOver ? 0 : 1));

const startedAt = performance.now();
for (let toldAt = 0; !isOver; await new Promise((resolve) => setTimeout(resolve, TICK_MS))) {
	const elapsed = performance.now() - startedAt;
	while (written.events < (elapsed * workload.rate) / 1000) {
		const isTime = elapsed >= sessions.length * workload.sessionEveryMs;
		if (isTime && sessions.length < workload.sessionsMax) newSession();
		else change();
	}
	if (elapsed - toldAt < TELL_MS) continue;
	toldAt = elapsed;
	process.send?.(written);
}
opencode.sql.close();
process.send?.(written, () => process.disconnect());

function newSession(): void {
	const session = { id: `ses_${sessions.length}`, messages: [] };
	commit(() => opencode.session(session.id));
	sessions.push(session);
	written.sessions++;
	for (let n = 0; n < MESSAGES_AT_FIRST; n++) newMessage(session);
}

/** One event, or a message with its parts. Most are updates of parts, a tenth of them of the one that streams. */
function change(): void {
	const session = pick(sessions);
	const dice = Math.random();
	const message = dice < 0.1 ? last(session.messages) : pick(session.messages);
	const part = dice < 0.1 ? last(message.parts) : pick(message.parts);
	if (dice > 0.995) newMessage(session);
	else if (dice > 0.94) commit(() => opencode.message(session.id, message.id, text()));
	else if (dice > 0.93 && message.parts.length > 1) removePart(session.id, message);
	else commit(() => opencode.part(session.id, message.id, part, text()));
}

function newMessage(session: { readonly id: string; readonly messages: Message[] }): void {
	const message: Message = { id: `msg_${session.id}_${written.messages++}`, parts: [] };
	commit(() => opencode.message(session.id, message.id, text()));
	session.messages.push(message);
	while (message.parts.length < PARTS_PER_MESSAGE) {
		const id = `prt_${message.id}_${message.parts.length}`;
		commit(() => opencode.part(session.id, message.id, id, text()));
		message.parts.push(id);
	}
	if (session.messages.length <= workload.messagesMax) return;
	const oldest = session.messages.shift();
	if (oldest) commit(() => opencode.removeMessage(session.id, oldest.id));
	written.messagesRemoved++;
}

function removePart(sessionId: string, message: Message): void {
	const [part] = message.parts.splice(0, 1);
	if (part === undefined) return;
	commit(() => opencode.removePart(sessionId, message.id, part));
	written.partsRemoved++;
}

/** Table and log in one transaction, as OpenCode's projectors do it. */
function commit(write: () => void): void {
	opencode.sql.transaction(write);
	written.events++;
}

function text(): string {
	const length = TEXT.min + Math.floor(Math.random() * (TEXT.max - TEXT.min));
	return `${written.events} `.padEnd(length, "The quick brown fox jumps over the lazy dog. ");
}

function pick<T>(items: readonly T[]): T {
	return there(items[Math.floor(Math.random() * items.length)]);
}

function last<T>(items: readonly T[]): T {
	return there(items.at(-1));
}

function there<T>(item: T | undefined): T {
	if (item === undefined) throw new Error("there is nothing to choose from");
	return item;
}
