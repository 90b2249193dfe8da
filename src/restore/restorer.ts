import { existsSync } from "node:fs";
import { relative, resolve, sep } from "node:path";
import type { Clock } from "../model/clock.ts";
import { messageOf, OutboxError } from "../model/errors.ts";
import { canonicalJson } from "../model/json.ts";
import { keys } from "../model/op.ts";
import type { Content, Entity } from "./content.ts";
import { type Difference, differenceOf, type Here, homeless, isEqual, type Standing } from "./difference.ts";
import { broughtBefore, eventsOf, type Home, isOfMessage, type ReplayEvent } from "./events.ts";
import type { Opencode } from "./opencode.ts";

/** What OpenCode's database says of a session now. */
export interface Local extends Here {
	/** The number of its last event; -1 where it has no log. */
	readonly lastSeq: number;
	/** Ids of its events that a restore has made, and of its last one, in order. */
	readonly eventIds: readonly string[];
}

export interface RestorerOptions {
	/** Looks at a session as it is here now. */
	readonly look: (sessionId: string) => Promise<Local>;
	/** OpenCode, to write with; called when there is something to write. */
	readonly opencode: () => Promise<Opencode>;
	readonly clock: Pick<Clock, "now">;
	/** Where a session goes whose own directory is not here. Absolute. */
	readonly fallbackDirectory: string;
	/** Told what is done of it, in events. */
	readonly onProgress?: (done: number, total: number) => void;
}

/** An entity that OpenCode did not take as the share has it. */
export interface NotKept {
	readonly key: string;
	readonly why: string;
}

export interface Restored {
	/** How it stood here before. */
	readonly standing: Exclude<Standing, "diverged">;
	/** Where it lives here; null when nothing was brought and it is not here. */
	readonly directory: string | null;
	/** Events that OpenCode was given, or would be. */
	readonly events: number;
	readonly notKept: readonly NotKept[];
}

/** Events in one call, and their characters unless a single one is longer: bounds how long OpenCode does nothing else. */
const CALL = { events: 200, chars: 1024 * 1024 };
/** How often it is looked anew when OpenCode has written to the session meanwhile. */
const LOOKS_MAX = 3;

/**
 * Brings a session that was fetched whole into the OpenCode of this machine.
 *
 *     look -> equal, ahead -> nothing to do
 *      ^   -> diverged ----> refused
 *      |   -> absent, behind -> replay -> look again, name what was not kept
 *      +--- written to meanwhile -+
 *
 * Only ever goes forward: what is here and not on the share is left alone. Repeatable after a kill at any point: what was
 * brought is not brought again.
 */
export class Restorer {
	readonly #options: RestorerOptions;

	constructor(options: RestorerOptions) {
		this.#options = options;
	}

	/**
	 * @param directory where the person wants it; undefined: where it was, if that is here.
	 * @param dryRun true: only tells what it would do.
	 * @throws OutboxError diverged with what has gone on here; not_restored, no_opencode.
	 */
	async restore(content: Content, directory: string | undefined, dryRun: boolean): Promise<Restored> {
		for (let look = 1; ; look++) {
			const local = await this.#options.look(content.session_id);
			const found = differenceOf(local, content);
			const before = broughtBefore(local.eventIds, found.bring);
			const difference = { ...found, bring: found.bring.filter((entity) => !before.includes(entity)) };
			if (found.standing === "diverged" && difference.bring.length + difference.remove.length > 0)
				throw diverged(content.session_id, found);
			if (difference.bring.length + difference.remove.length === 0) {
				const standing = found.ahead.length > 0 ? "ahead" : "equal";
				return { standing, directory: directoryOf(local), events: 0, notKept: unlike(before, local) };
			}
			const standing = found.standing === "absent" ? "absent" : "behind";
			if (dryRun)
				return {
					standing,
					directory: this.#target(content, local, directory),
					events: countOf(difference),
					notKept: [],
				};
			const home = await this.#home(content, local, directory);
			const now = this.#options.clock.now();
			const events = eventsOf(content, difference, { home, next: local.lastSeq + 1, now });
			const problem = await this.#replay(home.directory, events);
			const after = await this.#options.look(content.session_id);
			if (problem === undefined) {
				const all = [content.session, ...content.entities];
				const notKept = unlike(all, after).filter(({ key }) => !found.ahead.includes(key));
				return { standing, directory: home.directory, events: events.length, notKept };
			}
			const isMoved = after.lastSeq !== local.lastSeq;
			if (!isMoved || look === LOOKS_MAX)
				throw new OutboxError("not_restored", `OpenCode did not take ${content.session_id}: ${problem}.`);
		}
	}

