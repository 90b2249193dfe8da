import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eventually } from "../fixture/cli.ts";
import type { Opencode } from "../fixture/opencode.ts";
import { type OpencodeShareServer, startOpencodeShareServer } from "../fixture/opencode-share-server.ts";
import type { FaultProxy } from "../fixture/proxy.ts";
import { Lab, type Machine, type Server } from "./lab.ts";

/**
 * OpenCode's own share and ours, side by side: one OpenCode, the same sessions, the same prompts, the same kinds of
 * faults at the same time. What OpenCode's own share loses here today is what this project is for.
 */

const KILLS_MAX = 4;

const lab = new Lab();
let opencode: Opencode;
let theirs: OpencodeShareServer;
let ours: Server;
let proxy: FaultProxy;
let machine: Machine;
let agent: Awaited<ReturnType<Machine["run"]>>;

const start = () => lab.opencode("opencode", { config: { share: "auto", enterprise: { url: theirs.url } }, git: true });

beforeAll(async () => {
	theirs = await startOpencodeShareServer();
	ours = await lab.server();
	proxy = await lab.proxy(ours.port);
	opencode = await start();
	machine = lab.machine("machine", opencode, { url: proxy.url, keyFile: ours.keyFile });
	agent = await machine.run("--opencode-url", opencode.url);
});
afterAll(async () => {
	await lab.close();
	await theirs?.close();
});

/** A session that both have, with its first turn. */
async function sharedSession(): Promise<string> {
	const { id } = await opencode.createSession();
	await opencode.prompt(id, "say: the beginning");
	await theyHave(id, await lastMessage(id));
	return id;
}

async function messageIds(id: string): Promise<string[]> {
	return (await opencode.messages(id)).map(({ info }) => info.id);
}

async function lastMessage(id: string): Promise<string> {
	return (await messageIds(id)).at(-1) ?? "";
}

async function theyHave(id: string, messageId: string): Promise<void> {
	await eventually(`OpenCode's own share to have the whole of answer ${messageId}`, () =>
		isOver(theirs.messages(id).get(messageId) ?? {}),
	);
}

/** True of an answer that nothing more comes to. */
function isOver(message: Record<string, unknown>): boolean {
	return (message.time as { completed?: number } | undefined)?.completed !== undefined;
}

/** Messages that OpenCode has and its own share lacks, or never heard the end of. */
async function lostByTheirs(id: string): Promise<string[]> {
	const stored = theirs.messages(id);
	const isKept = (message: Record<string, unknown>) => {
		const kept = stored.get(String(message.id));
		return kept !== undefined && isOver(kept) === isOver(message);
	};
	const messages = (await opencode.messages(id)).map(({ info }) => info);
	return messages.filter((message) => !isKept({ ...message })).map((message) => message.id);
}

describe("the cases in which OpenCode's own share loses data", () => {
	it("a turn of HTTP 500s and one of dropped sockets: OpenCode's own share misses messages for ever, ours is equal", async () => {
		const id = await sharedSession();
		const shares = () => machine.rows("SELECT session_id, share_id FROM share ORDER BY session_id");
		await machine.until("our share", "SELECT 1 FROM share WHERE session_id = ? AND share_id IS NOT NULL", id);
		const before = await shares();
		const broken = createServer((_, response) => void response.writeHead(500).end("not found"));
		broken.on("upgrade", (_, socket) => socket.end("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"));
		await new Promise<void>((resolve) => broken.listen(0, "127.0.0.1", resolve));
		/** OpenCode has told the end of the turn, and was not heard: it is one request on a quick machine, two on a slow one. */
		const theyMissed = async (how: "500" | "dropped") => {
			const last = await lastMessage(id);
			await eventually(`OpenCode's own share to meet ${how}`, () =>
				theirs.requests.some(
					({ answer, items }) =>
						answer === how && items.some(({ type, data }) => type === "message" && data.id === last && isOver(data)),
				),
			);
			theirs.fail("never");
		};

		const asked = proxy.traffic.requests;
		proxy.retarget((broken.address() as AddressInfo).port);
		proxy.dropConnections();
		theirs.fail("500");
		await opencode.prompt(id, "say: during an HTTP 500");
		await theyMissed("500");
		await eventually("ours to meet it", () => proxy.traffic.requests > asked);
		broken.closeAllConnections();
		broken.close();
		proxy.retarget(ours.port);

		await opencode.prompt(id, "say: in between");
		await theyHave(id, await lastMessage(id));

		theirs.fail("dropped");
		const dropped = proxy.loseNextReply();
		await opencode.prompt(id, "say: during a dropped socket");
		await theyMissed("dropped");
		await dropped;
		proxy.dropConnections();
		await ours.process.kill();
		await opencode.prompt(id, "say: while our server is dead");
		await theyHave(id, await lastMessage(id));
		ours = await lab.server("server", ours.port);

		await opencode.prompt(id, "say: all is well again");
		await theyHave(id, await lastMessage(id));
		expect((await lostByTheirs(id)).length).toBeGreaterThanOrEqual(2);

		expect(await machine.flush()).toMatchObject({ code: 0, drained: true, pending: 0, dead: 0 });
		await machine.expectEqual(id);
		// A 500 that says "not found" is no not_found: the share is the same.
		expect(await shares()).toEqual(before);
	}, 180_000);

	it("SIGKILL right after a prompt returned: OpenCode's own share misses the turn, ours is equal", async () => {
		const id = await sharedSession();
		// Their queue is sent every second: once in a while that falls between the end of the turn and the kill.
		for (let kills = 0; kills === 0 || (kills < KILLS_MAX && (await lostByTheirs(id)).length === 0); kills++) {
			await opencode.prompt(id, "say: the last words");
			await Promise.all([opencode.kill(), agent.kill()]);
			opencode = await start();
			agent = await machine.run("--opencode-url", opencode.url);
			await opencode.prompt(id, "say: after the crash");
			await theyHave(id, await lastMessage(id));
		}
		expect((await lostByTheirs(id)).length).toBeGreaterThanOrEqual(1);

		expect(await machine.flush()).toMatchObject({ code: 0, drained: true, pending: 0 });
		await machine.expectEqual(id);
	}, 180_000);

	it("a message deleted locally: OpenCode's own share keeps it, ours is equal", async () => {
		const id = await sharedSession();
		await opencode.prompt(id, "say: something to regret");
		await theyHave(id, await lastMessage(id));
		const regretted = await lastMessage(id);
		await opencode.deleteMessage(id, regretted);
		await opencode.rename(id, "After the deletion");
		const isRenamed = (data: Record<string, unknown>) => data.id === id && data.title === "After the deletion";
		await eventually("OpenCode's own share to hear of what came after", () =>
			theirs.requests.some(({ items }) => items.some(({ type, data }) => type === "session" && isRenamed(data))),
		);
		expect(await messageIds(id)).not.toContain(regretted);
		expect(theirs.messages(id).has(regretted)).toBe(true);

		expect(await machine.flush()).toMatchObject({ code: 0, drained: true });
		await machine.expectEqual(id);
		const { url } = await machine.share(id);
		const data = await (await fetch(url.replace("/share/", "/api/share/").concat("/data"))).text();
		expect(data).not.toContain(regretted);
	}, 180_000);

	it("leaves no secret in any output, and no file that others can read", () => lab.expectNothingTold());
});
