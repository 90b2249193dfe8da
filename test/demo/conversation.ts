import { setTimeout as delay } from "node:timers/promises";
import { eventually } from "../fixture/cli.ts";
import { count, sizeOf } from "./compare.ts";
import { ackedCursor, eventLog, level, type Subject, shareCursor, shareDifference, statusOf } from "./look.ts";
import type { Narrator } from "./narrator.ts";
import type { Stage } from "./stage.ts";

/** What the tool prints, and after which line the server dies. */
const [LINES, DEADLY_LINE] = [250, 80];
/** OpenCode's own share sends within a second, once: after this its last attempt has failed too, in ms. */
const OWN_SHARE_MS = 1500;

/** Figures for the end. */
export interface Figures {
	readonly serverDownMs: number;
	readonly serverBackMs: number;
	readonly agentBackMs: number;
	readonly lostOps: number;
	readonly replyBackMs: number;
}

/** The first prompt: the session comes into being, and its share with it. */
export async function firstTurn(stage: Stage, tell: Narrator): Promise<Subject> {
	const { opencode } = stage;
	tell.title("1. A conversation");
	const { id: sessionId, version } = await opencode.createSession();
	await opencode.call("POST", `/session/${sessionId}/share`);
	const text = "say: An outbox is a log of what others do not have yet. It forgets nothing before they do.";
	await tell.wait(`OpenCode ${version} has answered a first prompt`, opencode.prompt(sessionId, text));
	let found: Subject | undefined;
	await eventually("the share's link in `status`", async () => {
		const session = (await statusOf(stage)).sessions.find((one) => one.session_id === sessionId);
		if (session?.slug == null || session.url === null) return false;
		found = { stage, sessionId, slug: session.slug, url: session.url };
		return true;
	});
	if (found === undefined) throw new Error("no share");
	await level(found);
	tell.fact(`The agent has shared the session by itself, at ${found.url}`);
	return found;
}

/** The server dies in the middle of a tool call and comes back after the turn. */
export async function serverDies(subject: Subject, tell: Narrator) {
	const { stage, sessionId } = subject;
	const { opencode } = stage;
	tell.title("2. The share server is killed while a tool prints");
	const command = `for i in $(seq 1 ${LINES}); do echo line $i; sleep 0.01; done`;
	const turn = opencode.prompt(sessionId, `run: ${command}`);
	turn.catch(() => undefined);
	const isDeep = async () => {
		const parts = (await opencode.messages(sessionId)).flatMap((message) => message.parts);
		return JSON.stringify(parts.find((part) => part.type === "tool") ?? "").includes(`line ${DEADLY_LINE}\\n`);
	};
	await tell.wait(`the tool has printed ${DEADLY_LINE} of ${LINES} lines`, eventually("the tool's output", isDeep));
	await stage.killServer();
	const killedAt = performance.now();
	tell.fact("kill -9 on the share server; for OpenCode's own share the network goes away at the same moment.");
	await tell.wait("OpenCode has ended its turn; it noticed nothing", turn);
	await delay(OWN_SHARE_MS);
	const status = await stage.command("status");
	tell.shell("opencode-outbox status", status.stdout.replaceAll(stage.folder, "…"), 5);
	const { events } = await eventLog(subject);
	tell.say(
		`The changes wait on disk, and the age of the oldest says for how long. OpenCode has logged ${events} events so far; each holds a whole state, so of those that wait only the last one per message and part is kept.`,
	);
	const serverDownMs = Math.round(performance.now() - killedAt);
	await tell.wait("the share server is started again", stage.startServer());
	const serverBackMs = await tell.wait("the agent, which had kept trying, has sent the rest", level(subject));
	return { serverDownMs, serverBackMs };
}

