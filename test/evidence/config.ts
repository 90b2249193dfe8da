import { line } from "./record.ts";

/** What makes vitest look for the secrets of a run in everything that came out of it. */
export const EVIDENCE_CONFIG = {
	globalSetup: ["test/evidence/run.ts"],
	setupFiles: ["test/evidence/setup.ts"],
	/** Also what code under test writes past every logger. */
	onConsoleLog: (text: string): void => line("console of the tests", text),
};
