import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { defineCommand } from "citty";
import { OutboxError } from "../model/errors.ts";
import { acquireLock } from "../sqlite/lock.ts";
import { configPath, pathsIn } from "./paths.ts";
import { resolveSettings, settingsArgs } from "./settings.ts";
import type { Status } from "./status-facts.ts";
import { currentStatus } from "./status-look.ts";
import { teach } from "./teach.ts";
import { bytes, count, jsonLine, printable } from "./terminal.ts";
import { removeTraces, tracesIn } from "./uninstall/opencode.ts";
import { filesOf, purge } from "./uninstall/purge.ts";
import { comesBack, holder, stopAgent } from "./uninstall/stop-agent.ts";

const NEEDS_A_PERSON = 1;
/** How long an agent that works is given to send what is just under way, in ms; and between two looks. */
const SETTLE_MS = 5000;
const LOOK_MS = 100;

/** What was done, or with --dry-run would be. */
interface Uninstalled {
	readonly dry_run: boolean;
	readonly agent: { readonly pid: number | null; readonly stopped: boolean; readonly came_back: boolean } | null;
	readonly opencode: {
		readonly configs: readonly { readonly path: string; readonly entries: readonly string[] }[];
		readonly links: readonly string[];
		readonly cached: readonly string[];
	};
	/** Not on the share server; null where the outbox could not be read (--force). */
	readonly pending: number | null;
	readonly dead: number | null;
	readonly data_dir: string;
	readonly purged: boolean;
	/** What is still there, and what to do about it. */
	readonly left: readonly { readonly path: string; readonly next: string }[];
}

const uninstall = defineCommand({
	meta: { name: "uninstall" },
	args: {
		...settingsArgs("data-dir"),
		force: { type: "boolean", description: "Also while ops are pending that the share server does not have." },
		purge: {
			type: "boolean",
			description:
				"Remove the data directory too: pending ops, dead letters, the embedded server's shares, and what redeems those elsewhere.",
		},
		"dry-run": { type: "boolean", description: "Only say what would be done." },
		json: { type: "boolean", description: "Print {dry_run, agent, opencode, pending, dead, data_dir, purged, left}." },
	},
	async run({ args }) {
		const { dataDir } = resolveSettings(args);
		const result = await uninstallFrom(dataDir, {
			force: args.force === true,
			purges: args.purge === true,
			isDry: args["dry-run"] === true,
		});
		process.stdout.write(args.json ? jsonLine(result) : text(result));
		return result.left.length > 0 && !result.dry_run ? NEEDS_A_PERSON : 0;
	},
});

export const command = teach(uninstall, {
	when: "When it is not wanted any more, or to move to another way of running it. Of OpenCode's configuration only the plugin's entry goes; comments and everything else stay as they are written. What is looked at is OpenCode's own configuration and that of the project that this is run in. Shares on a server stay: `unshare` takes them back, before this. End running OpenCodes first: one that has the plugin loaded starts the agent again. Safe to repeat.",
	exits: {
		0: "done, or nothing was there",
		[NEEDS_A_PERSON]: "done, but for what is named and needs a person",
		75: "ops are pending and --force was not given, or the agent cannot be stopped; nothing was changed",
	},
	examples: [
		{ line: "opencode-outbox uninstall --dry-run", does: "Says what is there." },
		{ line: "opencode-outbox flush && opencode-outbox uninstall", does: "Sends everything first; the outbox stays." },
		{ line: "opencode-outbox uninstall --purge", does: "Leaves nothing of it but the program itself." },
	],
});

async function uninstallFrom(
	dataDir: string,
	{ force, purges, isDry }: { force: boolean; purges: boolean; isDry: boolean },
): Promise<Uninstalled> {
	const { lock } = pathsIn(dataDir);
	const outbox = isDry || force ? await glimpse(dataDir) : await settled(dataDir);
	if (outbox && outbox.pending > 0 && !force && !isDry) throw unsent(outbox, dataDir, purges);
	const agent = await holder(lock);
	const traces = tracesIn(process.env, process.cwd());
	const { configs, links, cached } = traces;
	const facts = {
		opencode: { configs: configs.map(({ path, entries }) => ({ path, entries })), links, cached },
		...{ pending: outbox?.pending ?? null, dead: outbox?.dead ?? null, data_dir: dataDir },
	};
	if (isDry) {
		const told = agent === undefined ? null : { ...agent, stopped: false, came_back: false };
		return { dry_run: true, agent: told, ...facts, purged: false, left: [...traces.left, ...stays(dataDir, purges)] };
	}
	// First what can fail.
	if (agent !== undefined) await stopAgent(lock);
	removeTraces(traces);
	const came_back = agent !== undefined && (await comesBack(lock));
	const told = agent === undefined ? null : { ...agent, stopped: true, came_back };
	if (came_back) {
		const next =
			"Something starts the agent again: end the OpenCodes that run (they have the plugin loaded), or stop its service (`systemctl --user disable --now opencode-outbox`); then run this again.";
		return { dry_run: false, agent: told, ...facts, purged: false, left: [...traces.left, { path: dataDir, next }] };
	}
	const left = [...traces.left, ...(purges ? await purgeOwned(dataDir) : [])];
	return { dry_run: false, agent: told, ...facts, purged: purges, left };
}

