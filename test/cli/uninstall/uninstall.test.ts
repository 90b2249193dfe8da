import { once } from "node:events";
import {
	existsSync,
	mkdirSync,
	readdirSync,
	readFileSync,
	rmSync,
	statSync,
	symlinkSync,
	writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { IS_LONG } from "../../fixture/extent.ts";
import { prepareOpencode, runOpencode } from "../../fixture/opencode.ts";
import { PACKAGE } from "../../fixture/plugin.ts";
import { append, message, tempFolder } from "../../outbox/fixture.ts";
import { firstLine, type Machine, machine } from "../lab.ts";

/** As people write it: comments, a comma at the end, a plugin of somebody else's. */
const CONFIG = `{
  "$schema": "https://opencode.ai/config.json",
  // what I pay for
  "model": "scripted/scripted",
  "plugin": [
    "file:///nowhere/other.js", // somebody else's
  ],
  /* nothing leaves this machine */
  "share": "disabled",
}
`;

function configIn({ home }: Machine, text: string, name = "opencode.jsonc"): string {
	const path = join(home, "config", "opencode", name);
	mkdirSync(dirname(path), { recursive: true });
	writeFileSync(path, text);
	return path;
}

async function uninstall({ cli }: Machine, ...flags: string[]) {
	const { code, stdout, stderr } = await cli(["uninstall", ...flags, "--json"]);
	return { code, value: JSON.parse(stdout), stderr };
}

describe("what OpenCode's own `opencode plugin` wrote", () => {
	const FILES: [what: string, name: string, text: string | undefined][] = [
		["beside comments and another plugin", "opencode.jsonc", CONFIG],
		[
			"into JSON without any",
			"opencode.json",
			'{\n  "$schema": "https://opencode.ai/config.json",\n  "share": "manual"\n}',
		],
		["where there was no configuration", "opencode.jsonc", undefined],
	];
	for (const [what, name, text] of IS_LONG ? FILES : FILES.slice(0, 1))
		test(`is gone, and every other byte is as it was: ${what}`, async () => {
			const home = prepareOpencode({ root: tempFolder() });
			const folder = join(home.env.XDG_CONFIG_HOME ?? "", "opencode");
			rmSync(join(folder, "opencode.json"));
			const path = join(folder, name);
			if (text !== undefined) writeFileSync(path, text);
			const machineOf = { ...machine(), home: home.directory };
			await runOpencode(home, ["plugin", "--global", PACKAGE]);
			expect(readFileSync(path, "utf8")).toContain(PACKAGE);
			const { code, stdout } = await machineOf.cli(["uninstall"], home.env);
			expect([code, stdout]).toEqual([0, expect.stringContaining(`Took ${PACKAGE} out of ${path}`)]);
			// OpenCode makes a configuration that says nothing, where there is none.
			const own = '{\n  "$schema": "https://opencode.ai/config.json"\n}';
			expect(readFileSync(path, "utf8")).toBe(text ?? own);
			const again = await machineOf.cli(["uninstall"], home.env);
			expect([again.code, again.stdout]).toEqual([0, expect.stringContaining("OpenCode does not have the plugin")]);
		}, 300_000);
});

test("the entry, the links and OpenCode's own copy go; what is not ours stays, through a link into dotfiles too", async () => {
	const home = machine();
	const dotfile = join(home.home, "dotfiles.jsonc");
	writeFileSync(dotfile, CONFIG.replace('"file:', '["opencode-outbox@0.1.0", { "start": true }],\n    "file:'), {
		mode: 0o640,
	});
	const path = configIn(home, "");
	rmSync(path);
	symlinkSync(dotfile, path);
	const folder = join(home.home, "config", "opencode", "plugin");
	mkdirSync(folder);
	symlinkSync(join(PACKAGE, "dist", "plugin.js"), join(folder, "opencode-outbox.js"));
	writeFileSync(join(folder, "mine.js"), "");
	const cache = join(home.home, "cache", "opencode", "packages");
	for (const name of ["opencode-outbox@latest", "opencode-outbox-notes"])
		mkdirSync(join(cache, name), { recursive: true });
	const env = { XDG_CACHE_HOME: join(home.home, "cache") };

	const dry = await home.cli(["uninstall", "--dry-run"], env);
	expect([dry.code, dry.stdout]).toEqual([0, expect.stringContaining("Would take opencode-outbox@0.1.0 out of")]);
	expect(readdirSync(folder)).toHaveLength(2);
	const { code, stdout } = await home.cli(["uninstall", "--json"], env);
	expect([code, JSON.parse(stdout)]).toMatchObject([
		0,
		{ agent: null, opencode: { configs: [{ path, entries: ["opencode-outbox@0.1.0"] }] }, purged: false, left: [] },
	]);
	expect(readFileSync(dotfile, "utf8")).toBe(CONFIG);
	expect(statSync(dotfile).mode & 0o777).toBe(0o640);
	expect(readdirSync(folder)).toEqual(["mine.js"]);
	expect(readdirSync(cache)).toEqual(["opencode-outbox-notes"]);
});

test("what it cannot take out by itself is named, and left as it is", async () => {
	const home = machine();
	const path = configIn(home, '{ "plugin": ["opencode-outbox"');
	const file = join(home.home, "config", "opencode", "plugins", "opencode-outbox.ts");
	mkdirSync(dirname(file));
	writeFileSync(file, "// my own way in");
	const { code, value } = await uninstall(home);
	expect([code, value.left.map((item: { path: string }) => item.path)]).toEqual([1, [path, file]]);
	expect([readFileSync(path, "utf8"), existsSync(file)]).toEqual(['{ "plugin": ["opencode-outbox"', true]);
});

describe("what is pending", () => {
	test("is not given up without --force: nothing is changed", async () => {
		const home = machine();
		const path = configIn(home, '{"plugin":["opencode-outbox"]}');
		const outbox = await home.openOutbox();
		append(outbox, [message("e1", "m1")]);
		outbox.close();
		for (const flags of [[], ["--purge"]]) {
			const { code, stderr } = await home.cli(["uninstall", ...flags]);
			expect([code, stderr]).toEqual([75, expect.stringMatching(/^error: 1 op .*\n {2}`opencode-outbox flush`/)]);
		}
		expect(readFileSync(path, "utf8")).toContain("opencode-outbox");
		const kept = await uninstall(home, "--force");
		expect(kept).toMatchObject({ code: 0, value: { pending: 1, purged: false } });
		expect(existsSync(join(home.dataDir, "outbox.db"))).toBe(true);
		const purged = await uninstall(home, "--force", "--purge");
		expect(purged).toMatchObject({ code: 0, value: { pending: 1, purged: true, left: [] } });
		expect(existsSync(home.dataDir)).toBe(false);
	}, 60_000);

	test("cannot be told of an outbox that is none: --force goes on", async () => {
		const home = machine();
		mkdirSync(home.dataDir, { recursive: true });
		writeFileSync(join(home.dataDir, "outbox.db"), "not a database ".repeat(1000));
		expect((await home.cli(["uninstall", "--purge"])).code).toBe(65);
		expect(await uninstall(home, "--purge", "--force")).toMatchObject({ code: 0, value: { pending: null } });
		expect(existsSync(home.dataDir)).toBe(false);
	});
});

describe("the agent", () => {
	test("is stopped, and --purge leaves nothing but what is not of this program", async () => {
		const home = machine();
		const agent = home.start(["run", "--port", "0", "--json"]);
		await firstLine(agent);
		writeFileSync(join(home.dataDir, "notes.txt"), "mine");
		const gone = once(agent, "exit");
		const { code, value } = await uninstall(home, "--purge");
		expect((await gone)[0]).toBe(0);
		expect([code, value.agent]).toEqual([1, { pid: agent.pid, stopped: true, came_back: false }]);
		expect(value.left).toEqual([{ path: join(home.dataDir, "notes.txt"), next: expect.any(String) }]);
		expect(readdirSync(home.dataDir)).toEqual(["notes.txt"]);
	}, 60_000);

	test("that something starts again is told, and its data is left to it", async () => {
		const home = machine();
		const agent = home.start(["run", "--port", "0", "--json"]);
		await firstLine(agent);
		const heir = home.start(["run", "--port", "0", "--standby", "--json"]);
		await once(heir.stderr ?? heir, "data");
		const { code, value } = await uninstall(home, "--purge");
		expect([code, value.purged, value.agent]).toEqual([1, false, { pid: agent.pid, stopped: true, came_back: true }]);
		expect(value.left[0].next).toContain("starts the agent again");
		expect(existsSync(join(home.dataDir, "outbox.db"))).toBe(true);
	}, 60_000);
});

test("where nothing is, there is nothing to do, and nothing is made", async () => {
	const home = machine();
	for (const flags of [[], ["--purge"], ["--dry-run"]]) {
		const { code, value } = await uninstall(home, ...flags);
		expect([code, value.opencode]).toEqual([0, { configs: [], links: [], cached: [] }]);
	}
	expect(existsSync(home.dataDir)).toBe(false);
});
