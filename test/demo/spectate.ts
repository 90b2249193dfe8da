import { createInterface } from "node:readline/promises";
import { messageOf } from "../../src/model/errors.ts";
import type { Subject } from "./look.ts";
import type { Narrator } from "./narrator.ts";

/** Between two words of an answer, in ms: about as fast as people read. */
const WORD_MS = 120;
const ANSWER =
	"say: ## It grows\n\nEvery word that you see here came **out of OpenCode**, through the agent's outbox, over a WebSocket, and into this page. Type `r` while it is being written: the share server dies and comes back, and nothing of it is missing afterwards.\n\n```ts\nconst share = await api.redeemShare(id, secret).appendOps(batch);\n```\n\nThat was all.";

/** What somebody can do who looks at the share's page. */
const KEYS = [
	["t", "another turn: watch the page while it is written"],
	["r", "kill -9 on the share server, and start it again"],
	["u", "unshare the session: the page says so at once"],
	["q", "stop everything and clean up"],
] as const;

/**
 * Lets a person at the terminal play on, a letter a line, until `q`.
 *
 * Where there is no terminal it waits for a signal, as if nobody ever typed.
 */
export async function spectate({ stage, sessionId }: Subject, tell: Narrator): Promise<void> {
	if (process.stdin.isTTY !== true) return await new Promise<never>(() => undefined);
	const act: Record<string, () => Promise<void>> = {
		async t() {
			stage.wordMs = WORD_MS;
			await tell.wait("OpenCode has answered", stage.opencode.prompt(sessionId, ANSWER));
		},
		async r() {
			await stage.killServer();
			await tell.wait("the share server is back", stage.startServer());
		},
		async u() {
			const { code, stdout, stderr } = await stage.command("unshare", sessionId);
			tell.shell(`opencode-outbox unshare ${sessionId}`, code === 0 ? stdout : stderr);
		},
	};
	tell.title("Type a letter and Enter");
	tell.table(KEYS);
	const lines = createInterface({ input: process.stdin });
	for await (const line of lines) {
		const key = line.trim().toLowerCase();
		if (key === "q") break;
		const what = act[key];
		// A turn goes on while the server is killed.
		if (what) void what().catch((error: unknown) => tell.fact(messageOf(error)));
		else if (key !== "") tell.table(KEYS);
	}
	lines.close();
}
