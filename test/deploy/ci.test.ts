import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freePort, Lab, type Server } from "../e2e/lab.ts";
import { secret } from "../evidence/record.ts";
import { BUN, eventually, startProcess } from "../fixture/cli.ts";
import { IS_LONG } from "../fixture/extent.ts";
import { type OpencodeHome, runOpencode } from "../fixture/opencode.ts";
import { DEPLOY, ROOT } from "./files.ts";

const lab = new Lab();
let home: OpencodeHome;
let server: Server;
const agents: number[] = [];

beforeAll(async () => {
	[home, server] = [await lab.home("opencode"), await lab.server()];
	mkdirSync(lab.path("bin"));
	// What `npm install --global` puts there, for Bun.
	const program = `#!/bin/sh\nexec "${BUN}" "${join(ROOT, "dist", "cli", "main.js")}" "$@"\n`;
	writeFileSync(lab.path("bin", "opencode-outbox"), program, { mode: 0o755 });
});
afterAll(async () => {
	for (const pid of agents) if (runs(pid)) process.kill(pid, "SIGKILL");
	await lab.close();
});

interface Stepped {
	readonly code: number | NodeJS.Signals;
	readonly output: string;
}

/** A job of GitHub Actions, as far as the action's scripts see it: files for the environment and the outputs. */
class Job {
	readonly folder: string;
	readonly #home: OpencodeHome;

	constructor(name: string, opencode: OpencodeHome) {
		this.folder = lab.path(name);
		this.#home = opencode;
		mkdirSync(this.folder);
		for (const file of ["env", "output", "summary"]) writeFileSync(join(this.folder, file), "");
	}

	read(file: string): string {
		return readFileSync(join(this.folder, file), "utf8");
	}

	get keyFile(): string {
		return join(this.folder, "opencode-outbox", "server-key");
	}

	/** The agent that `start` has left running. */
	get agent(): number {
		return Number(this.read("opencode-outbox/agent.pid"));
	}

	/** Runs a script as a step: with what earlier steps put into the job's environment. */
	async step(script: string, inputs: Record<string, string>): Promise<Stepped> {
		const told = this.read("env").split("\n").filter(Boolean);
		const env = {
			...this.#home.env,
			...Object.fromEntries(told.map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)])),
			PATH: `${lab.path("bin")}:${this.#home.env.PATH}`,
			RUNNER_TEMP: this.folder,
			GITHUB_ENV: join(this.folder, "env"),
			GITHUB_OUTPUT: join(this.folder, "output"),
			GITHUB_STEP_SUMMARY: join(this.folder, "summary"),
			...inputs,
		};
		const child = startProcess(script, ["sh", join(DEPLOY, "github-actions", script)], env);
		const code = await child.ended;
		if (script === "start.sh" && code === 0) agents.push(this.agent);
		return { code, output: child.stdout() + child.stderr() };
	}
}

/** Where the outbox of a machine of this lab lies, as the action's inputs. */
function inputs({ url, keyFile }: { url: string; keyFile: string }, dataDir: string): Record<string, string> {
	const key = readFileSync(keyFile, "utf8").trim();
	secret("server key", key);
	return { ACTION_SERVER: url, ACTION_SERVER_KEY: key, ACTION_DATA_DIR: dataDir };
}

test("start, `opencode run`, finish: exit 0, and the session is on the server, equal to OpenCode", async () => {
	const [job, machine] = [new Job("job", home), lab.machine("outbox", home, server)];
	const given = inputs(server, machine.dataDir);
	const started = await job.step("start.sh", given);
	expect(started).toMatchObject({ code: 0, output: expect.stringContaining("opencode-outbox runs") });
	expect(statSync(job.keyFile).mode & 0o777).toBe(0o600);
	const { agent } = job;
	expect(runs(agent)).toBe(true);
	expect(await runOpencode(home, ["run", "say: hi from CI"])).toContain("hi from CI");

	const finished = await job.step("finish.sh", { ACTION_TIMEOUT: "60s" });
	expect(finished).toMatchObject({ code: 0, output: expect.stringContaining("Everything is on the share server") });
	expect(job.read("output")).toBe("exit-code=0\n");
	expect(job.read("summary")).toContain("exit code 0");
	expect([runs(agent), existsSync(job.keyFile)]).toEqual([false, false]);
	for (const text of [started.output, finished.output, job.read("env"), job.read("summary")])
		expect(text).not.toContain(given.ACTION_SERVER_KEY);
	await machine.expectEqual();
}, 300_000);

