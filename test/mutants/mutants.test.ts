import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { transformSync } from "esbuild";
import { describe, expect, test } from "vitest";
import { MUTANTS } from "./list.ts";
import { SIMULATION } from "./mutant.ts";
import { mutated } from "./workspace.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const source = (file: string) => readFileSync(`${ROOT}src/${file}`, "utf8");

/** Whether each is caught takes minutes to find out: `npm run test:mutants`. */
describe("the list of mutants", () => {
	test.each(MUTANTS.map((mutant) => [mutant.name, mutant] as const))("%s still fits the sources", (_name, mutant) => {
		const text = mutated(source(mutant.file), mutant);
		expect(text).not.toBe(source(mutant.file));
		expect(() => transformSync(text, { loader: "ts", logLevel: "silent" })).not.toThrow();
	});

	test("names each one once, and for each what is to catch it", () => {
		expect(new Set(MUTANTS.map(({ name }) => name)).size).toBe(MUTANTS.length);
		expect(MUTANTS.filter(({ name }) => !/^[a-z0-9-]+$/.test(name))).toEqual([]);
		const catchers = new Set(MUTANTS.flatMap(({ caughtBy }) => caughtBy));
		catchers.delete(SIMULATION);
		expect([...catchers].filter((file) => !existsSync(`${ROOT}test/${file}`))).toEqual([]);
		expect(MUTANTS.filter(({ caughtBy }) => caughtBy.length === 0)).toEqual([]);
	});

	test("attacks every guarantee", () => {
		const attacked = new Set(MUTANTS.map(({ guarantee }) => guarantee));
		expect([...attacked].sort()).toEqual(["G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8"]);
	});
});
