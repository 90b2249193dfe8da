import { join } from "node:path";
import { exportSession, importInto } from "../fixture/opencode.ts";
import { count, differenceOf, type Entities, linesOf, sizeOf } from "./compare.ts";
import type { Figures } from "./conversation.ts";
import { ackedCursor, eventLog, ownShareDifference, type Subject, shareCursor } from "./look.ts";
import type { Narrator } from "./narrator.ts";

/** What a machine has of its own: where its project lies. Import puts its own in their place. */
const OF_THE_MACHINE = new Set(["directory", "path"]);

/**
 * The three commands that tell whether all is well.
 *
 * @throws Error with what one of them said when its exit code is not 0, or when the two sides count differently.
 */
export async function proof(subject: Subject, tell: Narrator): Promise<void> {
	const { stage } = subject;
	tell.title("6. Is everything there?");
	for (const name of ["flush", "status", "verify"]) {
		const { code, stdout, stderr } = await stage.command(name);
		if (code !== 0) throw new Error(`opencode-outbox ${name} ended with ${code}:\n${stdout}${stderr}`);
		tell.shell(`opencode-outbox ${name}`, stdout.replaceAll(stage.folder, "…"));
	}
	const [has, knows] = await Promise.all([shareCursor(subject), ackedCursor(subject)]);
	if (has !== knows) throw new Error(`the share has ${has} ops, the agent knows of ${knows}`);
	tell.say(
		`\`verify\` has compared the digest of every message, part and list on the share with OpenCode's. Both sides count ${has} ops: none is missing, none was applied twice.`,
	);
}

/**
 * A second, empty OpenCode imports the share; both export the session.
 *
 * @returns what was compared, in words.
 * @throws Error with every difference.
 */
export async function importedCopy({ stage, sessionId, url }: Subject, tell: Narrator): Promise<string> {
	tell.title("7. Another machine, with nothing but the link");
	const second = await tell.wait(
		`\`opencode import ${url}\` is done`,
		importInto(join(stage.folder, "second"), url),
		120_000,
	);
	const exports = async () => [await exportSession(stage.opencode, sessionId), await exportSession(second, sessionId)];
	const [ours, theirs] = await tell.wait("`opencode export` is done on both", exports(), 240_000);
	if (ours === undefined || theirs === undefined) throw new Error("nothing was exported");
	const [expected, actual] = [exported(ours), exported(theirs)];
	const difference = differenceOf(expected, actual);
	if (sizeOf(difference) > 0)
		throw new Error(`the imported session differs:\n  ${linesOf(difference, expected, actual).join("\n  ")}`);
	const parts = ours.messages.reduce((sum, message) => sum + message.parts.length, 0);
	const counts = `1 session, ${count(ours.messages.length, "message")}, ${count(parts, "part")}`;
	tell.fact(`${counts}: equal, member by member (but for the project's folder).`);
	return counts;
}

/** What it all came to, and what OpenCode's own share was left with. */
export async function balance(subject: Subject, figures: Figures, copied: string, tell: Narrator): Promise<void> {
	tell.title("What happened");
	const { events, bytes } = await eventLog(subject);
	const own = await ownShareDifference(subject);
	const of = (ids: readonly string[], prefix: string) => ids.filter((id) => id.startsWith(prefix)).length;
	const both = (ids: readonly string[]) => `${count(of(ids, "msg_"), "message")}, ${count(of(ids, "prt_"), "part")}`;
	const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
	tell.table([
		["OpenCode logged", `${events} events, ${Math.round(bytes / 1024)} KiB`],
		["The share applied", `${count(await shareCursor(subject), "op")}, each once and in order`],
		[
			"Server killed",
			`once, away for ${seconds(figures.serverDownMs)}; level ${figures.serverBackMs} ms after it was back`,
		],
		["Agent killed", `once; level ${figures.agentBackMs} ms after it was started`],
		[
			"Replies lost",
			`one, to ${count(figures.lostOps, "op")}; reconciled ${figures.replyBackMs} ms after the line was back`,
		],
		["Imported copy", `${copied}: equal`],
		["OpenCode's own share", `lacks:                ${both(own.missing)}`],
		["", `has in an old state:  ${both(own.different)}`],
		["", `shows though undone:  ${both(own.extra)}`],
	]);
	tell.say(
		"The last three lines are the same session as OpenCode's own share left it: what waits in memory is sent once, nothing sends it later, and removals are not told.",
	);
}

type Exported = Awaited<ReturnType<typeof exportSession>>;

function exported({ info, messages }: Exported): Entities {
	const session = Object.fromEntries(Object.entries(info).filter(([name]) => !OF_THE_MACHINE.has(name)));
	const rest = messages.flatMap((message) => [message.info, ...message.parts]) as { id: string }[];
	return new Map([["session", session], ...rest.map((entity): [string, unknown] => [entity.id, entity])]);
}
