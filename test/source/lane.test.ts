import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, lstatSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { type Clock, systemClock } from "../../src/model/clock.ts";
import type { LiveText, Ring } from "../../src/source/doorbell.ts";
import { Lane } from "../../src/source/lane.ts";
import { LINE_BYTES_MAX, laneAddress } from "../../src/source/lane-address.ts";
import { discard } from "../evidence/folder.ts";
import { eventually } from "../fixture/cli.ts";

const HELLO = { pid: 4711, version: "1.2.3" };
/** The real clock, of a day that has no long waits. */
const HASTY: Clock = { now: systemClock.now, sleep: (ms, signal) => systemClock.sleep(Math.min(ms, 40), signal) };

const closing: (() => unknown)[] = [];
afterEach(async () => {
	for (const close of closing.splice(0).reverse()) await close();
});

function folder(): string {
	const path = mkdtempSync(join(tmpdir(), "lane-"));
	closing.push(() => discard(path));
	return path;
}

/** A lane that is listened to, with what it heard. */
function listen(dataDir: string, more: { silenceMsMax?: number; clock?: Clock } = {}) {
	const problems: string[] = [];
	const onProblem = (problem: string) => void problems.push(problem);
	const lane = new Lane({ dataDir, hello: HELLO, clock: HASTY, onProblem, ...more });
	const leave = new AbortController();
	const rings: Ring[] = [];
	const texts: LiveText[] = [];
	const over = (async () => {
		for await (const ring of lane.rings(leave.signal, (live) => void texts.push(live))) rings.push(ring);
	})();
	const close = async () => {
		leave.abort();
		await over;
	};
	closing.push(close);
	return { lane, rings, texts, problems, close, open: () => eventually("the lane to open", () => lane.connected) };
}

/** The other end, as anybody could be. */
async function call(dataDir: string): Promise<Socket & { heard: () => string }> {
	const socket = connect(laneAddress(dataDir));
	let heard = "";
	socket.setEncoding("utf8").on("data", (text) => {
		heard += text;
	});
	socket.on("error", () => undefined);
	closing.push(() => socket.destroy());
	await once(socket, "connect");
	return Object.assign(socket, { heard: () => heard });
}

async function occupy(path: string, onPeer: (peer: Socket) => void): Promise<Server> {
	const server = createServer((peer) => {
		peer.on("error", () => undefined);
		closing.push(() => peer.destroy());
		onPeer(peer);
	});
	server.listen(path);
	await once(server, "listening");
	closing.push(() => server.close());
	return server;
}

const LIVE = { session_id: "ses_1", message_id: "msg_1", part_id: "prt_1", field: "text", offset: 0, delta: "Hello" };

