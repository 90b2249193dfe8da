import { defineCommand } from "citty";
import { recordedRules } from "../agent/rules.ts";
import { remoteLink, runningEmbeddedLink, type ServerLink } from "../agent/server-link.ts";
import { type Difference, differenceOf, expectedDigests, isClean, shareDigests } from "../agent/verify.ts";
import { systemClock } from "../model/clock.ts";
import { messageOf, OutboxError } from "../model/errors.ts";
import { type Outbox, openOutbox } from "../outbox/outbox.ts";
import { redactedSource } from "../source/redacted.ts";
import { type Change, isPoison, type Source } from "../source/source.ts";
import { acquireLock } from "../sqlite/lock.ts";
import type { Connection } from "../transport/transport.ts";
import { openLink, openSource } from "./compose.ts";
import { durationFlag } from "./duration.ts";
import { createLogger } from "./logger.ts";
import { elsewhere } from "./other-server.ts";
import { pathsIn } from "./paths.ts";
import { requireSession } from "./session-arg.ts";
import { resolveQuietly, type Settings, settingsArgs } from "./settings.ts";
import { teach } from "./teach.ts";
import { jsonLine, printable } from "./terminal.ts";

/** Between two looks at a share that a running agent is still filling, in ms. */
const LOOK_MS = 250;

interface SessionVerdict extends Difference {
	readonly session_id: string;
	readonly clean: boolean;
	/** What else is to be known: parts that cannot be read, a forgotten session, why it could not be compared. */
	readonly note: string | null;
}

const verify = defineCommand({
	meta: { name: "verify" },
	args: {
		session: { type: "positional", required: false, description: "Session ids; all shared ones unless given." },
		...settingsArgs(
			"data-dir",
			"opencode-db",
			"opencode-url",
			"source",
			"server",
			"server-key-file",
			"port",
			"log-level",
		),
		timeout: {
			type: "string",
			valueHint: "DURATION",
			default: "10s",
			description: "How long a running agent is given to bring a share up to date.",
		},
		json: {
			type: "boolean",
			description: "Print {clean, sessions: [{session_id, clean, compared, missing, different, extra, note}]}.",
		},
	},
	async run({ args }) {
		const settings = resolveQuietly(args);
		const deadline = systemClock.now() + durationFlag("timeout", args.timeout);
		const verdicts = await withParts(settings, async (parts) => {
			const { outbox, beside } = parts;
			for (const sessionId of args._) await requireSession(settings, outbox, sessionId);
			const asked = args._.length > 0 ? args._ : outbox.shared();
			const all: SessionVerdict[] = [];
			for (const sessionId of asked) {
				let verdict = await compare(parts, sessionId);
				while (!verdict.clean && beside && systemClock.now() < deadline) {
					await systemClock.sleep(LOOK_MS);
					verdict = await compare(parts, sessionId);
				}
				all.push(verdict);
			}
			return all;
		});
		const clean = verdicts.every((verdict) => verdict.clean);
		if (args.json) process.stdout.write(jsonLine({ clean, sessions: verdicts }));
		else process.stdout.write(verdicts.length === 0 ? "Nothing is shared yet.\n" : verdicts.map(text).join(""));
		return clean ? 0 : 1;
	},
});

export const command = teach(verify, {
	when: "To prove that a share is what OpenCode has: digests of every session, message, part, todo list and diff are compared. Changes nothing on either side. A difference right after a turn may only mean that the agent is not done yet.",
	examples: [
		{ line: "opencode-outbox verify", does: "Compares every shared session." },
		{ line: "opencode-outbox verify --json ses_1f4a", does: "One session, for machines." },
	],
	exits: {
		0: "no difference",
		1: "differences, each named",
		66: "there is no OpenCode here (no database, or its server cannot be reached), or no such session",
		69: "the share server cannot be reached",
	},
	repeats: true,
});

interface Parts {
	readonly outbox: Outbox;
	readonly source: Source;
	readonly connection: Connection;
	/** The connection's server, as grants name it. */
	readonly serverId: string;
	/** True when an agent runs that may still bring a share up to date. */
	readonly beside: boolean;
}