	async #replay(directory: string, events: readonly ReplayEvent[]): Promise<string | undefined> {
		const opencode = await this.#options.opencode();
		let done = 0;
		for (const chunk of chunksOf(events)) {
			try {
				await opencode.replay(directory, chunk);
			} catch (error) {
				if (error instanceof OutboxError) throw error;
				return messageOf(error);
			}
			done += chunk.length;
			this.#options.onProgress?.(done, events.length);
		}
		return undefined;
	}

	async #home(content: Content, local: Local, directory: string | undefined): Promise<Home> {
		const target = this.#target(content, local, directory);
		const own = sessionOf(local);
		if (own && directory === undefined) {
			const { projectID, path } = own;
			return { directory: target, projectID: String(projectID), path: String(path ?? "") };
		}
		const project = await (await this.#options.opencode()).project(target);
		const path = relative(resolve(project.worktree), target).split(sep).join("/");
		return { directory: target, projectID: project.id, path };
	}

	/** Where it is here, where the person wants it, where it was, or the fallback: the first that there is. */
	#target({ session }: Content, local: Local, directory: string | undefined): string {
		if (directory !== undefined) return directory;
		const here = directoryOf(local);
		if (here !== null) return here;
		const recorded = session.value.directory;
		return typeof recorded === "string" && existsSync(recorded) ? recorded : this.#options.fallbackDirectory;
	}
}

function* chunksOf(events: readonly ReplayEvent[]): Generator<ReplayEvent[]> {
	let chunk: ReplayEvent[] = [];
	let chars = 0;
	for (const event of events) {
		const size = JSON.stringify(event.data).length;
		if (chunk.length > 0 && (chunk.length === CALL.events || chars + size > CALL.chars)) {
			yield chunk;
			[chunk, chars] = [[], 0];
		}
		chunk.push(event);
		chars += size;
	}
	if (chunk.length > 0) yield chunk;
}

function countOf({ standing, bring, remove }: Difference): number {
	return bring.filter(isOfMessage).length + remove.length + (standing === "absent" ? 2 : 1);
}

function sessionOf({ local }: Local): Record<string, unknown> | undefined {
	const own = local?.get(keys.session);
	return own === undefined ? undefined : JSON.parse(own);
}

function directoryOf(local: Local): string | null {
	const directory = sessionOf(local)?.directory;
	return typeof directory === "string" ? directory : null;
}

/** What of these is not here as it is on the share, and in which members. */
function unlike(entities: readonly Entity[], { local, unreadable }: Local): NotKept[] {
	return entities.flatMap((entity) => {
		const own = local?.get(entity.key);
		if (own === undefined)
			return [{ key: entity.key, why: unreadable.has(entity.key) ? "it cannot be read here" : "it is not here" }];
		if (isEqual(entity, own)) return [];
		const [theirs, ours] = [homeless(entity.value), homeless(JSON.parse(own))];
		const names = new Set([...Object.keys(theirs), ...Object.keys(ours)]);
		const differing = [...names].filter(
			(name) => canonicalJson(theirs[name] ?? null) !== canonicalJson(ours[name] ?? null),
		);
		return [{ key: entity.key, why: `differs in ${differing.join(", ") || "its form"}` }];
	});
}

/** How many keys a message names. */
const NAMED_MAX = 5;

function diverged(sessionId: string, { ahead, bring, remove }: Difference): OutboxError {
	const named = ahead.slice(0, NAMED_MAX).join(", ");
	const more = ahead.length > NAMED_MAX ? ` and ${ahead.length - NAMED_MAX} more` : "";
	const message = `${sessionId} has gone on here (${named}${more}), and the share has ${bring.length + remove.length} changes that are not here. Nothing was changed.`;
	return new OutboxError("diverged", message, {
		hint: "`--fork` puts the share's state beside it, as a session of its own.",
	});
}