// Left out of `npm test` for the time it takes, as the next one; see extent.ts.
test.skipIf(!IS_LONG)(
	"an agent that was killed in between: finish sends everything all the same",
	async () => {
		const [job, machine] = [new Job("job-killed", home), lab.machine("outbox-killed", home, server)];
		expect(await job.step("start.sh", inputs(server, machine.dataDir))).toMatchObject({ code: 0 });
		process.kill(job.agent, "SIGKILL");
		await eventually("the agent to be gone", () => !runs(job.agent));
		expect(await runOpencode(home, ["run", "say: nobody looks"])).toContain("nobody looks");
		expect(await job.step("finish.sh", { ACTION_TIMEOUT: "60s" })).toMatchObject({ code: 0 });
		expect((await machine.expectEqual()).sessions.length).toBeGreaterThanOrEqual(1);
	},
	300_000,
);

test.skipIf(!IS_LONG)(
	"no server: finish gives up at the deadline with 75, nothing is lost, and finish again delivers",
	async () => {
		const port = await freePort();
		const away = await lab.server("server-away", port);
		await away.process.stop();
		const [job, machine] = [new Job("job-away", home), lab.machine("outbox-away", home, away)];
		expect(await job.step("start.sh", inputs(away, machine.dataDir))).toMatchObject({ code: 0 });
		const { agent } = job;
		const late = await job.step("finish.sh", { ACTION_TIMEOUT: "3s" });
		expect(late).toMatchObject({ code: 75, output: expect.stringContaining("finish again sends it") });
		expect(job.read("output")).toBe("exit-code=75\n");
		expect([runs(agent), existsSync(job.keyFile)]).toEqual([false, true]);
		expect((await machine.status()).outbox.pending).toBeGreaterThan(0);

		await lab.server("server-away", port);
		expect(await job.step("finish.sh", { ACTION_TIMEOUT: "60s" })).toMatchObject({ code: 0 });
		expect(existsSync(job.keyFile)).toBe(false);
		await machine.expectEqual();
	},
	300_000,
);

test("a start that cannot be says why and leaves no key behind", async () => {
	const job = new Job("job-wrong", home);
	const secretless = await job.step("start.sh", { ACTION_SERVER: server.url, ACTION_SERVER_KEY: "" });
	expect(secretless).toMatchObject({ code: 64, output: expect.stringMatching(/^::error::.*server-key are needed/) });
	const given = { ...inputs(server, lab.path("outbox-wrong")), OPENCODE_OUTBOX_SHARE: "perhaps" };
	const wrong = await job.step("start.sh", given);
	expect(wrong).toMatchObject({ code: 78, output: expect.stringContaining("OPENCODE_OUTBOX_SHARE") });
	expect(wrong.output).toContain("::error::opencode-outbox: the agent did not start (exit code 78)");
	expect(existsSync(job.keyFile)).toBe(false);
	expect(await new Job("job-none", home).step("finish.sh", {})).toMatchObject({ code: 64 });
}, 120_000);

test("no secret is in any output, and no file can be read by others", () => lab.expectNothingTold(), 120_000);

/** A zombie has ended; whoever adopted it has not looked yet. */
function runs(pid: number): boolean {
	try {
		process.kill(pid, 0);
		return !/^\d+ \(.*\) Z /s.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
	} catch (error) {
		return (error as NodeJS.ErrnoException).code === "EPERM";
	}
}
