import { defineConfig } from "vitest/config";
import { EVIDENCE_CONFIG } from "./test/evidence/config.ts";

const DRIZZLE = ["drizzle-orm", "drizzle-orm/better-sqlite3", "drizzle-orm/migrator", "drizzle-orm/sqlite-core"];

export default defineConfig({
	test: {
		include: ["test/**/*.test.ts"],
		// No secret of a run is in any output of it.
		...EVIDENCE_CONFIG,
		testTimeout: 60_000,
		hookTimeout: 180_000,
		pool: "forks",
		// A process for each file would be a sixth of the run; none leaves anything behind that another one minds.
		isolate: false,
		// One file each instead of a hundred: Node reads drizzle's 180 KB manifest anew for every file of it, 1.4 s per process.
		deps: { optimizer: { ssr: { enabled: true, include: DRIZZLE } } },
		// The end-to-end tests wait more than they compute.
		maxWorkers: 3,
	},
});
