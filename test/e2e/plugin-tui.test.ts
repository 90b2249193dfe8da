import { afterAll, expect, it } from "vitest";
import { IS_LONG } from "../fixture/extent.ts";
import { agentLog, agentPid, endAgent, linkPlugin, untilAgentRuns } from "../fixture/plugin.ts";
import { hasTerminals, type Pty } from "../fixture/pty.ts";
import { startTui } from "../fixture/tui.ts";
import { Lab } from "./lab.ts";

const lab = new Lab();
afterAll(async () => {
	await endAgent(lab.path("data"));
	await lab.close();
});

/** Types a prompt and waits for the answer. The first time OpenCode asks how to begin, it has started. */
async function say(tui: Pty, text: string): Promise<void> {
	await tui.until("a place to type", (screen) => /Ask anything|ctrl\+p|\/help|tab/i.test(screen));
	tui.type(`say: ${text}`);
	await tui.until("what was typed", (screen) => screen.includes(text));
	tui.type("\r");
	await tui.until("the answer", (screen) => screen.split(text).length > 2);
}

// Left out of `npm test` for the time it takes; see extent.ts.
it.skipIf(!IS_LONG || !hasTerminals())(
	"what is typed into the TUI is captured, by an agent that outlives it, and its screen is as it would be without",
	async () => {
		const text = "typed by hand into a terminal";
		linkPlugin(lab.path("tui"));
		const home = await lab.home("tui");
		const machine = lab.machine("data", home, undefined, { OPENCODE_OUTBOX_IDLE_STOP: "never" });
		const tui = startTui({ ...home, env: machine.env });
		try {
			await say(tui, text);
			const pid = await untilAgentRuns(machine.dataDir);
			await machine.untilSent();
			const part = "SELECT 1 FROM op WHERE type = 'part' AND payload LIKE ?";
			await machine.until("the prompt in the outbox", part, `%${text}%`);
			// Its own folder's name is on the screen, and bears ours.
			const alien = (shown: string) => shown.replaceAll(/outbox-e2e-\w+/g, "");
			expect(alien(tui.screen())).not.toMatch(/outbox|lane|agent\.log/i);
			expect(alien(tui.shown())).not.toMatch(/opencode-outbox|lane\.sock|agent\.log/i);
			process.kill(tui.pid(), "SIGKILL");
			await tui.kill();
			expect(await agentPid(machine.dataDir)).toBe(pid);
			await machine.expectEqual();
			expect(agentLog(machine.dataDir)).not.toContain('"level":"error"');
		} finally {
			await tui.kill();
		}
	},
	900_000,
);
