import type { AgentRow } from "../outbox/agent-row.ts";
import { Redactor } from "../redaction/redactor.ts";
import { EVERYTHING, type SelectionRules } from "./selection.ts";

/** What a person wants synced, and what is taken out of it. */
export interface Rules {
	/** Undefined: every session. */
	readonly selection: SelectionRules | undefined;
	/** Undefined: nothing is taken out. */
	readonly redactor: Redactor | undefined;
}

/** Why shares are compared after other redaction rules were set. */
export const RULES_CHANGED = "the redaction rules have changed";

export const NO_RULES: Rules = { selection: undefined, redactor: undefined };

/** The rules that the agent of this outbox goes by, or went by last. */
export function recordedRules(agent: AgentRow | undefined): Rules {
	const selection = agent?.selection ?? null;
	return {
		selection: selection === null ? undefined : { ...EVERYTHING, ...(JSON.parse(selection) as SelectionRules) },
		redactor: Redactor.fromIdentity(agent?.redaction ?? null),
	};
}

/**
 * Rules of a command that works on the outbox for a moment: its own, and where it has none those that the last agent went
 * by, so that a `share` that was called without a flag does not undo what `run` was started with.
 */
export function standingRules(own: Rules, agent: AgentRow | undefined): Rules {
	const recorded = recordedRules(agent);
	return { selection: own.selection ?? recorded.selection, redactor: own.redactor ?? recorded.redactor };
}
