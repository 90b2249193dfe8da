import { defineCommand } from "citty";
import { CLAIMED } from "../agent/failure.ts";
import { OutboxError } from "../model/errors.ts";
import { RESTORING } from "../outbox/adopt.ts";
import { durationFlag } from "./duration.ts";
import { type Host, withHost } from "./host.ts";
import { createLogger } from "./logger.ts";
import { otherServer } from "./other-server.ts";
import { requireSession } from "./session-arg.ts";
import { resolveQuietly, settingsArgs } from "./settings.ts";
import { teach } from "./teach.ts";
import { count, jsonLine } from "./terminal.ts";

const share = defineCommand({
	meta: { name: "share" },
	args: {
		session: {
			type: "positional",
			required: true,
			description: "The session's id, as `opencode session list` shows it.",
		},
		...settingsArgs(
			"data-dir",
			"opencode-db",
			"opencode-url",
			"source",
			"server",
			"server-key-file",
			"share",
			"port",
			"log-level",
		),
		timeout: {
			type: "string",
			valueHint: "DURATION",
			default: "30s",
			description: "How long to wait for the share and its content.",
		},
		json: { type: "boolean", description: "Print {session_id, share_id, slug, url, pending} as JSON." },
	},
	async run({ args }) {
		const settings = resolveQuietly(args);
		const signal = AbortSignal.timeout(durationFlag("timeout", args.timeout));
		const log = createLogger({ level: settings.logLevel });
		return withHost(settings, log, async (host) => {
			const { outbox } = host;
			await requireSession(settings, outbox, args.session);
			if (outbox.session(args.session)?.parked_code === RESTORING)
				throw new OutboxError("parked", "The session's restore has not ended.", {
					hint: `Run it again: \`opencode-outbox restore --continue ${args.session}\`.`,
				});
			outbox.want(args.session, "share");
			await host.capture(signal).catch((error: unknown) => {
				// OpenCode may have forgotten the session; the outbox has not.
				if (!(error instanceof OutboxError) || error.code !== "no_source") throw error;
			});
			const granted = () => outbox.share(args.session)?.share_id != null;
			await host.until(
				() => (granted() && outbox.session(args.session)?.pending === 0) || isParked(host, args.session),
				signal,
			);
			return tell(host, args.session, args.json === true);
		});
	},
});

export const command = teach(share, {
	when: "To pass on a link, or, with `--share manual`, to have a session shared at all. Asking again also takes up a session that was unshared or parked.",
	examples: [
		{ line: "opencode-outbox share ses_1f4a", does: "Prints the link." },
		{ line: "opencode import $(opencode-outbox share ses_1f4a)", does: "Copies the session into another OpenCode." },
	],
	exits: {
		0: "the link was printed",
		66: "there is no such session",
		75: "the server could not be asked before the deadline; the wish is kept and carried out by the next run",
		77: "the server refuses the key, or the session is parked",
	},
});

function isParked({ outbox }: Host, sessionId: string): boolean {
	return outbox.session(sessionId)?.parked_code != null;
}

function tell(host: Host, sessionId: string, json: boolean): number {
	const { outbox, beside } = host;
	const grant = outbox.share(sessionId);
	const session = outbox.session(sessionId);
	if (session?.parked_code === "other_server") throw otherServer(outbox, sessionId);
	if (session?.parked_code === CLAIMED)
		throw new OutboxError("parked", "The session is parked: its share was taken over by another machine.");
	if (session?.parked_code != null)
		throw new OutboxError("parked", `The session is parked: the server answered ${session.parked_code}.`);
	if (grant?.url == null)
		throw new OutboxError(
			"not_drained",
			`The share server ${outbox.agent()?.server_url ?? ""} has not made the share yet.`,
			{
				hint: "The wish is kept: `opencode-outbox run` or `flush` carries it out once the server can be reached.",
			},
		);
	const pending = session?.pending ?? 0;
	const { session_id, share_id, slug, url } = grant;
	if (json) process.stdout.write(jsonLine({ session_id, share_id, slug, url, pending }));
	else process.stdout.write(`${url}\n`);
	if (pending > 0) process.stderr.write(`${count(pending, "op")} still to be sent; the link shows what is there.\n`);
	if (!beside && grant.server_url === "embedded" && !json)
		process.stderr.write("The link works while `opencode-outbox run` or `serve` runs on this machine.\n");
	return 0;
}