/** Opens both sides for the time of `body`: without an agent, the embedded server is started for as long. */
async function withParts<T>(settings: Settings, body: (parts: Parts) => Promise<T>): Promise<T> {
	const paths = pathsIn(settings.dataDir);
	const log = createLogger({ level: settings.logLevel });
	const source = await openSource(settings);
	const lock = await acquireLock(paths.lock);
	const beside = !("release" in lock);
	try {
		const outbox = await openOutbox(paths.outbox);
		try {
			const link = beside ? runningLink(settings, outbox) : undefined;
			const { transport, server, close } = link ?? (await openLink(settings, log, 0));
			try {
				const connection = await transport.connect(AbortSignal.timeout(30_000));
				try {
					// What was taken out is not on the share, by the rules that made it what it is.
					const { redactor } = recordedRules(outbox.agent());
					const redacted = redactedSource(source, redactor);
					return await body({ outbox, source: redacted, connection, serverId: server.id, beside });
				} finally {
					connection.close();
				}
			} finally {
				await close();
			}
		} finally {
			outbox.close();
		}
	} finally {
		if ("release" in lock) lock.release();
		source.close();
	}
}

/** The server of the agent that runs; undefined when the settings name another one, or the agent has not spoken yet. */
function runningLink(settings: Settings, outbox: Outbox): ServerLink | undefined {
	const agent = outbox.agent();
	const url = agent?.server_url;
	if (url == null || agent?.state === "stopped") return undefined;
	if (settings.server !== undefined && settings.server !== url) return undefined;
	// Redeeming takes the share's own secret; the server's key is for who makes shares.
	const key = "";
	if (agent?.server_id === "embedded") return runningEmbeddedLink({ url, key, clock: systemClock });
	return remoteLink({ url, key: () => key, clock: systemClock });
}

async function compare(parts: Parts, sessionId: string): Promise<SessionVerdict> {
	const { outbox, source, connection, serverId } = parts;
	const nothing = { compared: 0, missing: [], different: [], extra: [] };
	const reason = outbox.excluded().get(sessionId);
	if (reason !== undefined && outbox.session(sessionId)?.wanted === "auto")
		return { session_id: sessionId, clean: true, ...nothing, note: `left out, not compared: ${reason}` };
	const grant = outbox.share(sessionId);
	if (grant?.share_id == null || grant.secret == null) {
		const note = "it is not shared";
		return { session_id: sessionId, clean: false, ...nothing, note };
	}
	// A secret is for the server that gave it out, and for no other.
	if (grant.server_url !== serverId) {
		const note = `its share is on ${elsewhere(grant.server_url)}`;
		return { session_id: sessionId, clean: false, ...nothing, note };
	}
	try {
		const share = await connection.redeem(grant.share_id, grant.secret);
		const actual = await shareDigests(share);
		// OpenCode is looked at after the share, so that a share that is merely behind never looks like one ahead.
		const snapshot = await source.snapshot(sessionId);
		const unreadable = snapshot?.entities.filter(isPoison).map((entity) => entity.key) ?? [];
		const truth = snapshot?.entities.filter((entity): entity is Change => !isPoison(entity));
		const checkpoints = outbox.checkpoints(sessionId);
		const expected = expectedDigests(truth, outbox.capturedDigests(sessionId), checkpoints);
		const difference = differenceOf(expected, actual);
		const texts = [...checkpoints].filter(([key, text]) => expected.get(key) === text.checkpoint).length;
		const notes = [
			...(snapshot ? [] : ["OpenCode does not have it any more; compared with what was captured"]),
			...(unreadable.length > 0 ? [`not readable in OpenCode: ${unreadable.join(", ")}`] : []),
			...(texts > 0 ? [`${texts} ${texts === 1 ? "part holds" : "parts hold"} text that OpenCode has not kept`] : []),
		];
		const note = notes.length > 0 ? notes.join("; ") : null;
		return { session_id: sessionId, clean: isClean(difference), ...difference, note };
	} catch (error) {
		if (error instanceof OutboxError) throw error;
		return { session_id: sessionId, clean: false, ...nothing, note: `it could not be compared: ${messageOf(error)}` };
	}
}

function text(verdict: SessionVerdict): string {
	const { session_id, clean, compared, missing, different, extra, note } = verdict;
	const word = !clean ? "DIFFERENT" : compared === 0 ? "skipped" : "equal";
	const lines = [`${session_id}  ${word}, ${compared} compared`];
	if (note !== null) lines.push(`  ${printable(note)}`);
	for (const key of missing) lines.push(`  missing on the share: ${printable(key)}`);
	for (const key of different) lines.push(`  different: ${printable(key)}`);
	for (const key of extra) lines.push(`  only on the share: ${printable(key)}`);
	return `${lines.join("\n")}\n`;
}
