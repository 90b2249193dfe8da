import { defineConfig } from "vitest/config";

export default defineConfig({
	test: {
		include: ["test/**/*.test.ts"],
		// No secret of a run is in any output of it.
		globalSetup: ["test/evidence/run.ts"],
		setupFiles: ["test/evidence/setup.ts"],
		testTimeout: 20_000,
		hookTimeout: 60_000,
		pool: "forks",
		// The end-to-end tests wait more than they compute.
		maxWorkers: 2,
	},
});
