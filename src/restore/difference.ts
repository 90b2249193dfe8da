import { canonicalJson, digestOf } from "../model/json.ts";
import { keys, messageIdOf } from "../model/op.ts";
import type { Content, Entity } from "./content.ts";

/** What this machine has and knows of a session. */
export interface Here {
	/** Its entities by key, canonical JSON; undefined when OpenCode does not have the session. */
	readonly local: ReadonlyMap<string, string> | undefined;
	/** Keys that OpenCode has but cannot be read; they are left alone. */
	readonly unreadable: ReadonlySet<string>;
	/** What the share is known to have held in this machine's own time, by key: digests. What equals it is not news. */
	readonly acknowledged: ReadonlyMap<string, string>;
	/** Keys that were removed here. */
	readonly removed: ReadonlySet<string>;
}

/**
 * How a session here stands to a share of it:
 *
 * - `absent`: it is not here.
 * - `equal`: it is here as it is there.
 * - `behind`: the share has more or newer; what is here is all in it.
 * - `ahead`: what is here has gone on; the share has nothing that is not here.
 * - `diverged`: both have gone on.
 */
export type Standing = "absent" | "equal" | "behind" | "ahead" | "diverged";

export interface Difference {
	readonly standing: Standing;
	/** What the share has more, or newer. */
	readonly bring: readonly Entity[];
	/** Keys of what the share has removed since. */
	readonly remove: readonly string[];
	/** Keys of what has gone on here. */
	readonly ahead: readonly string[];
}

/**
 * Members of a session that say where it lives: its project, its folder, and OpenCode's own share of it. They are this
 * machine's, whatever the other one had.
 */
const AT_HOME = ["directory", "projectID", "path", "workspaceID", "share"] as const;

/** A session's value without what says where it lives. */
export function homeless(value: Readonly<Record<string, unknown>>): Record<string, unknown> {
	return Object.fromEntries(Object.entries(value).filter(([name]) => !(AT_HOME as readonly string[]).includes(name)));
}

/** Compares what is here with a share. Where nothing proves that what is here is older, it counts as having gone on. */
export function differenceOf(here: Here, content: Content): Difference {
	const { local, unreadable, acknowledged, removed } = here;
	const all = [content.session, ...content.entities];
	if (local === undefined) return { standing: "absent", bring: all, remove: [], ahead: [] };
	const bring: Entity[] = [];
	const ahead: string[] = [];
	for (const entity of all) {
		const { key } = entity;
		if (unreadable.has(key)) continue;
		const own = local.get(key);
		if (own === undefined) {
			if (removed.has(key) || isBelow(removed, key)) ahead.push(key);
			else bring.push(entity);
			continue;
		}
		if (isEqual(entity, own)) continue;
		const isOlder = acknowledged.get(key) === digestOf(own) || isEarlier(JSON.parse(own), entity);
		if (isOlder) bring.push(entity);
		else ahead.push(key);
	}
	const known = new Set(all.map((entity) => entity.key));
	const remove: string[] = [];
	for (const [key, own] of local) {
		if (known.has(key) || messageIdOf(key) === undefined || unreadable.has(key)) continue;
		if (acknowledged.get(key) === digestOf(own)) remove.push(key);
		else ahead.push(key);
	}
	return { standing: standingOf(bring.length + remove.length, ahead.length), bring, remove, ahead };
}

/** True when OpenCode has an entity as the share has it, wherever it lives. */
export function isEqual({ key, value, payload }: Entity, own: string): boolean {
	if (key !== keys.session) return payload === own;
	return canonicalJson(homeless(value)) === canonicalJson(homeless(JSON.parse(own)));
}

function standingOf(toBring: number, ahead: number): Standing {
	if (toBring === 0) return ahead === 0 ? "equal" : "ahead";
	return ahead === 0 ? "behind" : "diverged";
}

function isBelow(removed: ReadonlySet<string>, key: string): boolean {
	return removed.has(keys.message(messageIdOf(key) ?? ""));
}

type Json = Readonly<Record<string, unknown>>;

/**
 * True when an entity here is certainly an earlier state of the one on the share: a session by its own clock; a message or
 * part that was not finished and is, or that lacks members and differs in no other.
 */
function isEarlier(own: Json, { type, value }: Entity): boolean {
	if (type === "session") return updatedAt(own) < updatedAt(value) || isWithin(homeless(own), homeless(value));
	return (!isFinished(own) && isFinished(value)) || isWithin(own, value);
}

function updatedAt(session: Json): number {
	return Number((session.time as { updated?: unknown } | undefined)?.updated ?? 0);
}

/** An answer has a time of completion, a tool a last status, a text an end; what has none of them is written whole. */
function isFinished({ role, type, time, state }: Json): boolean {
	const { completed, end } = (time ?? {}) as { completed?: unknown; end?: unknown };
	if (role === "assistant") return completed !== undefined;
	if (type === "tool") return !["pending", "running"].includes(String((state as { status?: unknown })?.status));
	if (type === "text" || type === "reasoning") return end !== undefined;
	return true;
}

/** True when every member of `a` is in `b`, equal or within it. */
function isWithin(a: unknown, b: unknown): boolean {
	if (typeof a !== "object" || a === null || Array.isArray(a)) return canonicalJson(a) === canonicalJson(b);
	if (typeof b !== "object" || b === null || Array.isArray(b)) return false;
	return Object.entries(a).every(([name, member]) => Object.hasOwn(b, name) && isWithin(member, (b as Json)[name]));
}