describe.skipIf(process.platform === "win32")("the lane", () => {
	it("says who answers, and hears rings and streaming text", async () => {
		const dataDir = folder();
		const { lane, rings, texts, open } = listen(dataDir);
		await open();
		const peer = await call(dataDir);
		await eventually("the hello", () => peer.heard().includes("\n"));
		expect(JSON.parse(peer.heard())).toEqual({ opencode_outbox: { lane: 1, ...HELLO, peers: 0 } });
		peer.write(`${JSON.stringify({ ring: { session_id: "ses_1", directory: "/p", settled: true } })}\n{"live":`);
		peer.write(`${JSON.stringify(LIVE)}}\n`);
		await eventually("both", () => rings.length === 2 && texts.length === 1, { also: () => ({ rings, texts }) });
		// The first one is for what happened before anybody listened.
		expect(rings).toEqual([{ settled: false }, { session_id: "ses_1", directory: "/p", settled: true }]);
		expect(texts).toEqual([LIVE]);
		expect(lane.peers).toBe(1);
		peer.end();
		await eventually("it to be gone", () => lane.peers === 0);
	});

	it("passes over what is no line of it, and goes on with the same peer", async () => {
		const dataDir = folder();
		const { rings, texts, open } = listen(dataDir);
		await open();
		const peer = await call(dataDir);
		const garbage = [
			"",
			"nonsense",
			"null",
			"[]",
			"{}",
			'{"ring":7}',
			'{"ring":{"session_id":""}}',
			`{"ring":{"session_id":"${"s".repeat(200)}"}}`,
			'{"live":{"session_id":"ses_1"}}',
			'{"live":{"session_id":"ses_1","message_id":"m","part_id":"p","field":"text","delta":7}}',
			"\u0000\u0001",
			'{"__proto__":{"ring":{}}}',
		];
		peer.write(`${garbage.join("\n")}\n`);
		peer.write(Buffer.from([0xff, 0xfe, 10]));
		peer.write(`${JSON.stringify({ ring: { session_id: "ses_after" } })}\n`);
		await eventually("the ring behind it", () => rings.length > 1);
		expect(rings.slice(1)).toEqual([{ session_id: "ses_after", settled: false }]);
		expect(texts).toEqual([]);
	});

	it("lets go of a peer whose line has no end, of one that is silent, and of one too many", async () => {
		const dataDir = folder();
		const { lane, open } = listen(dataDir, { silenceMsMax: 1000 });
		await open();
		const endless = await call(dataDir);
		endless.write("x".repeat(LINE_BYTES_MAX + 1));
		await once(endless, "close");
		const silent = await call(dataDir);
		await once(silent, "close");
		await eventually("both to be forgotten", () => lane.peers === 0);
		const many = await Promise.all(Array.from({ length: 300 }, () => call(dataDir)));
		await eventually("some to be refused", () => many.filter((peer) => peer.closed).length >= 44);
		expect(lane.peers).toBeLessThanOrEqual(256);
	});

	it("merges a flood of rings, so that no peer can fill the memory", async () => {
		const dataDir = folder();
		const lane = new Lane({ dataDir, hello: HELLO, clock: HASTY });
		const leave = new AbortController();
		const rings = lane.rings(leave.signal)[Symbol.asyncIterator]();
		closing.push(async () => {
			leave.abort();
			await rings.return(undefined);
		});
		await rings.next();
		const peer = await call(dataDir);
		for (let n = 0; n < 5000; n++) peer.write(`{"ring":{"session_id":"ses_${n}"}}\n`);
		peer.write('{"live":{}}\n');
		await new Promise<void>((resolve) => peer.end(() => resolve()));
		await eventually("it to be read", () => lane.peers === 0);
		leave.abort();
		let heard = 0;
		let nameless = 0;
		for (let next = await rings.next(); !next.done; next = await rings.next()) {
			heard++;
			if (next.value.session_id === undefined) nameless++;
		}
		expect(heard).toBeLessThanOrEqual(1001);
		expect(nameless).toBe(1);
	});

	it("has mode 0600 and leaves nothing behind", async () => {
		const dataDir = folder();
		const { open, close, lane } = listen(dataDir);
		await open();
		expect(statSync(laneAddress(dataDir)).mode & 0o777).toBe(0o600);
		await close();
		expect(existsSync(laneAddress(dataDir))).toBe(false);
		expect(lane.connected).toBe(false);
	});

	it("opens over the socket of an agent that was killed", async () => {
		const dataDir = folder();
		const address = laneAddress(dataDir);
		const script = `require("node:net").createServer().listen(${JSON.stringify(address)},()=>process.kill(process.pid,"SIGKILL"))`;
		await once(spawn(process.execPath, ["-e", script]), "exit");
		expect(lstatSync(address).isSocket()).toBe(true);
		const { open, rings } = listen(dataDir);
		await open();
		const peer = await call(dataDir);
		peer.write('{"ring":{}}\n');
		await eventually("the ring", () => rings.length === 2);
	});

	it("leaves alone whoever listens in its place, hanging or not, and opens when they have gone", async () => {
		const dataDir = folder();
		let heard = 0;
		const foreign = await occupy(laneAddress(dataDir), (peer) => peer.on("data", () => heard++));
		const { lane, open } = listen(dataDir);
		await eventually("it to be noticed", () => lane.problem !== undefined);
		expect(lane.problem).toMatch(/somebody else listens on/);
		await delay(200);
		expect([lane.connected, foreign.listening, heard]).toEqual([false, true, 0]);
		foreign.close();
		await open();
		expect(lane.problem).toBeUndefined();
	});

	it("leaves alone a folder or a file in its place, and opens when it has gone", async () => {
		const dataDir = folder();
		mkdirSync(laneAddress(dataDir));
		writeFileSync(join(laneAddress(dataDir), "precious"), "");
		const { lane, open, problems } = listen(dataDir);
		await eventually("it to be noticed", () => lane.problem !== undefined);
		expect(lane.problem).toMatch(/is no socket/);
		await delay(200);
		expect(problems).toEqual([lane.problem]);
		rmSync(laneAddress(dataDir), { recursive: true });
		await open();
	});

	it("does not open where others could put a socket in its place", async () => {
		const dataDir = folder();
		chmodSync(dataDir, 0o777);
		const { lane } = listen(dataDir);
		await eventually("it to be noticed", () => lane.problem !== undefined);
		expect(lane.problem).toMatch(/others may write/);
		expect(existsSync(laneAddress(dataDir))).toBe(false);
	});

	it("opens again when its socket was taken for rubbish", async () => {
		const dataDir = folder();
		const { open, rings } = listen(dataDir);
		await open();
		rmSync(laneAddress(dataDir));
		await eventually("a socket", () => existsSync(laneAddress(dataDir)));
		const peer = await call(dataDir);
		peer.write('{"ring":{"session_id":"ses_again"}}\n');
		await eventually("the ring", () => rings.some(({ session_id }) => session_id === "ses_again"));
	});

	it("is found below a data directory of any length, the same by both ends", async () => {
		const dataDir = join(folder(), "long".repeat(40));
		mkdirSync(dataDir, { mode: 0o700 });
		const address = laneAddress(dataDir);
		expect(Buffer.byteLength(address)).toBeLessThanOrEqual(100);
		expect(address).toMatch(/^\/tmp\/opencode-outbox-\d+\/[0-9a-f]{24}\.sock$/);
		expect(laneAddress(join(dataDir, "..", "long".repeat(40)))).toBe(address);
		expect(laneAddress(`${dataDir}x`)).not.toBe(address);
		const { open, rings } = listen(dataDir);
		await open();
		const peer = await call(dataDir);
		peer.write('{"ring":{}}\n');
		await eventually("the ring", () => rings.length === 2);
	});
});
