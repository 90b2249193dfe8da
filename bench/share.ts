import { randomUUID } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { eventually, runCli, startCli } from "../test/fixture/cli.ts";
import { startModel } from "../test/fixture/model.ts";
import { type Opencode, startOpencode } from "../test/fixture/opencode.ts";
import { type OpencodeShareServer, startOpencodeShareServer } from "../test/fixture/opencode-share-server.ts";
import { startProxy, type Traffic } from "../test/fixture/proxy.ts";
import { type Bench, type Context, type Figure, figure } from "./figure.ts";
import { compared, spreadOf } from "./measure.ts";
import { target } from "./wire.ts";

const PROMPTS = [
	"say: a first answer of some twenty words, so that there is something to stream and to keep for whoever reads it",
	"run: seq 1 200",
	"todo: read, write, rest",
	"write: notes.md what was said so far",
	"say: a last answer",
];

/** The same conversation of the real OpenCode through its own share and through ours. */
export const share: Bench = {
	name: "share",
	about: "a conversation of the real OpenCode through its own share and through ours",
	async *run(context) {
		yield* conversation(context, { faults: false, live: false });
		yield* conversation(context, { faults: false, live: true });
		yield* conversation(context, { faults: true, live: false });
	},
};

interface Circumstances {
	/** Every second turn one sync of theirs fails, and one reply to ours is lost. */
	readonly faults: boolean;
	/** Ours hears OpenCode's server: it looks at every change, and shows the text as it streams, which theirs does not. */
	readonly live: boolean;
}

async function* conversation(context: Context, { faults, live }: Circumstances): AsyncGenerator<Figure> {
	const folder = join(context.folder, randomUUID());
	mkdirSync(folder);
	const model = await startModel();
	const theirs = await startOpencodeShareServer();
	const theirProxy = await startProxy({ targetPort: Number(new URL(theirs.url).port) });
	const ours = await target({ ...context, server: undefined });
	const ourProxy = await startProxy({ targetPort: Number(new URL(ours.url).port) });
	writeFileSync(join(folder, "key"), ours.key, { mode: 0o600 });
	const config = { share: "auto", enterprise: { url: theirProxy.url } };
	const opencode = await startOpencode({ root: join(folder, "opencode"), model, git: true, config });
	const settings = [
		"--data-dir",
		join(folder, "data"),
		"--server",
		ourProxy.url,
		"--server-key-file",
		join(folder, "key"),
		"--compress",
		"on",
	];
	const agent = startCli(
		["run", "--json", ...settings, ...(live ? ["--opencode-url", opencode.url] : [])],
		opencode.env,
	);
	try {
		await agent.ready();
		const { id } = await opencode.createSession();
		for (const [n, prompt] of (context.isQuick ? PROMPTS.slice(0, 1) : PROMPTS).entries()) {
			const isBroken = faults && n % 2 === 1;
			if (isBroken) theirs.fail(n === 1 ? "500" : "dropped");
			const lost = isBroken ? ourProxy.loseNextReply() : undefined;
			await opencode.prompt(id, prompt);
			// Their queue is sent every second; ours meets its fault in the same turn.
			await Promise.race([lost, pause(1500)]);
			await pause(1500);
			theirs.fail("never");
		}
		const flush = await runCli(["flush", ...settings], opencode.env);
		const [sent, theySent] = [{ ...ourProxy.traffic }, { ...theirProxy.traffic }];
		const verify = await runCli(["verify", "--json", ...settings.slice(0, -2)], opencode.env);
		if (flush.code !== 0) throw new Error(`flush ended with ${flush.code}: ${flush.stderr}`);
		const arrived = { ours: verify.code === 0, ...(await whatArrived(opencode, theirs, id)) };
		yield* table(`${faults ? "with faults" : "no faults"}${live ? ", live text" : ""}`, sent, theySent, arrived);
	} finally {
		await agent.stop();
		await opencode.stop();
		for (const one of [ourProxy, theirProxy, theirs, model]) await one.close();
		await ours.stop();
	}
}

interface Arrived {
	/** Whether `verify` found the share equal to OpenCode. */
	readonly ours: boolean;
	readonly messages: number;
	readonly theirs: number;
}

/** Messages that OpenCode has, and those that its own share has as they ended. */
async function whatArrived(opencode: Opencode, theirs: OpencodeShareServer, id: string) {
	const messages = (await opencode.messages(id)).map(({ info }) => info);
	const stored = theirs.messages(id);
	const isThere = (info: (typeof messages)[number]) =>
		JSON.stringify(stored.get(info.id)?.time) === JSON.stringify((info as { time?: unknown }).time);
	if (messages.length > 0) await eventually("a share", () => stored.size > 0);
	return { messages: messages.length, theirs: messages.filter(isThere).length };
}

function* table(how: string, ours: Traffic, theirs: Traffic, arrived: Arrived): Generator<Figure> {
	const about = { against: "OpenCode's own share" };
	const pair = (what: string, unit: string, a: number, b: number): Figure =>
		figure({ ...about, what: `a conversation, ${how}: ${what}`, unit }, compared([a], [b]));
	const bytes = pair("bytes sent", "bytes", ours.to_server, theirs.to_server);
	yield { ...bytes, bar: { atMost: 1 } };
	yield pair("requests", "requests", ours.requests, theirs.requests);
	yield {
		...{ what: `a conversation, ${how}: messages that arrived whole`, unit: "messages" },
		...{ against: "OpenCode's own share", ours: spreadOf([arrived.ours ? arrived.messages : 0]) },
		...{ theirs: spreadOf([arrived.theirs]), ratio: spreadOf([arrived.ours ? 1 : 0]), bar: { atLeast: 1 } },
		note: `the ratio is of ours to what OpenCode has (${arrived.messages}), as verify found it.`,
	};
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
