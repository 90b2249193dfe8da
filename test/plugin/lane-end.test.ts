import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { systemClock } from "../../src/model/clock.ts";
import { LaneEnd } from "../../src/plugin/lane-end.ts";
import type { LiveText, Ring } from "../../src/source/doorbell.ts";
import { Lane } from "../../src/source/lane.ts";
import { helloLine, laneAddress } from "../../src/source/lane-address.ts";
import { discard } from "../evidence/folder.ts";
import { eventually } from "../fixture/cli.ts";

const HELLO = { pid: 4711, version: "1.2.3" };
const closing: (() => unknown)[] = [];
afterEach(async () => {
	for (const close of closing.splice(0).reverse()) await close();
});

function folder(): string {
	const path = mkdtempSync(join(tmpdir(), "lane-end-"));
	closing.push(() => discard(path));
	return path;
}

function agentIn(dataDir: string) {
	const lane = new Lane({ dataDir, hello: HELLO, clock: systemClock });
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
	return { lane, rings, texts, close, open: () => eventually("the lane to open", () => lane.connected) };
}

function endIn(dataDir: string): LaneEnd {
	const end = new LaneEnd(laneAddress(dataDir));
	closing.push(() => end.close());
	return end;
}

/** Somebody else who listens where the agent should. */
async function stranger(dataDir: string, onPeer: (peer: Socket) => void): Promise<void> {
	const server = createServer((peer) => {
		peer.on("error", () => undefined);
		closing.push(() => peer.destroy());
		onPeer(peer);
	});
	server.listen(laneAddress(dataDir));
	await once(server, "listening");
	closing.push(() => server.close());
}

const nobody = () => undefined;
const live = (delta: string): LiveText => ({
	session_id: "ses_1",
	message_id: "msg_1",
	part_id: "prt_1",
	field: "text",
	offset: 0,
	delta,
});

describe.skipIf(process.platform === "win32")("OpenCode's end of the lane", () => {
	it("tells an agent the rings, merged by session, and every piece of text in order", async () => {
		const dataDir = folder();
		const { rings, texts, open } = agentIn(dataDir);
		await open();
		const end = endIn(dataDir);
		expect(await end.connect(nobody)).toBe("agent");
		for (let n = 0; n < 300; n++) {
			end.ring({ session_id: "ses_1", settled: n === 17 });
			end.live(live(`word ${n} `));
		}
		await eventually("the text", () => texts.length === 300);
		await eventually("the ring", () => rings.some(({ settled }) => settled));
		expect(texts.map(({ delta }) => delta)).toEqual(Array.from({ length: 300 }, (_, n) => `word ${n} `));
		// One for the opening; a handful at most for what may have been gathered in several goes.
		expect(rings.length).toBeLessThan(10);
	});

	it("tells when the agent goes, and finds the next one", async () => {
		const dataDir = folder();
		const first = agentIn(dataDir);
		await first.open();
		const end = endIn(dataDir);
		const lost = Promise.withResolvers<void>();
		expect(await end.connect(lost.resolve)).toBe("agent");
		await first.close();
		await lost.promise;
		expect(end.connected).toBe(false);
		end.ring({ settled: false });
		expect(await end.connect(nobody)).toBe("nobody");
		await agentIn(dataDir).open();
		expect(await end.connect(nobody)).toBe("agent");
	});

	it("tells nobody anything who is no agent: who says something else, nothing, too much, or hangs up", async () => {
		for (const greet of [
			(peer: Socket) => void peer.write("220 mail.example ready\r\n"),
			(peer: Socket) => void peer.write('{"opencode_outbox":{"lane":2,"pid":1,"version":"9"}}\n'),
			(peer: Socket) => void peer.write("x".repeat(100_000)),
			(peer: Socket) => void peer.end(),
			nobody,
		]) {
			const dataDir = folder();
			let told = "";
			await stranger(dataDir, (peer) => {
				peer.on("data", (chunk) => {
					told += chunk;
				});
				greet(peer);
			});
			const end = endIn(dataDir);
			expect(await end.connect(nobody)).toBe("stranger");
			end.ring({ settled: true });
			end.live(live("a secret"));
			end.close();
			expect([end.connected, told]).toEqual([false, ""]);
		}
	}, 30_000);

	it("finds nobody in a folder that others may write to, nor where there is none", async () => {
		const dataDir = folder();
		await agentIn(dataDir).open();
		chmodSync(dataDir, 0o777);
		expect(await endIn(dataDir).connect(nobody)).toBe("nobody");
		expect(await endIn(join(dataDir, "not", "there")).connect(nobody)).toBe("nobody");
		const blocked = folder();
		mkdirSync(laneAddress(blocked));
		expect(await endIn(blocked).connect(nobody)).toBe("nobody");
	});

	it("holds half a MiB at most for an agent that does not read", async () => {
		const dataDir = folder();
		let there: Socket | undefined;
		await stranger(dataDir, (peer) => {
			there = peer;
			peer.write(helloLine(HELLO));
			peer.pause();
		});
		const end = endIn(dataDir);
		expect(await end.connect(nobody)).toBe("agent");
		const before = process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed;
		for (let n = 0; n < 200; n++) {
			for (let m = 0; m < 50; m++) {
				end.live(live("x".repeat(4000)));
				end.ring({ session_id: `ses_${n}_${m}`, settled: false });
			}
			await new Promise((resolve) => setTimeout(resolve, 2));
		}
		const grown = process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed - before;
		expect(there?.destroyed).toBe(false);
		// Of 40 MB that were to be told; the rest is what the test itself leaves to be collected.
		expect(grown).toBeLessThan(25_000_000);
		expect(end.waitingBytes).toBeLessThan(1024 * 1024);
	}, 30_000);

	it("costs next to nothing per event", async () => {
		const dataDir = folder();
		const end = endIn(dataDir);
		const { open } = agentIn(dataDir);
		await open();
		await end.connect(nobody);
		const startedAt = performance.now();
		for (let n = 0; n < 20_000; n++) {
			end.ring({ session_id: "ses_1", settled: false });
			end.live(live("word "));
		}
		const each = ((performance.now() - startedAt) * 1000) / 20_000;
		console.log(`an event of OpenCode's costs ${each.toFixed(1)} µs at its end of the lane`);
		expect(each).toBeLessThan(1000);
	});
});
