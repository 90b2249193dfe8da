import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { OutboxError } from "../../src/model/errors.ts";
import { openOutbox } from "../../src/outbox/outbox.ts";
import type { Transport } from "../../src/transport/transport.ts";
import { OpencodeDatabase } from "../source/opencode-database.ts";
import { openServer } from "./direct.ts";
import { fastFolder, type LogLine, startAgent } from "./machine.ts";

const S = "ses_1";
const MESSAGES = 200;

/** Damages the file from another process, as closing a descriptor in this one would drop its locks. */
function zeroPagesOf(path: string, table: string): void {
	const script = `
		const { openSync, readFileSync, writeSync } = require("node:fs");
		const bytes = readFileSync(${JSON.stringify(path)});
		const file = openSync(${JSON.stringify(path)}, "r+");
		for (let page = 4096; page < bytes.length; page += 4096)
			if (bytes.subarray(page, page + 4096).includes(${JSON.stringify(table)})) writeSync(file, Buffer.alloc(4096), 0, 4096, page);`;
	execFileSync(process.execPath, ["-e", script]);
}

test("an agent whose outbox is damaged while it runs sets it aside, and goes on until the shares are equal", async () => {
	const folder = fastFolder();
	onTestFinished(() => folder.remove());
	const opencode = await OpencodeDatabase.create(join(folder.path, "opencode.db"));
	const server = await openServer(join(folder.path, "share.db"));
	opencode.session(S);
	const talk = (from: number, to: number) => {
		for (let n = from; n < to; n++) opencode.message(S, `m${n}`, "needle ".repeat(200));
	};
	talk(0, MESSAGES);
	let isReachable = false;
	const transport: Transport = {
		connect: async (signal) => {
			if (!isReachable) throw new OutboxError("unreachable", "the cable is cut");
			return server.transport.connect(signal);
		},
	};
	const log: LogLine[] = [];
	const home = join(folder.path, "home");
	mkdirSync(home);
	const agent = await startAgent({ folder: home, opencode: opencode.path, transport, log });
	onTestFinished(async () => {
		await agent.stop();
		server.close();
		opencode.sql.close();
	});
	await agent.capture(new AbortController().signal);
	const damaged = agent.outbox;
	expect(damaged.session(S)?.pending).toBeGreaterThanOrEqual(MESSAGES);
	damaged.checkpoint();
	zeroPagesOf(join(home, "outbox.db"), "needle");

	// What another process writes makes the agent read its pages again.
	const beside = await openOutbox(join(home, "outbox.db"));
	beside.say({ next_connect_at: 0 }, Date.now());
	beside.close();

	isReachable = true;
	talk(MESSAGES, MESSAGES + 5);
	expect(await agent.drain(AbortSignal.timeout(20_000)), JSON.stringify(log.slice(-9))).toBe(true);
	expect(await agent.drain(AbortSignal.timeout(20_000))).toBe(true);

	expect(agent.outbox).not.toBe(damaged);
	expect(readdirSync(home).filter((name) => /damaged-.*Z$/.test(name))).toHaveLength(1);
	expect(log.filter((line) => line.message.includes("it is opened anew"))).toHaveLength(1);
	expect(agent.outbox.agent()?.damage).toMatch(/^The outbox was damaged \(.*\)\. It is kept as outbox\.db\.damaged-/);
	const { share_id, secret } = agent.outbox.share(S) ?? {};
	const digests = server.digests(share_id ?? "", secret ?? "");
	expect([...digests.keys()].filter((key) => key.startsWith("message/"))).toHaveLength(MESSAGES + 5);
	expect(agent.outbox.session(S)).toMatchObject({ pending: 0, compare_reason: null, parked_code: null });
});
