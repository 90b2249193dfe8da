import { randomUUID } from "node:crypto";
import { messageOf, OutboxError } from "../model/errors.ts";
import { canonicalJson } from "../model/json.ts";
import { keys } from "../model/op.ts";
import type { Outbox } from "../outbox/outbox.ts";
import { OVER_QUOTA } from "../outbox/session.ts";
import type { Doorbell } from "../source/doorbell.ts";
import type { ServerExtras } from "../source/extras.ts";
import { redactedChanges, redactedSource } from "../source/redacted.ts";
import { type Change, isPoison } from "../source/source.ts";
import { isFull } from "../sqlite/errors.ts";
import type { AgentOptions } from "./agent.ts";
import type { Truth } from "./aim.ts";
import { Capture } from "./capture.ts";
import { Flusher } from "./flusher.ts";
import { LiveLane, type LiveOptions } from "./live.ts";
import { NO_RULES, RULES_CHANGED, type Rules, standingRules } from "./rules.ts";
import type { ServerLink } from "./server-link.ts";
import { Watcher } from "./watcher.ts";

/** After the flusher met a disk error, in ms. */
const RESTART_WAIT_MS = 5000;

/** Everything of an agent that works on one open outbox. Runs from the start, and ends before the outbox is closed. */
export class Works {
	readonly outbox: Outbox;
	readonly watcher: Watcher;
	readonly flusher: Flusher;
	readonly #options: AgentOptions;
	readonly #capture: Capture;
	readonly #live: LiveLane | undefined;
	readonly #rules: Rules;
	readonly #capturing = new AbortController();
	readonly #flushing = new AbortController();
	readonly #loops: Promise<unknown>[] = [];
	#doorbellProblem: string | undefined;

