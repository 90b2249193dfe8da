import type { Wanted } from "../outbox/session.ts";
import { Pattern } from "../redaction/pattern.ts";
import { directoryGlob } from "./directory-glob.ts";

export type ShareMode = "auto" | "manual";

/** What a person wants synced, beside `--share`. */
export interface SelectionRules {
	/** Globs of project directories (directory-glob.ts); where there are any, one must match. */
	readonly include: readonly string[];
	readonly exclude: readonly string[];
	/** Patterns of titles (redaction/pattern.ts); where there are any, one must match. */
	readonly includeTitle: readonly string[];
	readonly excludeTitle: readonly string[];
	/** Sessions that were not touched for longer are not begun, in ms; null: however old. */
	readonly maxAgeMs: number | null;
}

export const EVERYTHING: SelectionRules = {
	include: [],
	exclude: [],
	includeTitle: [],
	excludeTitle: [],
	maxAgeMs: null,
};

/** A session as the rules look at it. */
export interface Candidate {
	readonly session_id: string;
	readonly parent_id: string | null;
	readonly title: string;
	readonly directory: string;
	/** Epoch ms. */
	readonly updated_at: number;
}

/** What is known of sessions beside what OpenCode says of them. */
export interface Known {
	readonly mode: ShareMode;
	/** What a person asked for; auto where nothing is noted. */
	readonly wanted: ReadonlyMap<string, Wanted>;
	/** Sessions that have a share. */
	readonly shared: ReadonlySet<string>;
	/** Sessions of which something was captured. */
	readonly begun: ReadonlySet<string>;
	/** Epoch ms. */
	readonly now: number;
}

/**
 * Whether a session is synced, and why not.
 *
 * - `unshared`: a person took it back. `unasked`: `--share manual`, and nobody asked for it.
 * - `rule`: one of the rules leaves it out. What was captured of it stays, and is not sent.
 */
export type Verdict =
	| { readonly taken: true }
	| { readonly taken: false; readonly by: "unshared" | "unasked" | "rule"; readonly reason: string };

const TAKEN: Verdict = { taken: true };

/**
 * Rules, ready to judge. Pure: equal questions get equal answers.
 *
 * What a person asked of a session decides before any rule; of a sub-session, what was asked of the nearest session above
 * it. Rules look at the topmost session: sub-sessions follow it. Age only decides whether a session begins to be synced.
 */
export class Selection {
	readonly rules: SelectionRules;
	readonly #include: readonly ((directory: string) => boolean)[];
	readonly #exclude: readonly (readonly [glob: string, isIn: (directory: string) => boolean])[];
	readonly #includeTitle: readonly Pattern[];
	readonly #excludeTitle: readonly Pattern[];

	/** @param rules patterns that are none match nothing; settings refuse them. */
	constructor(rules: SelectionRules) {
		this.rules = rules;
		const globs = (texts: readonly string[]) =>
			texts.map((text) => [text, directoryGlob(text) ?? (() => false)] as const);
		const patterns = (texts: readonly string[]) =>
			texts.map((text) => Pattern.parse(text)).filter((one) => one !== undefined);
		this.#include = globs(rules.include).map(([, isIn]) => isIn);
		this.#exclude = globs(rules.exclude);
		this.#includeTitle = patterns(rules.includeTitle);
		this.#excludeTitle = patterns(rules.excludeTitle);
	}

	/** The verdict on every session, by id. */
	verdicts(sessions: readonly Candidate[], known: Known): Map<string, Verdict> {
		const byId = new Map(sessions.map((session) => [session.session_id, session]));
		const lines = new Map(sessions.map((session) => [session.session_id, lineOf(session, byId)]));
		const touched = new Map<string, number>();
		for (const line of lines.values()) {
			const root = line.at(-1)?.session_id ?? "";
			touched.set(root, Math.max(touched.get(root) ?? 0, line[0]?.updated_at ?? 0));
		}
		const ofRoots = new Map<string, Verdict>();
		const byRules = (root: Candidate): Verdict => {
			const found = ofRoots.get(root.session_id) ?? this.#byRules(root, touched.get(root.session_id) ?? 0, known);
			ofRoots.set(root.session_id, found);
			return found;
		};
		return new Map([...lines].map(([id, line]) => [id, judge(line, known, byRules)]));
	}

	#byRules({ session_id, title, directory }: Candidate, touchedAt: number, { begun, now }: Known): Verdict {
		const { include, includeTitle, maxAgeMs } = this.rules;
		const out = (reason: string): Verdict => ({ taken: false, by: "rule", reason });
		const excluded = this.#exclude.find(([, isIn]) => isIn(directory));
		if (excluded) return out(`its directory is in --exclude ${excluded[0]}`);
		if (include.length > 0 && !this.#include.some((isIn) => isIn(directory)))
			return out("its directory is in no --include");
		const refused = this.#excludeTitle.find((pattern) => pattern.isIn(title));
		if (refused) return out(`its title matches --exclude-title ${refused.source}`);
		if (includeTitle.length > 0 && !this.#includeTitle.some((pattern) => pattern.isIn(title)))
			return out("its title matches no --include-title");
		if (maxAgeMs !== null && !begun.has(session_id) && now - touchedAt > maxAgeMs)
			return out("it was not touched within --max-age");
		return TAKEN;
	}
}

/** A session and those above it, up to the topmost one that is there. */
function lineOf(session: Candidate, byId: ReadonlyMap<string, Candidate>): Candidate[] {
	const line = [session];
	for (let next = session; ; ) {
		const parent = next.parent_id === null ? undefined : byId.get(next.parent_id);
		if (parent === undefined || line.includes(parent)) return line;
		line.push(parent);
		next = parent;
	}
}

function judge(
	line: readonly Candidate[],
	{ mode, wanted, shared }: Known,
	byRules: (root: Candidate) => Verdict,
): Verdict {
	for (const [generation, { session_id }] of line.entries()) {
		const what = wanted.get(session_id) ?? "auto";
		if (what === "share") return TAKEN;
		if (what === "auto") continue;
		return generation === 0
			? { taken: false, by: "unshared", reason: "it was unshared" }
			: { taken: false, by: "rule", reason: "the session that it belongs to was unshared" };
	}
	if (mode === "manual" && !line.some(({ session_id }) => shared.has(session_id)))
		return { taken: false, by: "unasked", reason: "nobody asked for it (--share manual)" };
	return byRules(line.at(-1) as Candidate);
}
