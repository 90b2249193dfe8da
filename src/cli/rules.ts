import type { Rules } from "../agent/rules.ts";
import { EVERYTHING } from "../agent/selection.ts";
import { canonicalJson } from "../model/json.ts";
import { Redactor } from "../redaction/redactor.ts";
import type { Settings } from "./settings.ts";

/** The settings that say what is synced and what is taken out. */
export const RULE_SETTINGS = [
	"include",
	"exclude",
	"include-title",
	"exclude-title",
	"max-age",
	"redact",
	"redact-pattern",
] as const;

export function rulesOf(settings: Settings): Rules {
	const { include, exclude, includeTitle, excludeTitle, maxAgeMs = null, redact, redactPattern } = settings;
	const selection = { include, exclude, includeTitle, excludeTitle, maxAgeMs };
	return {
		selection: canonicalJson(selection) === canonicalJson(EVERYTHING) ? undefined : selection,
		redactor: Redactor.of({ detectors: redact, patterns: redactPattern }),
	};
}
