import { defineConfig } from "vitest/config";
import { EVIDENCE_CONFIG } from "../config.ts";

/** As the suite's own, for one file that tells a secret. */
export default defineConfig({
	test: {
		include: ["test/evidence/planted/tells.ts"],
		...EVIDENCE_CONFIG,
		pool: "forks",
	},
});