/** The agent dies before it could capture, let alone send, the end of a turn. */
export async function agentDies(subject: Subject, tell: Narrator) {
	const { stage, sessionId } = subject;
	tell.title("3. The agent is killed right after an answer");
	await stage.opencode.prompt(sessionId, "say: You read this, and a moment later the power fails.");
	await stage.agent.kill();
	const behind = sizeOf(await shareDifference(subject));
	tell.fact(
		`kill -9 on the agent: the share is ${count(behind, "message or part", "messages and parts")} behind OpenCode.`,
	);
	const status = await stage.command("status");
	const needsYou = status.stdout.slice(status.stdout.indexOf("Needs you"), status.stdout.indexOf("\nSessions"));
	tell.shell(`opencode-outbox status   # exit code ${status.code}`, needsYou, 4);
	tell.say(
		"What it had not captured is still in OpenCode's own log. The agent knows up to which event it has captured, and goes on from there.",
	);
	const startedAt = performance.now();
	await tell.wait("the agent is started again", stage.startAgent());
	await tell.wait("the share is level with OpenCode", level(subject));
	return { agentBackMs: Math.round(performance.now() - startedAt) };
}

/** The server applies a batch, and the agent never hears of it. */
export async function replyIsLost(subject: Subject, tell: Narrator) {
	const { stage } = subject;
	tell.title("4. The server applies a batch, and its reply is lost");
	const { has, knows } = await loseAck(subject, tell);
	tell.fact(`The share has ${has} ops, the agent knows of ${knows}. What about the ${has - knows} between?`);
	tell.say(
		"A sender that repeats on suspicion may apply them twice; one that does not may lose them. The agent redeems its share anew, compares positions, and knows:",
	);
	stage.proxy.faults.refuse = false;
	const startedAt = performance.now();
	const line = "a lost reply was reconciled";
	await tell.wait(`the agent's log says "${line}"`, stage.agent.says(line));
	const replyBackMs = Math.round(performance.now() - startedAt);
	const said = stage.agent.stderr().split("\n");
	const { ops, cursor } = JSON.parse(said.find((text) => text.includes(line)) ?? "{}") as Record<string, number>;
	tell.fact(`${ops} ops acknowledged without sending them again, up to op ${cursor}.`);
	await level(subject);
	return { lostOps: has - knows, replyBackMs };
}

/** Loses the reply to ops; nobody gets through after it until the reader has seen where both sides stand. */
async function loseAck(subject: Subject, tell: Narrator): Promise<{ has: number; knows: number }> {
	const { stage, sessionId } = subject;
	const { proxy } = stage;
	for (let tries = 1; ; tries++) {
		const lost = proxy.loseNextReply().then(() => {
			proxy.faults.refuse = true;
		});
		await stage.opencode.prompt(sessionId, "say: Did you get that? The line is bad.");
		await tell.wait("a reply of the server was thrown away, the connection cut", lost);
		const [has, knows] = await Promise.all([shareCursor(subject), ackedCursor(subject)]);
		if (has > knows) return { has, knows };
		// It was the answer to something else: the agent was not connected yet.
		if (tries === 3) throw new Error(`no reply to ops could be lost: the share and the agent stand at ${has}`);
		proxy.faults.refuse = false;
		await level(subject);
	}
}

/** The last prompt is undone and another one takes its place. */
export async function undo(subject: Subject, tell: Narrator): Promise<void> {
	const { stage, sessionId } = subject;
	const { opencode } = stage;
	tell.title("5. An undo");
	const before = await opencode.messages(sessionId);
	const last = before.findLast((message) => message.info.role === "user");
	if (last === undefined) throw new Error("there is no prompt to undo");
	await opencode.revert(sessionId, last.info.id);
	await opencode.prompt(sessionId, "say: Let us say this instead.");
	await tell.wait("the last prompt is undone, and another one answered, on both sides", level(subject));
	const kept = new Set((await opencode.messages(sessionId)).map((message) => message.info.id));
	const gone = before.filter((message) => !kept.has(message.info.id)).length;
	tell.fact(
		`OpenCode has removed ${count(gone, "message")}, and so has the share. OpenCode's own share is never told.`,
	);
}