/** The outbox's state; an agent that works is given a moment to send what has just come in. */
async function settled(dataDir: string): Promise<Status["outbox"]> {
	for (const until = Date.now() + SETTLE_MS; ; await delay(LOOK_MS)) {
		const { outbox, agent, server } = (await currentStatus(dataDir)).status;
		const isSending = agent.pid !== null && server.state === "connected";
		if (outbox.pending === 0 || !isSending || Date.now() > until) return outbox;
	}
}

/** The same at once; undefined where it cannot be read, which is no reason to keep it. */
async function glimpse(dataDir: string): Promise<Status["outbox"] | undefined> {
	try {
		return (await currentStatus(dataDir)).status.outbox;
	} catch (error) {
		if (error instanceof OutboxError) return undefined;
		throw error;
	}
}

function unsent({ pending, bytes: size, dead }: Status["outbox"], dataDir: string, purges: boolean): OutboxError {
	const letters = dead === 0 ? "" : ` There are ${count(dead, "dead letter")} too (\`dead export\` keeps them).`;
	const fate = purges ? "would be lost" : `would stay in ${dataDir}, unsent`;
	return new OutboxError("not_drained", `${count(pending, "op")} (${bytes(size)}) ${fate}.${letters}`, {
		hint: "`opencode-outbox flush` sends them first. --force goes on without; nothing was changed.",
	});
}

/** Nobody can begin to use what is being removed: the agent's lock is ours meanwhile. */
async function purgeOwned(dataDir: string): Promise<{ path: string; next: string }[]> {
	if (!existsSync(dataDir)) return [];
	const lock = await acquireLock(pathsIn(dataDir).lock);
	if (!("release" in lock))
		return [{ path: dataDir, next: "An agent has just been started there. End what starts it, then run this again." }];
	try {
		return purge(dataDir).map((path) => ({ path, next: "It is not this program's; remove it if it is not needed." }));
	} finally {
		lock.release();
	}
}

/** What would not be removed though it is this program's. */
function stays(dataDir: string, purges: boolean): { path: string; next: string }[] {
	return purges || filesOf(dataDir).length === 0 ? [] : [{ path: dataDir, next: "It stays; --purge removes it." }];
}

function text({ dry_run, agent, opencode, pending, dead, data_dir, purged, left }: Uninstalled): string {
	const { configs, links, cached } = opencode;
	const did = (done: string, would: string) => (dry_run ? `Would ${would}` : done);
	const lines = [
		...(agent === null ? [] : [`${did("Stopped", "stop")} the agent (pid ${agent.pid ?? "unknown"}).`]),
		...configs.map(({ path, entries }) => `${did("Took", "take")} ${entries.join(", ")} out of ${path}.`),
		...[...links, ...cached].map((path) => `${did("Removed", "remove")} ${path}.`),
		...(purged ? [`Removed what was in ${data_dir}.`] : []),
	];
	if (lines.length === 0) lines.push("Nothing of it runs here, and OpenCode does not have the plugin.");
	if (!purged && existsSync(data_dir)) {
		const what = pending || dead ? ` (${count(pending ?? 0, "op")} pending, ${count(dead ?? 0, "dead letter")})` : "";
		if (!dry_run) lines.push(`The outbox stays in ${data_dir}${what}; --purge removes it.`);
	}
	lines.push(...left.map(({ path, next }) => `Left: ${path}\n  ${next}`));
	const settings = configPath(process.env);
	if (existsSync(settings)) lines.push(`Your settings stay in ${settings}.`);
	const unit = join(homedir(), ".config", "systemd", "user", "opencode-outbox.service");
	if (existsSync(unit))
		lines.push(`A service is set up: \`systemctl --user disable --now opencode-outbox\`, then remove ${unit}.`);
	if (!dry_run) lines.push("`npm uninstall -g opencode-outbox` removes the program itself.");
	return `${lines.map((line) => line.split("\n").map(printable).join("\n")).join("\n")}\n`;
}
