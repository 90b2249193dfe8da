import { defineConfig } from "vitest/config";
import { EVIDENCE_CONFIG } from "./test/evidence/config.ts";

export default defineConfig({
	test: {
		include: ["test/**/*.test.ts"],
		// No secret of a run is in any output of it.
		...EVIDENCE_CONFIG,
		testTimeout: 60_000,
		hookTimeout: 180_000,
		pool: "forks",
		// The end-to-end tests wait more than they compute.
		maxWorkers: 2,
	},
});
