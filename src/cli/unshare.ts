import { defineCommand } from "citty";
import { CLAIMED } from "../agent/failure.ts";
import { OutboxError } from "../model/errors.ts";
import type { Outbox } from "../outbox/outbox.ts";
import { durationFlag } from "./duration.ts";
import { withHost } from "./host.ts";
import { createLogger } from "./logger.ts";
import { otherServer } from "./other-server.ts";
import { resolveQuietly, settingsArgs } from "./settings.ts";
import { teach } from "./teach.ts";
import { jsonLine, printable } from "./terminal.ts";

const unshare = defineCommand({
	meta: { name: "unshare" },
	args: {
		session: { type: "positional", required: true, description: "The session's id." },
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
		timeout: { type: "string", valueHint: "DURATION", default: "30s", description: "How long to wait for the server." },
		forget: {
			type: "boolean",
			description: "Drop what is kept here even if the server cannot be asked or refuses; the share then stays there.",
		},
		json: { type: "boolean", description: "Print {session_id, unshared, deleted} as JSON." },
	},
	async run({ args }) {
		const settings = resolveQuietly(args);
		const signal = AbortSignal.timeout(durationFlag("timeout", args.timeout));
		const sessionId = args.session;
		const log = createLogger({ level: settings.logLevel });
		return withHost(settings, log, async ({ outbox, until }) => {
			const known = outbox.session(sessionId);
			if (known === undefined)
				throw new OutboxError("no_such_session", `The outbox knows no session ${printable(sessionId)}.`);
			const done = () => outbox.session(sessionId)?.wanted === "never";
			const stuck = () => outbox.session(sessionId)?.parked_code != null;
			if (!done()) outbox.want(sessionId, "unshare");
			const deleted = await until(() => done() || stuck(), signal)
				.then(() => done())
				.catch((error: unknown) => {
					if (args.forget === true) return false;
					throw error;
				});
			if (!deleted && args.forget !== true) throw notDeleted(outbox, sessionId);
			if (!deleted) outbox.forget(sessionId);
			if (args.json) process.stdout.write(jsonLine({ session_id: sessionId, unshared: true, deleted }));
			else
				process.stdout.write(
					deleted ? "The share is deleted; its link is dead.\n" : "Forgotten here; the share is still on the server.\n",
				);
			return 0;
		});
	},
});

export const command = teach(unshare, {
	when: "To take a session back: the server deletes its content at once and keeps only the fact that it was revoked. Works after OpenCode has forgotten the session. The session is not shared again until `share` asks for it.",
	examples: [{ line: "opencode-outbox unshare ses_1f4a", does: "Deletes the share of that session." }],
	exits: {
		0: "the share is gone",
		66: "the outbox knows no such session",
		75: "the server could not be asked before the deadline; the wish is kept and carried out by the next run",
		77: "the server refuses to delete it: its secret was changed by somebody else (see --forget); or it is on another server",
	},
});

function notDeleted(outbox: Outbox, sessionId: string): OutboxError {
	const parked = outbox.session(sessionId)?.parked_code ?? null;
	if (parked === "other_server") return otherServer(outbox, sessionId);
	const url = outbox.share(sessionId)?.url ?? "";
	if (parked === CLAIMED)
		return new OutboxError("denied", `The share ${url} is another machine's by now, which alone can delete it.`, {
			hint: "`--forget` drops what is kept here; `share` then shares this copy by itself.",
		});
	if (parked !== null)
		return new OutboxError("denied", `The server refuses to delete the share ${url} (${parked}).`, {
			hint: "Its secret was changed elsewhere; only its new holder can delete it. `--forget` drops what is kept here.",
		});
	return new OutboxError("not_drained", "The server could not be asked to delete the share yet.", {
		hint: "The wish is kept: `opencode-outbox run` carries it out once the server can be reached.",
	});
}
