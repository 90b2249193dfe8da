import { defineConfig } from "vitest/config";

export default defineConfig({
	test: {
		include: ["test/**/*.test.ts"],
		testTimeout: 20_000,
		hookTimeout: 60_000,
		pool: "forks",
		// The end-to-end tests wait more than they compute.
		maxWorkers: 2,
	},
});
