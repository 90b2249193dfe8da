import type { ThrowAwayShare } from "../../agent/throw-away.ts";
import { messageOf } from "../../model/errors.ts";
import { printable } from "../terminal.ts";
import type { Examination } from "./examination.ts";
import { checkDataDir, checkRuntime, checkSettings } from "./machine.ts";
import { checkCapture, checkDatabase, checkOpencodeServer, checkPlugin } from "./opencode.ts";
import { checkAgent, checkOutbox } from "./outbox.ts";
import { checkRoundTrip, checkServer, checkServerKey } from "./server.ts";

/** The checks in their order, with what each one proves. */
export const CHECKS = {
	runtime: "this machine runs the program, and its SQLite driver loads",
	settings: "every setting is valid",
	"data-dir": "the data directory takes what is written, on a disk with room",
	outbox: "the outbox opens, is whole, and nothing in it waits for you",
	agent: "one process holds the outbox and says that it works",
	opencode: "OpenCode's database is found and can be read",
	capture: "what OpenCode has written is in the outbox",
	"opencode-server": "OpenCode's own server answers, takes the password and streams events",
	plugin: "OpenCode has the plugin in its configuration, and it is there to be loaded",
	server: "the share server answers, over a WebSocket, with its clock right",
	"server-key": "the share server accepts the key",
	"round-trip": "an op through a throw-away share: applied, found by its digest, seen by its link, deleted",
} as const;
type Name = keyof typeof CHECKS;

/**
 * Runs the checks in their order, all of them or the quick ones.
 *
 * @param flags citty's `args`.
 * @param timeoutMs what the examination gives each check.
 */
export async function examine(
	exam: Examination<Name>,
	flags: Readonly<Record<string, unknown>>,
	timeoutMs: number,
	quick: boolean,
): Promise<void> {
	await exam.check("runtime", {}, checkRuntime);
	const settings = await exam.check("settings", {}, () => checkSettings(flags));
	await exam.check("data-dir", { settings }, (given) => checkDataDir(given.settings.dataDir, !quick));
	const outbox = await exam.check("outbox", { settings }, (given) => checkOutbox(given.settings.dataDir));
	const agent = await exam.check("agent", { settings, outbox }, (given) => checkAgent(given.settings.dataDir));
	if (quick) return;

	const opencode = await exam.check("opencode", { settings }, (given) => checkDatabase(given.settings));
	await exam.check("capture", { settings, outbox, agent, opencode }, (given, signal) =>
		checkCapture(given.settings, given.agent, given.opencode, timeoutMs, signal),
	);
	await exam.check("opencode-server", { settings }, (given, signal) => checkOpencodeServer(given.settings, signal));
	await exam.check("plugin", { settings }, (given) => checkPlugin(given.settings.dataDir, process.env));

	const server = await exam.check("server", { settings }, (given, signal) =>
		checkServer(given.settings, agent, timeoutMs, signal),
	);
	const share = await exam.check("server-key", { server }, (given) => checkServerKey(given.server));
	await exam.check("round-trip", { server, "server-key": share }, (given, signal) =>
		checkRoundTrip(given.server, given["server-key"], signal),
	);
	if (share !== undefined) await throwAway(share, timeoutMs);
	server?.connection.close();
}

/** Whatever became of the round trip, its share is deleted; where that fails, it is said. */
async function throwAway(share: ThrowAwayShare, timeoutMs: number): Promise<void> {
	const late = new Promise<never>((_, reject) => setTimeout(() => reject(new Error("no answer")), timeoutMs).unref());
	await Promise.race([share.delete(), late]).catch((error: unknown) => {
		const { share_id } = share.grant;
		process.stderr.write(
			`The share ${printable(share_id)} that was made for the look is still there: ${printable(messageOf(error))}. It holds no session.\n`,
		);
	});
}
