import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { ERRORS } from "../../src/model/errors.ts";
import { BUN, startProcess } from "../fixture/cli.ts";
import { tempFolder } from "../outbox/fixture.ts";
import { DEPLOY, deployed, ROOT } from "./files.ts";

/** A unit's directives: section, name, values in their order. */
type Unit = Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;

/** systemd.syntax(7), as far as these files go. Throws at a line that is none of it. */
function parseUnit(text: string): Unit {
	const unit: Record<string, Record<string, string[]>> = {};
	let section: Record<string, string[]> | undefined;
	for (const line of text.split("\n")) {
		if (/^\s*([#;]|$)/.test(line)) continue;
		const header = /^\[(\w+)\]$/.exec(line)?.[1];
		const [, name = "", value = ""] = /^(\w+)=(.*)$/.exec(line) ?? [];
		if (header !== undefined) section = unit[header] = {};
		else if (section === undefined || name === "") throw new Error(`no line of a unit: ${line}`);
		else section[name] = [...(section[name] ?? []), value];
	}
	return unit;
}

const UNITS = [
	{ file: "opencode-outbox.service", json: ["--json", "--port", "0"], stopS: 8 + 5 },
	{ file: "opencode-outbox-serve.service", json: ["--json", "--port", "0"], stopS: 5 + 3 },
];

describe.each(UNITS)("$file", ({ file, json, stopS }) => {
	const unit = parseUnit(deployed("systemd", file));
	const { Service = {}, Install } = unit;

	test("is started at login, gives the end its time, and is not started again where a person must act", () => {
		expect(Install).toEqual({ WantedBy: ["default.target"] });
		expect(Number(Service.TimeoutStopSec)).toBeGreaterThanOrEqual(stopS);
		const codes = String(Service.RestartPreventExitStatus).split(" ").map(Number);
		expect(codes).toEqual([ERRORS.usage.exit, ERRORS.corrupt.exit, ERRORS.config.exit]);
		// V8 compiles at run time, and OpenCode's database lies in the home folder.
		for (const name of ["MemoryDenyWriteExecute", "ProtectHome"]) expect(Service).not.toHaveProperty(name);
	});

	test("its ExecStart runs in the environment that it gets, and SIGTERM ends it well", async () => {
		const home = tempFolder();
		mkdirSync(join(home, ".local", "bin"), { recursive: true });
		const program = `#!/bin/sh\nexec "${BUN}" "${join(ROOT, "dist", "cli", "main.js")}" "$@"\n`;
		writeFileSync(join(home, ".local", "bin", "opencode-outbox"), program, { mode: 0o755 });
		const expanded = (text: string) => text.replaceAll("%h", home);
		const env = {
			HOME: home,
			...Object.fromEntries((Service.Environment ?? []).map((set) => expanded(set).split("="))),
		};
		const [command = ""] = Service.ExecStart ?? [];
		const child = startProcess(file, [...expanded(command).split(" "), ...json], env);
		onTestFinished(() => child.kill());
		await child.ready();
		expect(await child.stop()).toBe(0);
	}, 240_000);
});

const analyze = spawnSync("systemd-analyze", ["--version"]);
if (analyze.error) console.log("skipped: systemd-analyze is not here");
test.skipIf(analyze.error !== undefined)(
	"systemd-analyze finds nothing wrong with either",
	() => {
		const verify = (...files: string[]) =>
			spawnSync("systemd-analyze", ["--user", "verify", ...files], {
				env: { PATH: process.env.PATH, HOME: tempFolder(), XDG_RUNTIME_DIR: tempFolder() },
				encoding: "utf8",
			});
		const { status, stderr } = verify(...UNITS.map(({ file }) => join(DEPLOY, "systemd", file)));
		expect([status, stderr]).toEqual([0, ""]);
		const misspelt = join(tempFolder(), "misspelt.service");
		writeFileSync(misspelt, deployed("systemd", "opencode-outbox.service").replace("LimitCORE", "LimitCOR"));
		expect(verify(misspelt).stderr).toContain("LimitCOR");
	},
	60_000,
);

test("every script is what sh takes", () => {
	for (const script of execFileSync("find", [DEPLOY, "-name", "*.sh"], { encoding: "utf8" }).trim().split("\n"))
		execFileSync("sh", ["-n", script]);
});
