import { rmSync } from "node:fs";
import { constants } from "node:os";
import { parseArgs } from "node:util";
import { messageOf } from "../../src/model/errors.ts";
import { isRecording } from "../evidence/record.ts";
import { tapChildren } from "../evidence/taps.ts";
import { agentDies, firstTurn, replyIsLost, serverDies, undo } from "./conversation.ts";
import type { Subject } from "./look.ts";
import { Narrator } from "./narrator.ts";
import { balance, importedCopy, proof } from "./recovery.ts";
import { spectate } from "./spectate.ts";
import { Stage } from "./stage.ts";

const USAGE = `npm run demo [-- --keep]

Runs a real OpenCode session beside opencode-outbox in a temporary folder, kills what can be killed, and compares what is
left: exit code 0 when nothing is missing, 1 when anything differs or does not happen in time. No key, no network.

  --keep   leave everything running at the end, until Ctrl-C: open the printed link in a browser, and type letters to have
           another turn, kill the server, or unshare
`;
/** As shells tell it. */
const KILLED_BY = 128;

const { keep } = readArguments();
// Under the tests what its processes say is looked through with everything else.
if (isRecording()) tapChildren();
const tell = new Narrator();
const stage = new Stage();
let isOver = false;
let leaving: Promise<never> | undefined;
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
	process.on(name, () => {
		// The second one does not wait for anything.
		if (leaving !== undefined) process.exit(KILLED_BY + constants.signals[name]);
		void leave(isOver ? 0 : KILLED_BY + constants.signals[name]);
	});
// Nobody listens any more, as in `npm run demo | head`.
process.stdout.once("error", () => void leave(1));

try {
	const subject = await play();
	isOver = true;
	if (keep) await stay(subject);
	await leave(0);
} catch (error) {
	// What fails because we are leaving is no failure.
	if (leaving === undefined) process.stderr.write(`\nThe demo failed: ${messageOf(error)}\n\n${stage.logs()}\n`);
	await leave(1);
}

async function play(): Promise<Subject> {
	tell.title("opencode-outbox: a real OpenCode session, and what usually loses it");
	tell.say(
		"OpenCode can share a session, but what it has still to send waits in its memory and is sent once: an error, a crash or a closed laptop, and it is gone. opencode-outbox runs beside OpenCode, reads what OpenCode has committed, keeps it in an outbox on disk, and replays it until the share server has all of it, in order and once.",
	);
	tell.say(
		"Here it has to prove it, with the real OpenCode and a scripted model, in a temporary folder. OpenCode's own share runs too and meets the same outage, for comparison.",
	);
	await tell.wait("OpenCode runs", stage.startOpencode(), 90_000);
	await tell.wait("the share server runs (`opencode-outbox serve`)", stage.startServer());
	await tell.wait("the agent runs (`opencode-outbox run --server …`)", stage.startAgent());
	const subject = await firstTurn(stage, tell);
	const outage = await serverDies(subject, tell);
	const crash = await agentDies(subject, tell);
	const loss = await replyIsLost(subject, tell);
	await undo(subject, tell);
	await proof(subject, tell);
	const copied = await importedCopy(subject, tell);
	await balance(subject, { ...outage, ...crash, ...loss }, copied, tell);
	tell.title(`Nothing is lost, nothing is doubled. (${tell.elapsedSeconds()} s)`);
	return subject;
}

/** Leaves everything running, to be looked at and played with, until a signal comes or the person has enough. */
async function stay(subject: Subject): Promise<void> {
	tell.title("Everything still runs");
	tell.table([
		["The share's page", subject.url],
		["OpenCode", stage.opencode.url],
		["Status", `node dist/cli/main.js status --data-dir ${stage.dataDir}`],
		["Stop, clean up", `Ctrl-C, or kill ${process.pid}`],
	]);
	await spectate(subject, tell);
}

function leave(code: number): Promise<never> {
	leaving ??= clear(code);
	return leaving;
}

async function clear(code: number): Promise<never> {
	await stage.clear();
	// After the handlers that kill what was just being started.
	process.once("exit", () => rmSync(stage.folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 }));
	process.exit(code);
}

function readArguments(): { keep: boolean } {
	try {
		const { values } = parseArgs({ options: { keep: { type: "boolean" }, help: { type: "boolean", short: "h" } } });
		if (!values.help) return { keep: values.keep === true };
		process.stdout.write(USAGE);
	} catch (error) {
		process.stderr.write(`${messageOf(error)}\n\n${USAGE}`);
		process.exit(64);
	}
	process.exit(0);
}
