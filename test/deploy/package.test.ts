import { execFile } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { type CliProcess, eventually, startProcess } from "../fixture/cli.ts";
import { tempFolder } from "../outbox/fixture.ts";
import { DEPLOY, deployed, ROOT } from "./files.ts";

const run = promisify(execFile);

/** The instructions of the Dockerfile's first stage, lines that go on put together. */
const AGENT = deployed("container", "Dockerfile")
	.replaceAll(/^#.*\n/gm, "")
	.replaceAll("\\\n", " ")
	.split(/^FROM .*$/m)[1]
	?.split("\n")
	.map((line) => line.trim().split(/\s+(.*)/s)) as [name: string, rest: string][];

function instruction(name: string): string {
	return AGENT.find(([known]) => known === name)?.[1] ?? "";
}

/**
 * What the image's RUN does, without Docker: the package is packed as it is published, put where COPY puts it, and
 * installed by the Dockerfile's own command line into a prefix with nothing in it.
 */
async function install(): Promise<{ folder: string; env: Record<string, string>; bin: string }> {
	const folder = tempFolder();
	const context = join(folder, "package");
	mkdirSync(context);
	// Scripts would build anew, under the feet of other tests.
	await run("npm", ["pack", "--ignore-scripts", "--pack-destination", context], { cwd: ROOT });
	copyFileSync(join(DEPLOY, "container", "README.md"), join(context, "README.md"));
	expect(instruction("COPY")).toBe("README.md *.tgz /tmp/package/");
	const [command = ""] = instruction("RUN").split(/\s+&&\s/);
	expect(command).toMatch(/^npm install --global --omit=dev/);
	const PATH = `${dirname(process.execPath)}:${process.env.PATH}`;
	const env = { ...process.env, PATH, npm_config_prefix: join(folder, "prefix"), npm_config_prefer_offline: "true" };
	await run("sh", ["-c", command.replaceAll("/tmp/package", context)], { env, cwd: folder });
	const bin = join(folder, "prefix", "bin", "opencode-outbox");
	const home = { HOME: folder, XDG_DATA_HOME: join(folder, "data"), PATH: `${dirname(bin)}:${PATH}` };
	return { folder, env: home, bin };
}

async function ended(child: CliProcess): Promise<{ code: number | NodeJS.Signals; stdout: string }> {
	return { code: await child.ended, stdout: child.stdout() };
}

test("the package as it is published, installed by the image's own command, runs, and its health check tells so", async () => {
	expect(existsSync(join(ROOT, "dist", "cli", "main.js")), "npm run build").toBe(true);
	const { folder, env, bin } = await install();
	const call = (args: readonly string[]) => ended(startProcess(args.join(" "), [bin, ...args], env));
	const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
	expect(await call(["--version"])).toEqual({ code: 0, stdout: `${version}\n` });
	const installed = join(folder, "prefix", "lib", "node_modules", "opencode-outbox");
	expect(readdirSync(installed).sort()).toEqual(["README.md", "dist", "migration", "node_modules", "package.json"]);
	expect(existsSync(join(installed, "node_modules", "vitest"))).toBe(false);

	const check: string[] = JSON.parse(instruction("HEALTHCHECK").replace(/^.*CMD /, ""));
	const [program = "", ...checkArgs] = check;
	expect([program, ...JSON.parse(instruction("ENTRYPOINT"))]).toEqual(["opencode-outbox", "opencode-outbox"]);
	expect((await call(checkArgs)).code).toBe(1);
	const agent = startProcess("CMD", [bin, ...JSON.parse(instruction("CMD")), "--port", "0", "--json"], env);
	onTestFinished(() => agent.kill());
	await agent.ready();
	await eventually("the health check to be well", async () => (await call(checkArgs)).code === 0, { withinMs: 60_000 });
	expect(await agent.stop()).toBe(0);
	expect(agent.stdout() + agent.stderr()).not.toMatch(/\n {4}at /);
}, 240_000);
