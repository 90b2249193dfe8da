import { existsSync, mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { newsOf } from "../../src/plugin/news.ts";
import { pluginSettings } from "../../src/plugin/settings.ts";
import * as plugin from "../../src/plugin.ts";
import { LiveEar } from "../../src/source/live-ear.ts";
import { discard } from "../evidence/folder.ts";

const root = mkdtempSync(join(tmpdir(), "plugin-"));
afterAll(() => discard(root));

describe("the plugin", () => {
	beforeAll(() => {
		vi.stubEnv("OPENCODE_OUTBOX_DATA_DIR", join(root, "never"));
		vi.stubEnv("OPENCODE_OUTBOX_START", "false");
		return () => vi.unstubAllEnvs();
	});

	it("exports nothing but one function, since OpenCode takes every export for a plugin", () => {
		expect(Object.entries(plugin).map(([name, value]) => [name, typeof value])).toEqual([["default", "function"]]);
	});

	it("throws at nothing that OpenCode could tell it, and returns no rejected promise", async () => {
		const hooks = await plugin.default({ directory: "/p" });
		const anything = fc.oneof(
			fc.anything(),
			fc.record({
				type: fc.constantFrom("message.part.delta", "session.idle", "message.updated"),
				properties: fc.anything(),
			}),
			fc.record({
				type: fc.constantFrom("message.part.delta", "session.created", "message.part.updated"),
				properties: fc.record({
					sessionID: fc.anything(),
					info: fc.anything(),
					part: fc.anything(),
					delta: fc.anything(),
				}),
			}),
		);
		await fc.assert(
			fc.asyncProperty(anything, async (event) => {
				await hooks.event?.({ event });
			}),
			{ numRuns: 500 },
		);
		await hooks.dispose?.();
	});

	it("is harmless whatever it is started with", async () => {
		await fc.assert(
			fc.asyncProperty(fc.anything(), fc.anything(), async (context, options) => {
				const hooks = await plugin.default(context as never, options);
				await hooks.dispose?.();
			}),
			{ numRuns: 200 },
		);
		expect(existsSync(join(root, "never"))).toBe(false);
	});

	it("adds the command /outbox, unless there is one of that name", async () => {
		const hooks = await plugin.default({ directory: "/p" });
		const bare: { command?: Record<string, unknown> } = {};
		await hooks.config?.(bare);
		expect(bare.command).toMatchObject({ outbox: { template: expect.any(String), description: expect.any(String) } });
		const theirs = { command: { outbox: { template: "mine" } } };
		await hooks.config?.(theirs);
		expect(theirs.command.outbox).toEqual({ template: "mine" });
		await hooks.dispose?.();
	});

	it("answers in words, also where there is no outbox, or none that can be read", async () => {
		const hooks = await plugin.default({ directory: "/p" });
		expect(await hooks.tool?.outbox_status?.execute({}, { sessionID: "ses_1" })).toMatch(
			/Nothing of it is recorded yet/,
		);
		const parts = [{ type: "text", text: "Call the tool" }];
		await hooks["command.execute.before"]?.({ command: "outbox", sessionID: "ses_1" }, { parts });
		expect(parts[0]?.text).toMatch(/^Pass this on[\s\S]*Nothing of it is recorded yet/);
		const other = [{ type: "text", text: "Theirs" }];
		await hooks["command.execute.before"]?.({ command: "review", sessionID: "ses_1" }, { parts: other });
		expect(other).toEqual([{ type: "text", text: "Theirs" }]);
		await hooks.dispose?.();
		mkdirSync(join(root, "broken"));
		writeFileSync(
			join(root, "broken", "outbox.db"),
			"no database at all, but long enough to look like one".repeat(100),
		);
		vi.stubEnv("OPENCODE_OUTBOX_DATA_DIR", join(root, "broken"));
		const broken = await plugin.default({ directory: "/p" });
		expect(await broken.tool?.outbox_status?.execute({}, {})).toMatch(/The outbox could not be read/);
		await broken.dispose?.();
	});
});

describe("the news in an event", () => {
	it("is a ring where OpenCode has stored something, a settled one at the end of a turn", () => {
		const ring = (type: string, properties: object) => newsOf({ type, properties }, "/p", new LiveEar());
		expect(ring("message.updated", { info: { sessionID: "ses_1", id: "msg_1" } })).toEqual({
			ring: { session_id: "ses_1", directory: "/p", settled: false },
		});
		expect(ring("session.created", { info: { id: "ses_1" } })).toEqual({
			ring: { session_id: "ses_1", directory: "/p", settled: false },
		});
		expect(ring("message.part.updated", { part: { sessionID: "ses_1", id: "prt_1" } })).toMatchObject({
			ring: { session_id: "ses_1" },
		});
		expect(ring("session.idle", { sessionID: "ses_1" })).toMatchObject({
			ring: { session_id: "ses_1", settled: true },
		});
		expect(ring("todo.updated", {})).toEqual({ ring: { directory: "/p", settled: false } });
	});

	it("is the text that streams, and nothing at all elsewhere", () => {
		const properties = { sessionID: "ses_1", messageID: "msg_1", partID: "prt_1", field: "text", delta: "Hel" };
		const ear = new LiveEar();
		const delta = { type: "message.part.delta", properties };
		// Of a part whose beginning was not heard nobody could tell where it belongs.
		expect(newsOf(delta, "/p", ear)).toBeUndefined();
		newsOf({ type: "message.part.updated", properties: { part: { id: "prt_1", text: "" } } }, "/p", ear);
		const live = { session_id: "ses_1", message_id: "msg_1", part_id: "prt_1", field: "text", delta: "Hel" };
		expect(newsOf(delta, "/p", ear)).toEqual({ live: { ...live, offset: 0 } });
		expect(newsOf(delta, "/p", ear)).toEqual({ live: { ...live, offset: 3 } });
		expect(newsOf({ ...delta, properties: { ...properties, delta: 7 } }, "/p", ear)).toBeUndefined();
		for (const type of ["server.heartbeat", "session.status", "lsp.updated", "file.edited"])
			expect(newsOf({ type, properties: { sessionID: "ses_1" } }, "/p", ear)).toBeUndefined();
	});
});

describe("the plugin's settings", () => {
	const config = join(root, "config");
	mkdirSync(join(config, "opencode-outbox"), { recursive: true });
	writeFileSync(join(config, "opencode-outbox", "config.json"), '\uFEFF{"data-dir": "beside", "port": 0}');
	const HOME = { HOME: "/home/a" };

	it("find the data directory as the commands do: environment, OpenCode's config, config.json, default", () => {
		const env = { ...HOME, XDG_CONFIG_HOME: config };
		expect(pluginSettings(undefined, HOME, "/cwd").dataDir).toBe("/home/a/.local/share/opencode-outbox");
		expect(pluginSettings(undefined, env, "/cwd").dataDir).toBe(join(config, "opencode-outbox", "beside"));
		expect(pluginSettings({ "data-dir": "~/theirs" }, env, "/cwd").dataDir).toBe("/home/a/theirs");
		const set = { ...env, OPENCODE_OUTBOX_DATA_DIR: "set" };
		expect(pluginSettings({ "data-dir": "~/theirs" }, set, "/cwd").dataDir).toBe("/cwd/set");
	});

	it("hand the agent an environment with absolute paths, in which the person's own variables win", () => {
		const env = { ...HOME, OPENCODE_OUTBOX_PORT: "1", OPENCODE_OUTBOX_SERVER_KEY_FILE: "key", OTHER: "x" };
		expect(pluginSettings({ port: 2, "idle-stop": "1h", start: true, nonsense: {} }, env, "/cwd").env).toEqual({
			...env,
			OPENCODE_OUTBOX_DATA_DIR: "/home/a/.local/share/opencode-outbox",
			OPENCODE_OUTBOX_IDLE_STOP: "1h",
			OPENCODE_OUTBOX_SERVER_KEY_FILE: "/cwd/key",
		});
	});

	it("say whether an agent is started", () => {
		const starts = (options: unknown, variable?: string) =>
			pluginSettings(options, { ...HOME, ...(variable === undefined ? {} : { OPENCODE_OUTBOX_START: variable }) }, "/")
				.start;
		expect([starts(undefined), starts({ start: true }), starts({ start: false }, "true")]).toEqual([true, true, true]);
		expect([starts({ start: false }), starts({ start: "false" }), starts({ start: true }, "0")]).toEqual([
			false,
			false,
			false,
		]);
	});
});