	/** @param onDamage called with what a verb threw when it met a damaged file; the verb is still on the stack. */
	constructor(options: AgentOptions, link: ServerLink, outbox: Outbox, onDamage: (error: unknown) => void) {
		this.#options = options;
		this.outbox = outbox;
		const { mode, onDelete, rules = NO_RULES, clock, random, log, pollMs, opencode, meter } = options;
		if (meter !== undefined) outbox.onCommit((ms) => meter.committed(ms));
		this.#rules = options.keepsRules ? standingRules(rules, outbox.agent()) : rules;
		const { selection, redactor } = this.#rules;
		const room = options.room?.(outbox);
		this.#capture = new Capture({ outbox, mode, onDelete, selection, room, meter, clock, log });
		this.watcher = new Watcher({
			...{ outbox, capture: this.#capture, room, pollMs, meter, clock, log },
			openSource: async () =>
				redactedSource(await options.openSource(outbox.agent()?.opencode_identity ?? undefined), redactor),
			isConnected: () => this.#isConnected(),
			onNews: () => this.flusher.wake(),
		});
		this.flusher = new Flusher({
			...{
				outbox,
				mode,
				clock,
				random,
				log,
				meter,
				transport: link.transport,
				server: link.server,
				owner: randomUUID(),
			},
			createKey: options.createKey,
			truth: (sessionId) => this.#truth(sessionId),
			onForgotten: () => this.watcher.ring(),
		});
		// Text that is still growing may end in the middle of a secret: with redaction rules it waits until it is committed.
		const live = redactor === undefined ? options.live : undefined;
		this.#live = live && this.#lane(live, (bytes) => room?.admit(bytes, clock.now()));
		insist(() => this.#introduce(link));
		outbox.onTrouble((trouble, error) => {
			if (trouble === "damaged") onDamage(error);
		});
		this.#loops.push(this.watcher.run(this.#capturing.signal), this.#flush());
		if (this.#live) this.#loops.push(this.#live.run(this.#capturing.signal));
		this.#loops.push(this.#hear(options.lane, undefined));
		if (opencode) this.#loops.push(this.#hear(opencode.doorbell, opencode.extras));
	}

	/** What was streamed up to now is in the outbox then. */
	settle(): void {
		this.#live?.settle();
	}

	/** Calls under way end as unknown and are reconciled by whoever comes next. */
	async end(): Promise<void> {
		this.#capturing.abort();
		this.#flushing.abort();
		await Promise.allSettled(this.#loops);
		this.watcher.close();
	}

	#lane(live: LiveOptions, admit: (bytes: number) => void): LiveLane {
		const { outbox, flusher } = this;
		const { clock, log } = this.#options;
		const held = (sessionId: string) => flusher.held(sessionId);
		return new LiveLane({ ...live, outbox, held, admit, onNews: () => flusher.wake(), clock, log });
	}

	/** Takes the outbox over from whoever had it, and says so. */
	#introduce(link: ServerLink): void {
		const { outbox } = this;
		const { mode, onDelete, clock, opencode, log } = this.#options;
		const { selection } = this.#rules;
		const last = outbox.agent();
		// The lock is ours, so that one is gone; who was killed could not say so.
		if (last && last.state !== "stopped" && last.pid !== process.pid)
			log.info({ last_pid: last.pid }, "the last agent was killed; going on from where it was");
		outbox.recover();
		// What another server or version mends is tried once with each start.
		for (const code of ["other_server", "invalid_request", OVER_QUOTA]) outbox.unpark(code);
		outbox.parkForeign(link.server.id);
		const now = clock.now();
		if (this.#options.hurry) outbox.hurry();
		// Who starts an agent that was not let in, or did not trust the server, has probably mended that.
		const isDue = this.#options.hurry || ["refused", "untrusted"].includes(outbox.agent()?.server_state ?? "");
		if (isDue) outbox.say({ next_connect_at: 0 }, now);
		const looksAt = { opencode_db: this.#options.opencodeDb, opencode_url: opencode?.url ?? null };
		outbox.say({ pid: process.pid, state: "starting", since: now, ...looksAt }, now);
		this.#applyRules();
		outbox.say(
			{
				server_url: link.url,
				server_id: link.server.id,
				share_mode: mode,
				on_delete: onDelete ?? "keep",
				selection: selection === undefined ? null : canonicalJson(selection),
				server_state: "unknown",
				transport: null,
				opencode_connected: false,
			},
			now,
		);
	}

	/** Before anything is sent: what was captured under other rules than these is redacted, compared, held back. */
	#applyRules(): void {
		const { redactor } = this.#rules;
		const { log } = this.#options;
		const name = redactor?.identity ?? null;
		if ((this.outbox.agent()?.redaction ?? null) !== name) {
			const shares = this.outbox.redact(redactor, name, RULES_CHANGED);
			log.info({ rules: redactor?.names ?? [], shares }, "other redaction rules than before: shares are compared");
		}
		this.#capture.holdBack();
	}

	/** The flusher, started again when the disk would not take what it wrote. */
	async #flush(): Promise<void> {
		const { signal } = this.#flushing;
		const { clock, log } = this.#options;
		while (!signal.aborted) {
			try {
				await this.flusher.run(signal);
			} catch (error) {
				log.error({ err: messageOf(error) }, "flushing is stopped for a moment");
				await clock.sleep(RESTART_WAIT_MS, signal);
			}
		}
	}

	/** Whether OpenCode's own server is heard; why not is said once. */
	#isConnected(): boolean {
		const { doorbell, url } = this.#options.opencode ?? {};
		if (doorbell === undefined || doorbell.problem === this.#doorbellProblem) return doorbell?.connected ?? false;
		this.#doorbellProblem = doorbell.problem;
		if (doorbell.problem === undefined) this.#options.log.info({ url }, "OpenCode's server is heard again");
		else this.#options.log.warn({ url, err: doorbell.problem }, `OpenCode's server is not heard; ${this.#instead}`);
		return doorbell.connected;
	}

	get #instead(): string {
		return this.#options.opencodeDb === null ? "it is asked from time to time" : "its database is polled";
	}

	/** Looks when OpenCode rings; what only its API tells is asked for once a turn or an undo has ended. */
	async #hear(doorbell: Doorbell, extras: ServerExtras | undefined): Promise<void> {
		const { outbox, watcher, flusher } = this;
		const { signal } = this.#capturing;
		const { log } = this.#options;
		for await (const { session_id, directory, settled } of doorbell.rings(signal, (live) => this.#live?.hear(live))) {
			try {
				watcher.ring();
				if (!extras || !settled || session_id === undefined || directory === undefined) continue;
				// A turn's end comes long after its session was captured, but for a session that has only just been made.
				if (!outbox.isCaptured(session_id, keys.session)) await watcher.pass(signal);
				if (!outbox.isCaptured(session_id, keys.session)) continue;
				const models = (await watcher.source?.models(session_id)) ?? [];
				const told = await extras.extras(session_id, directory, { models, signal });
				const states = redactedChanges(told, this.#rules.redactor);
				if (!signal.aborted && this.#capture.appendState(session_id, states)) flusher.wake();
			} catch (error) {
				log.debug({ session: session_id, err: messageOf(error) }, "a doorbell led to nothing; the poll goes on");
			}
		}
	}

	async #truth(sessionId: string): Promise<Truth | undefined> {
		const { source } = this.watcher;
		if (source === undefined) throw new OutboxError("no_source", "OpenCode cannot be read at the moment.");
		const snapshot = await source.snapshot(sessionId);
		if (snapshot === undefined) return undefined;
		const entities = snapshot.entities.filter((entity): entity is Change => !isPoison(entity));
		const unreadable = new Set(snapshot.entities.filter(isPoison).map((entity) => entity.key));
		const removed = (await source.removals(sessionId)).map((removal) => removal.key);
		return { entities, unreadable, removed, watermark: snapshot.to };
	}
}

/** Writes; once more when the disk was full, since the room has given its ballast up by then. */
function insist(write: () => void): void {
	try {
		write();
	} catch (error) {
		if (!isFull(error)) throw error;
		write();
	}
}
