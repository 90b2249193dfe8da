import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EVIDENCE } from "./record.ts";
import { report, scan } from "./scan.ts";

/** Around a whole run of the tests: afterwards no secret of it is in any output of it, or the run has failed. */
export default function setup(): () => void {
	const evidence = mkdtempSync(join(tmpdir(), "outbox-evidence-"));
	process.env[EVIDENCE] = evidence;
	const remove = () => rmSync(evidence, { recursive: true, force: true });
	// A run that is interrupted does not get to its teardown.
	process.once("exit", remove);
	return () => {
		try {
			const startedAt = performance.now();
			const verdict = scan(evidence);
			const words = `${report(verdict)} (${((performance.now() - startedAt) / 1000).toFixed(1)} s)`;
			if (verdict.findings.length > 0) throw new Error(words);
			console.log(words);
		} finally {
			remove();
		}
	};
}
