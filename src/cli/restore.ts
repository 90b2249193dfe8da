import { existsSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { defineCommand } from "citty";
import { remoteLink, runningEmbeddedLink, type ServerLink } from "../agent/server-link.ts";
import { systemClock } from "../model/clock.ts";
import { OutboxError } from "../model/errors.ts";
import { type Outbox, openOutbox } from "../outbox/outbox.ts";
import { durationFlag } from "./duration.ts";
import { type Host, withHost } from "./host.ts";
import { createKeysIn } from "./identity.ts";
import { createLogger } from "./logger.ts";
import { pathsIn } from "./paths.ts";
import { type Outcome, type RestoreOptions, RestoreRun } from "./restore-run.ts";
import { Takeover } from "./restore-takeover.ts";
import { chooseTargets, listAll, type Target, targetOfLink, type Wish, wishOf } from "./restore-targets.ts";
import { exitOf, progressOn, tell } from "./restore-text.ts";
import { ensureServerKey, readServerKey } from "./server-key.ts";
import { remoteServer, resolveQuietly, type Settings, settingsArgs } from "./settings.ts";
import { teach } from "./teach.ts";

const restore = defineCommand({
	meta: { name: "restore" },
	args: {
		from: {
			type: "positional",
			required: false,
			description: "The share's link, or the session's id where a server key is set.",
		},
		all: { type: "boolean", description: "Every session of the server key: what a lost machine had." },
		directory: {
			type: "string",
			valueHint: "DIR",
			description:
				"The project folder that it goes to; unless given, the one it was in if that is here, else the current one.",
		},
		continue: {
			type: "boolean",
			description:
				"Go on with the same share: this machine takes it over, the other one can send nothing to it any more.",
		},
		fork: {
			type: "boolean",
			description: "Under ids of its own, beside what is here; it gets a share of its own.",
		},
		"dry-run": { type: "boolean", description: "Only tell what would be done." },
		...settingsArgs(
			"data-dir",
			"opencode-db",
			"opencode-bin",
			"server",
			"server-key-file",
			"share",
			"port",
			"log-level",
		),
		timeout: {
			type: "string",
			valueHint: "DURATION",
			default: "60s",
			description: "How long to wait until what was restored is synced, where this command syncs.",
		},
		json: {
			type: "boolean",
			description:
				"Print {dry_run, synced, sessions: [{session_id, title, link, outcome, directory, events, not_kept, notes, error}]}.",
		},
	},
	async run({ args }) {
		const settings = resolveQuietly(args);
		const share = args.from;
		if ((share === undefined) === (args.all !== true))
			throw new OutboxError("usage", "One share's link or session's id is needed, or --all.");
		if (args.continue && args.fork) throw new OutboxError("usage", "--continue and --fork exclude each other.");
		const wish = share === undefined ? undefined : wishOf(share);
		const timeoutMs = durationFlag("timeout", args.timeout);
		const json = args.json === true;
		const options = {
			...{ settings, directory: folder(args.directory), dryRun: args["dry-run"] === true, fork: args.fork === true },
			signal: new AbortController().signal,
			onProgress: progressOn(json ? undefined : process.stderr),
		};
		const { outcomes, synced } = await restoreAs(wish, args.continue === true, options, timeoutMs);
		tell({ dry_run: options.dryRun, synced, outcomes }, json);
		return exitOf(outcomes, synced);
	},
});

export const command = teach(restore, {
	when: "After a machine was lost, to go on with a session on another one, or to get back what was deleted. It goes through OpenCode itself (1.17 or newer), which is started for as long as it takes; nothing else writes to its database. Nothing that is here is ever overwritten: a session that has gone on both here and there is refused, with what has gone on. Run it again at any time: what is there is not brought again.",
	examples: [
		{
			line: "opencode-outbox restore https://share.example/share/q7…",
			does: "Brings a copy here. The link is enough.",
		},
		{
			line: "opencode-outbox restore --continue ses_1f4a",
			does: "Goes on with the same share on this machine. Needs --server and --server-key-file.",
		},
		{ line: "opencode-outbox restore --all --continue", does: "Rebuilds a lost machine." },
		{ line: "opencode-outbox restore --fork LINK", does: "Puts what the share has beside what is here." },
	],
	exits: {
		0: "everything is here",
		1: "restored, but OpenCode did not take all of it as the share has it; each is named",
		66: "there is no such share or session",
		69: "the server cannot be reached, there is no OpenCode, or it did not take what it was given",
		75: "restored, and not synced yet; the agent goes on",
		76: "what the server answered is no whole session; nothing was restored",
		77: "the session has gone on here as well, or the server refuses the key; nothing was changed",
	},
});

interface Done {
	readonly outcomes: readonly Outcome[];
	/** Null where this command does not sync. */
	readonly synced: boolean | null;
}

type Common = Omit<RestoreOptions, "outbox">;

/** With a link alone no server is asked for anything but the content, and no agent is needed. */
async function restoreAs(wish: Wish, goesOn: boolean, options: Common, timeoutMs: number): Promise<Done> {
	const { settings } = options;
	if (wish !== undefined && "link" in wish && !goesOn) {
		const outbox = await knownOutbox(settings);
		try {
			return { outcomes: await restoreLink(wish.link, { ...options, outbox }), synced: null };
		} finally {
			outbox?.close();
		}
	}
	const log = createLogger({ level: settings.logLevel });
	return withHost(settings, log, async (host) => {
		const outcomes = await restoreListed(wish, goesOn, { ...options, outbox: host.outbox });
		return { outcomes, synced: options.dryRun ? null : await sync(host, outcomes, timeoutMs) };
	});
}

/** The children of a session are in shares of their own, which only the server's key tells. */
async function restoreLink(link: string, options: RestoreOptions): Promise<Outcome[]> {
	const remote = remoteServer(options.settings);
	if (remote === undefined || !link.startsWith(`${remote.url}/share/`))
		return restoreTargets([targetOfLink(link)], options, () => undefined);
	const server = remoteLink({ url: remote.url, key: () => readServerKey(remote.keyFile), clock: systemClock });
	const connection = await server.transport.connect(AbortSignal.timeout(30_000));
	try {
		const shares = await listAll(connection, server.server.key());
		const isOurs = shares.some((share) => !share.deleted && share.url === link);
		const targets = isOurs ? chooseTargets({ link }, shares, remote.url) : [targetOfLink(link)];
		return await restoreTargets(targets, options, () => undefined);
	} finally {
		connection.close();
	}
}

async function restoreListed(
	wish: Wish,
	goesOn: boolean,
	options: RestoreOptions & { readonly outbox: Outbox },
): Promise<Outcome[]> {
	const { settings, outbox } = options;
	const { transport, server, url } = linkOf(settings, outbox);
	const connection = await transport.connect(AbortSignal.timeout(30_000));
	try {
		const targets = chooseTargets(wish, await listAll(connection, server.key()), url);
		const createKey = createKeysIn(pathsIn(settings.dataDir).identity);
		return await restoreTargets(targets, options, ({ listing }) =>
			goesOn && listing ? Takeover.of(listing, { outbox, connection, server, createKey, now: Date.now }) : undefined,
		);
	} finally {
		connection.close();
	}
}

async function restoreTargets(
	targets: readonly Target[],
	options: RestoreOptions,
	takeover: (target: Target) => Takeover | undefined,
): Promise<Outcome[]> {
	const run = new RestoreRun(options);
	const outcomes: Outcome[] = [];
	try {
		for (const target of targets) {
			const family = targets.filter((one) => one.root === target.root).map((one) => one.listing?.session_id ?? "");
			outcomes.push(await run.restore(target, family, () => takeover(target)));
		}
		return outcomes;
	} finally {
		await run.close();
	}
}

/** Waits until what was restored is captured and sent; false when the time is up before. */
async function sync(host: Host, outcomes: readonly Outcome[], timeoutMs: number): Promise<boolean> {
	const signal = AbortSignal.timeout(timeoutMs);
	if (!outcomes.some(({ outcome }) => outcome !== "failed")) return true;
	await host.capture(signal);
	return host.until(() => host.idle(), signal);
}

/** The server that the host works with; the embedded one runs while a host does. */
function linkOf(settings: Settings, outbox: Outbox): ServerLink {
	const remote = remoteServer(settings);
	const clock = systemClock;
	if (remote) return remoteLink({ url: remote.url, key: () => readServerKey(remote.keyFile), clock });
	const url = outbox.agent()?.server_url;
	if (url == null) throw new OutboxError("unreachable", "The agent does not tell its share server yet.");
	return runningEmbeddedLink({ url, key: ensureServerKey(pathsIn(settings.dataDir).serverKey), clock });
}

/** The outbox of this machine, for what it knows; undefined where there is none. */
async function knownOutbox(settings: Settings): Promise<Outbox | undefined> {
	const { outbox } = pathsIn(settings.dataDir);
	return existsSync(outbox) ? openOutbox(outbox) : undefined;
}

/** Throws OutboxError usage for what is no folder. */
function folder(text: string | undefined): string | undefined {
	if (text === undefined) return undefined;
	const path = resolve(text);
	if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return path;
	throw new OutboxError("usage", `--directory ${path} is no folder.`, { hint: "Make it, or clone the project there." });
}
