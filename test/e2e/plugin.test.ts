import { mkdirSync, statSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, expect, it } from "vitest";
import { DOORBELL_FILE } from "../../src/source/file-doorbell.ts";
import { eventually } from "../fixture/cli.ts";
import type { Opencode } from "../fixture/opencode.ts";
import { Lab } from "./lab.ts";

/** The built plugin, linked as the README says; it imports files beside it. */
const PLUGIN = fileURLToPath(new URL("../../dist/plugin.js", import.meta.url));
/** Long ago, in seconds. */
const LONG_AGO = 1_000_000_000;

const lab = new Lab();
afterAll(() => lab.close());

/** The real OpenCode with the plugin in its config folder. */
async function opencodeWithPlugin(name: string, dataDir: string): Promise<Opencode> {
	const folder = lab.path(name, "config", "opencode", "plugin");
	mkdirSync(folder, { recursive: true });
	symlinkSync(PLUGIN, `${folder}/opencode-outbox.js`);
	return lab.opencode(name, { env: { OPENCODE_OUTBOX_DATA_DIR: dataDir } });
}

it("the plugin rings the doorbell when something was said", async () => {
	const dataDir = lab.path("data");
	mkdirSync(dataDir);
	const bell = `${dataDir}/${DOORBELL_FILE}`;
	writeFileSync(bell, "");
	const opencode = await opencodeWithPlugin("ringing", dataDir);
	const rung = () =>
		eventually("the doorbell to be touched", () => statSync(bell).mtimeMs > LONG_AGO * 1000, {
			also: () => opencode.output(),
		});
	utimesSync(bell, LONG_AGO, LONG_AGO);
	const { id } = await opencode.createSession();
	await rung();
	utimesSync(bell, LONG_AGO, LONG_AGO);
	await opencode.prompt(id, "say: ring the bell");
	await rung();
}, 90_000);

it("OpenCode's turn is the same when nothing of opencode-outbox is there", async () => {
	const dataDir = lab.path("nowhere", "at-all");
	const opencode = await opencodeWithPlugin("alone", dataDir);
	const { id } = await opencode.createSession();
	await opencode.prompt(id, "say: nobody listens");
	expect(JSON.stringify(await opencode.messages(id))).toContain("nobody listens");
	expect(statSync(dataDir, { throwIfNoEntry: false })).toBeUndefined();
	expect(opencode.output()).not.toMatch(/ENOENT|doorbell/);
}, 90_000);
