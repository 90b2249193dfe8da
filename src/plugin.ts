import { Companion } from "./plugin/companion.ts";
import { newsOf } from "./plugin/news.ts";
import { pluginSettings } from "./plugin/settings.ts";
import { LiveEar } from "./source/live-ear.ts";

/** What of OpenCode's plugin API (1.x) is used here. */
interface Hooks {
	event(input: { event?: unknown }): Promise<void>;
	config(config: { command?: Record<string, unknown> }): Promise<void>;
	tool: Record<string, Tool>;
	"command.execute.before"(
		input: { command?: string; sessionID?: string },
		output: { parts?: { type?: string; text?: string }[] },
	): Promise<void>;
	dispose(): Promise<void>;
}
interface Tool {
	readonly description: string;
	readonly args: Record<string, never>;
	execute(args: unknown, context: { sessionID?: string }): Promise<string>;
}

const COMMAND = "outbox";

/**
 * The OpenCode plugin: sees to it that an agent runs, rings for it, and forwards text as it streams.
 *
 * For the TUI and `opencode run`, which open no port that an agent could listen to. Carries no truth: the agent reads
 * OpenCode's database, and finds by polling what nobody told. O(1) work per event, never throws, waits for nothing, writes
 * nothing to the terminal; without an agent, or with a broken one, OpenCode is as it was (G7).
 *
 * The only export, since OpenCode takes every export of a plugin file for a plugin.
 *
 * @param options see plugin/settings.ts.
 */
export default async function opencodeOutbox(
	context: { directory?: unknown } | undefined,
	options?: unknown,
): Promise<Partial<Hooks>> {
	try {
		return hooks(typeof context?.directory === "string" ? context.directory : undefined, options);
	} catch {
		return {};
	}
}

function hooks(directory: string | undefined, options: unknown): Hooks {
	const settings = pluginSettings(options, process.env, process.cwd());
	const companion = Companion.of(settings);
	const ear = new LiveEar();
	const word = async (sessionId: string | undefined) => {
		try {
			const { wordAbout } = await import("./plugin/word.ts");
			return await wordAbout(sessionId ?? "", settings.dataDir);
		} catch (error) {
			return `The outbox could not be read: ${error instanceof Error ? error.message : error}`;
		}
	};
	return {
		async event({ event }) {
			try {
				const news = newsOf(event, directory, ear);
				if (news !== undefined) companion.tell(news);
			} catch {}
		},
		async config(config) {
			config.command ??= {};
			config.command[COMMAND] ??= {
				description: "Is this session safe, and where is its link?",
				template: "Call the tool outbox_status and pass its answer on.",
			};
		},
		tool: {
			outbox_status: {
				description:
					"Tells whether the present session is safely recorded and replicated by opencode-outbox, and the link of its share. Use it only when the user asks for that.",
				args: {},
				execute: async (_args, context) => word(context?.sessionID),
			},
		},
		// The answer is put into the prompt, so that it takes no call of a tool.
		async "command.execute.before"({ command, sessionID }, { parts }) {
			const part = command === COMMAND ? parts?.find(({ type }) => type === "text") : undefined;
			if (part) part.text = `Pass this on as it is, and add nothing:\n\n${await word(sessionID)}`;
		},
		async dispose() {
			await companion.leave();
		},
	};
}
