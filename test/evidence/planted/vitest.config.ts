import { defineConfig } from "vitest/config";

/** As the suite's own, for one file that tells a secret. */
export default defineConfig({
	test: {
		include: ["test/evidence/planted/tells.ts"],
		globalSetup: ["test/evidence/run.ts"],
		setupFiles: ["test/evidence/setup.ts"],
		pool: "forks",
	},
});
