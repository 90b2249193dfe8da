import { existsSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { OutboxError } from "../../model/errors.ts";
import type { Watermark } from "../../model/op.ts";
import { openReport } from "../../outbox/report.ts";
import { findOpencodeDatabase } from "../../source/discovery.ts";
import { type Glance, glanceAt } from "../../source/glance.ts";
import { serverAddress } from "../../source/http.ts";
import { laneAddress } from "../../source/lane-address.ts";
import { askedOfLane } from "../../source/lane-probe.ts";
import { opencodeVitals } from "../../source/probe.ts";
import { behind } from "../capture-lag.ts";
import { sourceKind } from "../opencode.ts";
import { configFiles, isOurPlugin, pluginFiles, unloadable } from "../opencode-plugins.ts";
import { type Env, pathsIn } from "../paths.ts";
import type { Settings } from "../settings.ts";
import { age, count } from "../terminal.ts";
import { namedPlugins } from "../uninstall/config-entry.ts";
import type { Finding } from "./examination.ts";
import type { AgentSeen } from "./outbox.ts";

/** Between two looks whether the agent has caught up, in ms; and what is left of the deadline for the verdict. */
const LOOK_MS = 100;
const RESERVE_MS = 500;

/** OpenCode's database is found, can be read, and is laid out as this version knows. */
export async function checkDatabase(settings: Settings): Promise<Finding<Glance>> {
	const address = settings.opencodeUrl === undefined ? undefined : serverAddress(settings.opencodeUrl, process.env);
	if (sourceKind(settings.source, address) === "server")
		return { verdict: "skip", found: "Sessions are read from OpenCode's server alone (--source); its files are not." };
	const database = findOpencodeDatabase(process.env, settings.opencodeDb);
	try {
		const glance = await glanceAt(database);
		const { path, sessions, newestAt } = glance;
		const logged = [...glance.heads.values()].filter((head) => head !== null).length;
		const newest = newestAt === null ? "" : `, the newest touched ${age(Date.now() - newestAt)} ago`;
		const how = sessions === 0 ? "" : `; ${logged} by their log, ${sessions - logged} by snapshot`;
		const facts = { path, sessions, logged, newest_at: newestAt };
		return { verdict: "ok", found: `${path}: ${count(sessions, "session")}${newest}${how}.`, facts, value: glance };
	} catch (error) {
		if (!(error instanceof OutboxError)) throw error;
		const facts = { path: database.path, code: error.code };
		if (error.code === "no_source") return { verdict: "warn", found: error.message, next: error.hint, facts };
		if (error.code !== "io") throw error;
		const next =
			"Let this user read it and write beside it: SQLite needs the -shm file. Where it is a mount, mount it read-write; nothing of OpenCode's is ever changed.";
		return { verdict: "fail", found: error.message, next, facts };
	}
}

/** What OpenCode has written is in the outbox. Beside an agent that runs, it is given the time to get there. */
export async function checkCapture(
	settings: Settings,
	{ status }: AgentSeen,
	first: Glance,
	timeoutMs: number,
	signal: AbortSignal,
): Promise<Finding> {
	const until = performance.now() + timeoutMs - RESERVE_MS;
	const runs = status.agent.pid !== null;
	let glance = first;
	for (let most = -1; ; ) {
		const captured = await watermarksIn(pathsIn(settings.dataDir).outbox);
		const { events, sessions } = behind(glance.heads, captured);
		const unknown = [...glance.heads.keys()].filter((id) => !captured.has(id)).length;
		most = Math.max(most, events);
		const apart = unknown === 0 ? "" : ` ${count(unknown, "session")} not captured: not wanted, or not looked at yet.`;
		const facts = { events_behind: events, sessions_behind: sessions, sessions_unknown: unknown };
		if (sessions === 0)
			return { verdict: "ok", found: `Nothing is behind in ${count(captured.size, "session")}.${apart}`, facts };
		const found = `${count(events, "event")} of ${count(sessions, "session")} not captured yet.${apart}`;
		if (!runs)
			return { verdict: "warn", found, next: "`opencode-outbox run` captures them; `flush` does it once.", facts };
		if (performance.now() < until) {
			await delay(LOOK_MS, undefined, { signal });
			glance = await glanceAt(findOpencodeDatabase(process.env, settings.opencodeDb));
		} else if (status.agent.capture_paused !== null)
			return {
				verdict: "fail",
				found: `${found} Capture is paused: ${status.agent.capture_paused}.`,
				next: "Free some space, or raise --outbox-max.",
				facts,
			};
		else if (events < most)
			return { verdict: "warn", found, next: "It is being worked on; look again in a while.", facts };
		else
			return {
				verdict: "fail",
				found: `${found} The agent that runs does not get on.`,
				next: "See its log, then restart it; nothing is lost.",
				facts,
			};
	}
}

async function watermarksIn(path: string): Promise<ReadonlyMap<string, Watermark | null>> {
	const reader = await openReport(path);
	try {
		return reader?.watermarks() ?? new Map();
	} finally {
		reader?.close();
	}
}

/** OpenCode's own server answers, takes the password and streams events. */
export async function checkOpencodeServer({ opencodeUrl }: Settings, signal: AbortSignal): Promise<Finding> {
	if (opencodeUrl === undefined)
		return { verdict: "skip", found: "None is set (--opencode-url); OpenCode's database is looked at by itself." };
	const { version, latencyMs } = await opencodeVitals(serverAddress(opencodeUrl, process.env), signal);
	const named = version === null ? "" : `, OpenCode ${version}`;
	const facts = { url: opencodeUrl, version, latency_ms: Math.round(latencyMs) };
	return { verdict: "ok", found: `${opencodeUrl}${named}: answers in ${facts.latency_ms} ms, streams events.`, facts };
}

/** OpenCode's configuration names the plugin, what it names is there to be loaded, and somebody hears it. */
export async function checkPlugin(dataDir: string, env: Env): Promise<Finding> {
	const files = pluginFiles(env, process.cwd());
	const configs = configFiles(env, process.cwd()).map((path) => {
		const text = readFileSync(path, "utf8");
		const specs = namedPlugins(text)?.filter((spec) => isOurPlugin(spec, dirname(path)));
		return { path, specs: specs ?? [], isBroken: specs === undefined && text.includes("opencode-outbox") };
	});
	const named = configs.filter(({ specs }) => specs.length > 0);
	const agent = await askedOfLane(laneAddress(dataDir));
	const facts = {
		...{ files, named_in: named.map(({ path }) => path), heard: agent !== undefined },
		...{ agent_version: agent?.version ?? null, opencodes: agent?.peers ?? null },
	};
	const answer = (verdict: Finding["verdict"], found: string, next?: string): Finding => ({
		verdict,
		found,
		next,
		facts,
	});
	const broken = configs.find((config) => config.isBroken);
	if (broken) return answer("warn", `${broken.path} is not valid.`, "OpenCode says where, when it starts.");
	const dangling = files.find((path) => !existsSync(path));
	if (dangling !== undefined)
		return answer("warn", `${dangling} leads nowhere.`, "Link it to the plugin anew, or remove it.");
	for (const { path, specs } of named)
		for (const why of specs.flatMap((spec) => unloadable(spec, dirname(path)) ?? [])) {
			const next =
				"Name the package that is installed (`opencode plugin --global PATH`); `uninstall` takes this entry out.";
			return answer("warn", `${path} names it, but ${why}.`, next);
		}
	if (files.length + named.length === 0) return answer("skip", "It is not set up; OpenCode's database is polled.");
	const peers = agent?.peers === undefined ? "" : `, and ${count(agent.peers, "OpenCode")} with it`;
	const ear = agent
		? `the agent (pid ${agent.pid}, version ${agent.version}) hears it${peers}`
		: "no agent hears it now; it starts one when OpenCode runs";
	const places = [...files, ...named.map(({ path, specs }) => `${specs.join(", ")} in ${path}`)];
	return answer("ok", `${places.join(", ")}; ${ear}.`);
}
