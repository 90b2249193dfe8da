import type { Clock } from "../model/clock.ts";
import type { Outbox } from "../outbox/outbox.ts";
import type { Captured, Choose, SessionFacts } from "../source/source.ts";
import {
	type Candidate,
	type Known,
	Selection,
	type SelectionRules,
	type ShareMode,
	type Verdict,
} from "./selection.ts";

export interface SelectorOptions {
	readonly outbox: Outbox;
	readonly mode: ShareMode;
	readonly rules: SelectionRules;
	readonly clock: Clock;
}

/** One look at what is to be synced: what a source is asked with, and what its answer to that means. */
export interface Choice {
	readonly captured: ReadonlyMap<string, Captured>;
	readonly choose: Choose;
	/** Writes down which sessions are left out, once they are known. Safe to repeat. */
	settle(): void;
}

/** Applies a person's rules to the sessions that OpenCode has, and to those that only the outbox knows. */
export class Selector {
	readonly #options: SelectorOptions;
	readonly #selection: Selection;

	constructor(options: SelectorOptions) {
		this.#options = options;
		this.#selection = new Selection(options.rules);
	}

	/** Before a read of a source. */
	begin(): Choice {
		const { outbox } = this.#options;
		const captured = outbox.captured();
		const known = this.#known(captured);
		const stored = outbox.candidates();
		// Of what OpenCode has deleted, the source tells whether somebody wants to know.
		const before = this.#selection.verdicts(stored, known);
		let verdicts: ReadonlyMap<string, Verdict> | undefined;
		return {
			captured: new Map([...captured].map(([id, entry]) => [id, { ...entry, unwanted: !isTaken(before.get(id)) }])),
			choose: (sessions: readonly SessionFacts[]) => {
				const present = new Set(sessions.map(({ session_id }) => session_id));
				const all: Candidate[] = [...sessions, ...stored.filter(({ session_id }) => !present.has(session_id))];
				verdicts = this.#selection.verdicts(all, known);
				return new Set([...present].filter((id) => isTaken(verdicts?.get(id))));
			},
			settle: () => {
				if (verdicts) outbox.exclude(reasonsOf(verdicts), true);
				verdicts = undefined;
			},
		};
	}

	/**
	 * Before anything is sent: what was captured under other rules is left out at once, by what the outbox knows. Nothing is
	 * taken up again here, since a title may have changed meanwhile; the first read does that.
	 */
	holdBack(): void {
		const { outbox } = this.#options;
		const verdicts = this.#selection.verdicts(outbox.candidates(), this.#known(outbox.captured()));
		outbox.exclude(new Map([...reasonsOf(verdicts)].filter(([, reason]) => reason !== null)), false);
	}

	#known(captured: ReadonlyMap<string, Captured>): Known {
		const { outbox, mode, clock } = this.#options;
		const begun = [...captured].filter(([, { empty }]) => empty !== true).map(([id]) => id);
		return {
			...{ mode, wanted: outbox.wanted(), shared: new Set(outbox.shared()) },
			...{ begun: new Set(begun), now: clock.now() },
		};
	}
}

function isTaken(verdict: Verdict | undefined): boolean {
	return verdict?.taken === true;
}

/** Why each session is left out by the rules; null for those that are not. */
function reasonsOf(verdicts: ReadonlyMap<string, Verdict>): Map<string, string | null> {
	return new Map(
		[...verdicts].map(([id, verdict]) => [id, !verdict.taken && verdict.by === "rule" ? verdict.reason : null]),
	);
}
