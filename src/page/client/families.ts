import { type Json, record, text } from "../json.ts";
import type { Child, Context } from "../tool.ts";
import { pause } from "./wait.ts";

/** A sub-session's share is made soon after its task begins; asked for again while there is none, in ms. */
const AGAIN_MS = 3000;
const TIMES = 5;

/** The sub-sessions of this session that may be viewed: those that the page came with, and those that begin meanwhile. */
export class Families implements Context {
	readonly bearsStored = false;
	readonly children = new Map<string, Child>();
	/** Parts of sub-sessions that nobody has told of yet. */
	readonly #waiting = new Set<string>();
	readonly #onTold: (partKey: string) => void;
	#onChange: () => void = () => undefined;
	#isAsking = false;

	constructor(onTold: (partKey: string) => void) {
		this.#onTold = onTold;
	}

	begin(told: Json): void {
		this.children.clear();
		this.#waiting.clear();
		this.#take(told);
	}

	/** @param act is done when there are more of them. */
	onChange(act: () => void): void {
		this.#onChange = act;
	}

	/** Asks for the sub-session that a part speaks of, where nobody has told of it. */
	look(key: string, value: Json | undefined): void {
		const { sessionId, sessionID } = record(record(value?.state).metadata);
		const id = value?.tool === "task" ? (text(sessionId) ?? text(sessionID)) : undefined;
		if (id === undefined || this.children.has(id)) return;
		this.#waiting.add(key);
		if (!this.#isAsking) void this.#ask();
	}

	async #ask(): Promise<void> {
		this.#isAsking = true;
		const path = `/api${location.pathname}/children`;
		for (let times = 0; times < TIMES && this.#waiting.size > 0; times++) {
			const before = this.children.size;
			const told: unknown = await fetch(path)
				.then((response) => (response.ok ? response.json() : undefined))
				.catch(() => undefined);
			this.#take(record(told));
			if (this.children.size > before) {
				for (const key of this.#waiting) this.#onTold(key);
				this.#waiting.clear();
				this.#onChange();
			}
			await pause(AGAIN_MS);
		}
		this.#waiting.clear();
		this.#isAsking = false;
	}

	#take(told: Json): void {
		for (const [id, child] of Object.entries(told)) {
			const { title, path } = record(child);
			const isOurs = /^\/share\/[a-zA-Z0-9_-]{16,64}$/.test(String(path));
			if (isOurs) this.children.set(id, { title: String(title), path: String(path) });
		}
	}
}
