import { deepStrictEqual } from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { type Clock, systemClock } from "../../src/model/clock.ts";
import { REMOVALS } from "../../src/model/op.ts";
import { type ApiBounds, OpencodeApi } from "../../src/source/api.ts";
import { Heard } from "../../src/source/heard.ts";
import { serverAddress } from "../../src/source/http.ts";
import { ServerSource, type ServerSourceOptions } from "../../src/source/remote.ts";
import { OpencodeServer } from "../../src/source/server.ts";
import {
	type Captured,
	type Change,
	type Choose,
	isPoison,
	type Poison,
	type SessionRead,
} from "../../src/source/source.ts";
import type { StreamOptions } from "../../src/source/stream.ts";

/** The time of this machine, which a test may set forward. */
class ForwardClock implements Clock {
	#aheadMs = 0;
	now = () => Date.now() + this.#aheadMs;
	sleep = systemClock.sleep;
	advance(ms: number): void {
		this.#aheadMs += ms;
	}
}

export interface RemoteOptions extends ServerSourceOptions, ApiBounds, StreamOptions {
	readonly choose?: Choose;
	/** Where the password is. */
	readonly env?: Readonly<Record<string, string>>;
}

/** A ServerSource with its stream, and what an outbox and a share would hold of all that it tells. */
export class RemoteReader {
	readonly clock = new ForwardClock();
	readonly captured = new Map<string, Captured>();
	readonly reads: SessionRead[] = [];
	readonly poison: Poison[] = [];
	readonly server: OpencodeServer;
	source: ServerSource;
	readonly #told = new Map<string, Map<string, string>>();
	readonly #options: RemoteOptions;
	readonly #api: OpencodeApi;
	readonly #heard: Heard;
	readonly #leaving = new AbortController();
	readonly #listening: Promise<void>;

	constructor(url: string, options: RemoteOptions = {}) {
		this.#options = options;
		const address = serverAddress(url, options.env ?? {});
		this.#heard = new Heard(this.clock);
		this.#api = new OpencodeApi(address, options);
		this.server = new OpencodeServer(address, { backoff: { baseMs: 1, capMs: 20 }, ...options, ear: this.#heard });
		this.source = new ServerSource(this.#api, this.#heard, this.server, options);
		this.#listening = this.#listen();
	}

	async close(): Promise<void> {
		this.source.close();
		this.#leaving.abort();
		await this.#listening;
	}

	/** Another source on the same connection, as after trouble. */
	reopen(): void {
		this.source.close();
		this.source = new ServerSource(this.#api, this.#heard, this.server, this.#options);
	}

	told(id: string): ReadonlyMap<string, string> {
		return this.#told.get(id) ?? new Map();
	}

	/** One read to its end. @param fail called with each read before it is captured. */
	async pass(fail: (read: SessionRead) => void = () => undefined): Promise<void> {
		const choose: Choose = this.#options.choose ?? ((all) => new Set(all.map(({ session_id }) => session_id)));
		for await (const read of this.source.read(new Map(this.captured), choose, this.#leaving.signal)) {
			fail(read);
			this.#capture(read);
		}
	}

	/** Reads whenever something may have changed, until `claim` holds. */
	async until(what: string, claim: () => boolean): Promise<void> {
		for (const deadline = Date.now() + 30_000; !claim(); await delay(5)) {
			if (this.source.changed()) await this.pass();
			if (Date.now() < deadline) continue;
			throw new Error(`waited for ${what}; read ${JSON.stringify(this.reads.slice(-5)).slice(0, 2000)}`);
		}
	}

	/** Reads until what was told of these sessions is what the server has. */
	async untilEqual(truth: (id: string) => Map<string, string>, ...ids: string[]): Promise<void> {
		const isEqual = (id: string) => {
			try {
				deepStrictEqual(new Map([...this.told(id)].sort()), new Map([...truth(id)].sort()));
				return true;
			} catch {
				return false;
			}
		};
		await this.until(`${ids} to be equal`, () => ids.every(isEqual));
	}

	/** What kinds of reads there were of a session, since `from`. */
	kinds(id: string, from = 0): string[] {
		return this.reads
			.slice(from)
			.filter((read) => idOf(read) === id)
			.map((read) => read.kind);
	}

	reasons(id: string, from = 0): string[] {
		return this.reads.slice(from).flatMap((read) => (idOf(read) === id && "reason" in read ? [read.reason] : []));
	}

	#capture(read: SessionRead): void {
		this.reads.push(read);
		const id = idOf(read);
		if (read.kind === "vanished")
			this.captured.set(id, { watermark: null, ...this.captured.get(id), deleted: false, vanished: true });
		else if (read.kind === "deleted") this.captured.set(id, { watermark: read.from, deleted: true });
		else {
			// As the outbox: a read that begins elsewhere than its capture stands is not taken.
			deepStrictEqual(read.from, this.captured.get(id)?.watermark ?? null);
			const { updated_at } = read.session;
			this.captured.set(id, { watermark: read.to, deleted: false, updated_at });
			const told = read.kind === "snapshot" ? new Map<string, string>() : (this.#told.get(id) ?? new Map());
			const changes = read.kind === "snapshot" ? read.entities : [...read.changes, ...read.state];
			for (const change of changes) this.#apply(told, change);
			this.#told.set(id, told);
		}
	}

	#apply(told: Map<string, string>, change: Change | Poison): void {
		if (isPoison(change)) this.poison.push(change);
		else if (!REMOVALS.has(change.type)) told.set(change.key, change.payload);
		else {
			told.delete(change.key);
			const parts = change.key.replace(/^message\//, "part/");
			for (const key of told.keys()) if (key.startsWith(`${parts}/`)) told.delete(key);
		}
	}

	async #listen(): Promise<void> {
		for await (const _ of this.server.rings(this.#leaving.signal)) void _;
	}
}

function idOf(read: SessionRead): string {
	return "session" in read ? read.session.session_id : read.session_id;
}
