import { systemClock } from "../model/clock.ts";
import { asOutboxError, OutboxError } from "../model/errors.ts";
import type { Outbox } from "../outbox/outbox.ts";
import { type Content, fetchShare } from "../restore/content.ts";
import { OUR_EVENTS } from "../restore/events.ts";
import { forkOf } from "../restore/fork.ts";
import { Opencode } from "../restore/opencode.ts";
import { type Local, type Restored, Restorer } from "../restore/restorer.ts";
import { DatabaseSource } from "../source/database.ts";
import { type FoundDatabase, findOpencodeDatabase } from "../source/discovery.ts";
import { readLogEnd } from "../source/log-end.ts";
import { type Change, isPoison } from "../source/source.ts";
import type { Takeover } from "./restore-takeover.ts";
import type { Target } from "./restore-targets.ts";
import type { Settings } from "./settings.ts";

/** What became of one share. */
export interface Outcome {
	readonly session_id: string | null;
	readonly title: string;
	readonly link: string;
	/** `restored` and `forwarded` brought something; `has_gone_on`: what is here is newer; `failed`: see `error`. */
	readonly outcome: "restored" | "forwarded" | "already_there" | "has_gone_on" | "failed";
	readonly directory: string | null;
	readonly events: number;
	/** What OpenCode did not take as the share has it. */
	readonly not_kept: readonly { readonly key: string; readonly why: string }[];
	readonly notes: readonly string[];
	readonly error: OutboxError | null;
}

export interface RestoreOptions {
	readonly settings: Settings;
	/** Absolute; undefined: where each session was. */
	readonly directory: string | undefined;
	readonly dryRun: boolean;
	/** Under ids of their own. */
	readonly fork: boolean;
	/** What this machine knows of its shares; undefined when it has none. */
	readonly outbox: Outbox | undefined;
	readonly signal: AbortSignal;
	readonly onProgress: (sessionId: string, done: number, total: number) => void;
}

/** Restores shares one after another, over one OpenCode that is started when there is something to write. */
export class RestoreRun {
	readonly #options: RestoreOptions;
	readonly #database: FoundDatabase;
	readonly #restorer: Restorer;
	#source: DatabaseSource | undefined;
	#opencode: Promise<Opencode> | undefined;
	/** The share that is being restored. */
	#slug = "";
	#sessionId = "";

	constructor(options: RestoreOptions) {
		this.#options = options;
		const { settings, onProgress } = options;
		this.#database = findOpencodeDatabase(process.env, settings.opencodeDb);
		this.#restorer = new Restorer({
			look: (sessionId) => this.#look(sessionId),
			opencode: () => this.#started(),
			clock: systemClock,
			fallbackDirectory: process.cwd(),
			onProgress: (done, total) => onProgress(this.#sessionId, done, total),
		});
	}

	/**
	 * Restores one share; what goes wrong is told in the outcome.
	 *
	 * @param family sessions that are restored along with it.
	 * @param takeover makes this machine the share's holder; undefined: the share stays whose it is.
	 */
	async restore(target: Target, family: readonly string[], takeover: () => Takeover | undefined): Promise<Outcome> {
		const title = target.listing?.title ?? "";
		let content: Content | undefined;
		try {
			content = await this.#fetch(target, family);
			const restored = await this.#bring(target, family, content, takeover());
			return outcomeOf(target, content, restored);
		} catch (thrown) {
			const error = asOutboxError(thrown);
			const session_id = content?.session_id ?? target.listing?.session_id ?? null;
			const nothing = { directory: null, events: 0, not_kept: [], notes: target.notes };
			return { session_id, title, link: target.link, outcome: "failed", ...nothing, error };
		}
	}

	async close(): Promise<void> {
		this.#source?.close();
		await this.#opencode?.then(
			(opencode) => opencode.close(),
			() => undefined,
		);
	}

	async #bring(
		target: Target,
		family: readonly string[],
		content: Content,
		takeover: Takeover | undefined,
	): Promise<Restored> {
		const { directory, dryRun } = this.#options;
		this.#slug = target.slug;
		this.#sessionId = content.session_id;
		if (takeover === undefined || dryRun) return this.#restorer.restore(content, directory, dryRun);
		// What would be refused is refused before anything is held.
		await this.#restorer.restore(content, directory, true);
		takeover.hold();
		const first = await this.#restorer.restore(content, directory, false);
		const grant = await takeover.claim();
		// What the other machine had sent until then; it can send nothing from now on.
		const second = await this.#restorer.restore(await this.#fetch(target, family), directory, false);
		takeover.adopted(grant);
		return { ...second, standing: first.standing, events: first.events + second.events };
	}

	async #fetch(target: Target, family: readonly string[]): Promise<Content> {
		const content = await fetchShare(target.data, this.#options.signal);
		return this.#options.fork ? forkOf(content, target.root, family) : content;
	}

	async #look(sessionId: string): Promise<Local> {
		const { outbox, fork } = this.#options;
		const isOurs = !fork && outbox?.share(sessionId)?.slug === this.#slug;
		const known = {
			acknowledged: isOurs ? outbox.acknowledgedDigests(sessionId) : new Map<string, string>(),
			removed: new Set(isOurs ? outbox.removedKeys(sessionId) : []),
		};
		const absent = { ...known, local: undefined, unreadable: new Set<string>(), lastSeq: -1, eventIds: [] };
		const source = await this.#opened();
		if (source === undefined) return absent;
		const snapshot = await source.snapshot(sessionId);
		const end = await readLogEnd(this.#database, sessionId, OUR_EVENTS);
		if (snapshot === undefined) return { ...absent, ...end };
		const entities = snapshot.entities.filter((entity): entity is Change => !isPoison(entity));
		const local = new Map(entities.filter(({ key }) => key !== "todo").map(({ key, payload }) => [key, payload]));
		const unreadable = new Set(snapshot.entities.filter(isPoison).map((entity) => entity.key));
		return { ...known, ...end, local, unreadable };
	}

	/** Undefined while OpenCode has none, or has not set it up: it does so when it is started. */
	async #opened(): Promise<DatabaseSource | undefined> {
		if (this.#source) return this.#source;
		try {
			this.#source = await DatabaseSource.open(this.#database);
		} catch (error) {
			if (!(error instanceof OutboxError) || error.code !== "no_source") throw error;
		}
		return this.#source;
	}

	#started(): Promise<Opencode> {
		const { opencodeBin, opencodeDb } = this.#options.settings;
		this.#opencode ??= Opencode.start({ bin: opencodeBin, env: process.env, database: opencodeDb });
		return this.#opencode;
	}
}

const OUTCOMES = { absent: "restored", behind: "forwarded", equal: "already_there", ahead: "has_gone_on" } as const;

function outcomeOf(target: Target, content: Content, { standing, directory, events, notKept }: Restored): Outcome {
	const { session, session_id, todos, diffs } = content;
	const notes = [...target.notes];
	if (standing === "absent") {
		if (todos > 0) notes.push(`its list of ${todos} todos: OpenCode takes none back; the messages still tell them`);
		if (diffs > 0) notes.push("its list of changed files: OpenCode takes none back");
		const snapshot = (session.value.revert as { snapshot?: unknown } | undefined)?.snapshot;
		if (snapshot !== undefined) notes.push("what an undo had put aside of the files is on the other machine");
	}
	const title = String(session.value.title ?? "");
	const outcome = OUTCOMES[standing];
	return { session_id, title, link: target.link, outcome, directory, events, not_kept: notKept, notes, error: null };
}
