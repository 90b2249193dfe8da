import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { bundledWorker } from "./bundle.ts";
import { workerConfig } from "./config.ts";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const read = (path: string) => readFileSync(`${ROOT}/${path}`, "utf8");
const config = workerConfig();
const classes = config.durable_objects.bindings.map(({ class_name }) => class_name);

test("the deployment names this version, and every object that the Worker exports, with SQLite", () => {
	expect(config.vars.VERSION).toBe(JSON.parse(read("package.json")).version);
	const exported = [...read("src/server/worker.ts").matchAll(/^export \{ (\w+Object) \}/gm)].map(([, name]) => name);
	expect(classes.toSorted()).toEqual(exported.toSorted());
	expect(config.migrations.flatMap((migration) => migration.new_sqlite_classes).toSorted()).toEqual(classes.toSorted());
});

test("the deployment binds what the Worker reads, and no secret stands in it", () => {
	const source = read("src/server/worker/env.ts");
	for (const { name, class_name } of config.durable_objects.bindings)
		expect(source).toContain(`readonly ${name}: Namespace<${class_name}>;`);
	for (const name of [...Object.keys(config.vars), ...config.secrets.required])
		expect(source).toMatch(new RegExp(`readonly ${name}\\??: string;`));
	expect(Object.keys(config.vars).filter((name) => /KEY|SECRET/.test(name))).toEqual([]);
});

test("the platform lets a session make more calls than the Worker does", () => {
	const [, calls = ""] = /SESSION_CALLS = ([\d_]+);/.exec(read("src/server/worker.ts")) ?? [];
	expect(config.limits.subrequests).toBeGreaterThan(10 * Number(calls.replaceAll("_", "")));
	expect(config.compatibility_flags).toEqual(["nodejs_compat"]);
	// An object's errors keep their code: without it every refusal would be unknown to a client.
	expect(config.compatibility_date >= "2026-04-21").toBe(true);
});

test("an object's tables are made by every migration of the share database, in order", () => {
	const { entries } = JSON.parse(read("migration/share/meta/_journal.json")) as { entries: { tag: string }[] };
	const imported = [...read("src/server/worker/storage.ts").matchAll(/migration\/share\/(\w+)\.sql/g)];
	expect(imported.map(([, tag]) => tag)).toEqual(entries.map(({ tag }) => tag));
	expect(readdirSync(`${ROOT}/migration/share`).filter((name) => name.endsWith(".sql"))).toHaveLength(entries.length);
});

test("the Worker needs nothing but the platform, and reads no file", async () => {
	const imports = [...(await bundledWorker(false)).matchAll(/^import .*?from "([^"]+)";$/gm)].map(([, name]) => name);
	const names = [...new Set(imports)].toSorted();
	expect(names).toEqual(expect.arrayContaining(["cloudflare:workers", "node:crypto"]));
	expect(
		names.filter((name) => !/^(?:cloudflare:workers|node:(?:crypto|buffer|net|timers\/promises))$/.test(name ?? "")),
	).toEqual([]);
});

test("what the deployment's page says of its settings is what the Worker reads", () => {
	const page = read("deploy/cloudflare/README.md");
	const told = [...page.matchAll(/^\| `([A-Z_]+)` +\| (?:secret|variable) /gm)].map(([, name]) => name);
	const bound = [...read("src/server/worker/env.ts").matchAll(/readonly ([A-Z_]+)\??: string;/g)].map(
		([, name]) => name,
	);
	expect(told.toSorted()).toEqual(bound.filter((name) => name !== "VERSION").toSorted());
});
