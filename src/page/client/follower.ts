import { RpcTarget } from "capnweb";
import { refusalOf, type ShareRefusal } from "../../protocol/refusal.ts";
import type { ShareCapability, WatchSink } from "../../protocol/rpc.ts";
import type { Delta, WatchedOp } from "../../protocol/schema.ts";
import { type Link, openLink } from "./link.ts";
import { OFFLINE_AFTER_MS, type State } from "./state.ts";
import { backoff, pause, within } from "./wait.ts";

/** Between two questions whether the server is still there and how far it is, in ms; a socket does not tell by itself. */
const ASK_MS = 20_000;
const ANSWER_MS = 10_000;

/** What follows a share: told everything from a cursor on, in order. */
export interface Follower {
	/** From where on it is to be told. */
	readonly cursor: number;
	ops(ops: readonly WatchedOp[], cursor: number): Promise<void>;
	delta(delta: Delta): void;
	state(state: State): void;
	/** The server does not know this cursor: it was put back to an earlier state. Begins anew from what the server has. */
	restart(): Promise<void>;
}

type Held = Awaited<ReturnType<Link["api"]["viewShare"]>>;

/**
 * Follows a share until it is gone:
 *
 *     connecting --watched--> catching up --cursor reached--> live
 *         ^                        |                            |
 *         |  lost, late, refused   v                            |
 *       waiting <-----------------------------------------------+
 *         |
 *         | the link opens nothing
 *         v
 *      revoked, deleted
 */
export class Following {
	readonly #slug: string;
	readonly #follower: Follower;
	#hurry = new AbortController();
	#lostAt: number | undefined;
	#again = new AbortController();

	constructor(slug: string, follower: Follower) {
		this.#slug = slug;
		this.#follower = follower;
		addEventListener("online", () => this.#hurry.abort());
		addEventListener("offline", () => this.#lost());
		document.addEventListener("visibilitychange", () => document.hidden || this.#hurry.abort());
	}

	/** Watches anew, from what is the follower's cursor by then. */
	again(): void {
		this.#again.abort();
	}

	async run(): Promise<void> {
		this.#follower.state({ is: "behind" });
		for (let attempt = 0; ; attempt++) {
			try {
				await using link = await openLink();
				for (;;) {
					const held = await within(ANSWER_MS, link.api.viewShare(this.#slug));
					const end = await this.#watch(link, held, () => {
						attempt = 0;
						this.#lostAt = undefined;
					});
					if (end === "closed") break;
				}
			} catch (error) {
				const refusal = refusalOf(error);
				if (refusal?.code === "revoked" || refusal?.code === "not_found")
					return this.#follower.state({ is: isGone(refusal) ? "deleted" : "revoked" });
				if (refusal?.code === "invalid_request") await this.#follower.restart().catch(() => undefined);
			}
			this.#lost();
			this.#hurry = new AbortController();
			await pause(backoff(attempt), this.#hurry.signal);
		}
	}

	/** Watches until something ends it. `ended`: the capability did, and the link may still be good. */
	async #watch(link: Link, held: Held, onLive: () => void): Promise<"closed" | "ended"> {
		const ended = Promise.withResolvers<"ended">();
		const sink = new Sink(this.#follower, () => ended.resolve("ended"));
		this.#again = new AbortController();
		this.#again.signal.addEventListener("abort", () => ended.resolve("ended"));
		const subscription = await within(ANSWER_MS, held.watch(sink, this.#follower.cursor));
		try {
			const closed = link.closed.then(() => "closed" as const);
			const over = Promise.race([ended.promise, closed]);
			for (;;) {
				const { cursor } = await Promise.race([
					within(ANSWER_MS, (held as unknown as ShareCapability).redemption()),
					over.then((): never => {
						throw new Over();
					}),
				]);
				await this.#reach(sink, cursor, over);
				onLive();
				this.#follower.state({ is: "live" });
				this.#hurry = new AbortController();
				const asked = pause(ASK_MS, this.#hurry.signal);
				const how = await Promise.race([over, asked]);
				if (how !== undefined) return how;
			}
		} catch (error) {
			if (!(error instanceof Over)) throw error;
			return await Promise.race([ended.promise, link.closed.then(() => "closed" as const)]);
		} finally {
			if (link.isOpen) {
				subscription[Symbol.dispose]();
				held[Symbol.dispose]();
			}
		}
	}

	/** Waits until what the server has is shown. */
	async #reach(sink: Sink, cursor: number, over: Promise<unknown>): Promise<void> {
		for (;;) {
			const missing = cursor - this.#follower.cursor;
			if (missing <= 0) return;
			this.#follower.state({ is: "behind", changes: missing });
			const isOver = await within(ASK_MS, Promise.race([over.then(() => true), sink.next().then(() => false)]));
			if (isOver) throw new Over();
		}
	}

	#lost(): void {
		this.#lostAt ??= Date.now();
		const isLong = Date.now() - this.#lostAt > OFFLINE_AFTER_MS;
		this.#follower.state({ is: !navigator.onLine || isLong ? "offline" : "behind", since: this.#lostAt });
	}
}

/** The share itself is: deleted by its owner, or let go of by the server. */
function isGone({ details }: ShareRefusal): boolean {
	return details.deleted === true || details.expired_at !== undefined;
}

/** Watching has ended while something else was waited for. */
class Over extends Error {}

class Sink extends RpcTarget implements WatchSink {
	readonly #follower: Follower;
	readonly #onEnd: () => void;
	#delivered = Promise.withResolvers<void>();

	constructor(follower: Follower, onEnd: () => void) {
		super();
		this.#follower = follower;
		this.#onEnd = onEnd;
	}

	/** Answered when it is shown: so the server sends no faster than this page can show. */
	async ops(ops: readonly WatchedOp[], cursor: number): Promise<void> {
		await this.#follower.ops(ops, cursor);
		this.#delivered.resolve();
		this.#delivered = Promise.withResolvers();
	}

	async delta(delta: Delta): Promise<void> {
		this.#follower.delta(delta);
	}

	async ended(): Promise<void> {
		this.#onEnd();
	}

	/** Resolves with the next delivery. */
	async next(): Promise<void> {
		await this.#delivered.promise;
	}
}
