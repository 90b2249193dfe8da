import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import { type FaultProxy, startProxy } from "../fixture/proxy.ts";
import { RequestHeads } from "../fixture/request-heads.ts";

/** A proxy before a server that sends back what it gets, and counts it. */
async function openEcho(): Promise<{ proxy: FaultProxy; served: { bytes: number } }> {
	const served = { bytes: 0 };
	const server = createServer((socket) => {
		socket.on("error", () => undefined);
		socket.on("data", (chunk) => {
			served.bytes += chunk.length;
			socket.write(chunk);
		});
	});
	server.listen(0, "127.0.0.1");
	await once(server, "listening");
	const proxy = await startProxy({ targetPort: (server.address() as AddressInfo).port });
	onTestFinished(async () => {
		await proxy.close();
		server.close();
	});
	return { proxy, served };
}

async function dial(proxy: FaultProxy): Promise<Socket> {
	const socket = connect(proxy.port, "127.0.0.1");
	socket.on("error", () => undefined);
	onTestFinished(() => void socket.destroy());
	await once(socket, "connect");
	return socket;
}

/** Resolves when `socket` is closed, be it by an error. */
function closing(socket: Socket): Promise<void> {
	return new Promise((resolve) => {
		if (socket.closed) resolve();
		else socket.once("close", () => resolve());
	});
}

async function read(socket: Socket, bytes: number): Promise<string> {
	let text = "";
	while (text.length < bytes) text += String((await once(socket, "data"))[0]);
	return text;
}

describe("the fault proxy", () => {
	test("carries both ways, keeps order under a changing latency, and counts", async () => {
		const { proxy } = await openEcho();
		const socket = await dial(proxy);
		proxy.faults.latencyMs = 40;
		socket.write("slow ");
		await proxy.until((traffic) => traffic.to_server === 5);
		proxy.faults.latencyMs = 0;
		socket.write("fast");
		expect(await read(socket, 9)).toBe("slow fast");
		expect(proxy.traffic).toMatchObject({ connections: 1, open: 1, to_server: 9, to_client: 9 });
	});

	test("carries no more than its bandwidth each way, over all connections together, and holds up the sender", async () => {
		const { proxy, served } = await openEcho();
		const [one, two] = [await dial(proxy), await dial(proxy)];
		proxy.faults.bytesPerSecond = 200_000;
		const startedAt = performance.now();
		const text = "x".repeat(50_000);
		one.write(text);
		two.write(text);
		await Promise.all([read(one, 50_000), read(two, 50_000)]);
		const tookMs = performance.now() - startedAt;
		// Both ways at once: what has passed to the server is on its way back meanwhile.
		expect(tookMs).toBeGreaterThan(490);
		expect(tookMs).toBeLessThan(1500);
		one.write("y".repeat(4_000_000));
		await proxy.until((traffic) => traffic.to_server > 110_000);
		await new Promise((resolve) => setTimeout(resolve, 200));
		// It reads ahead by a pipe and a chunk, not by what there is.
		expect(proxy.traffic.to_server - served.bytes).toBeLessThan(150_000);
	});

	test.each(["to_server", "to_client"] as const)(
		"cuts %s after exactly the bytes it was told, once",
		async (direction) => {
			const { proxy, served } = await openEcho();
			const socket = await dial(proxy);
			socket.write("0123456789");
			await read(socket, 10);
			const cut = proxy.cutAfter(direction, 4);
			const arrived: Buffer[] = [];
			socket.on("data", (chunk) => arrived.push(chunk));
			socket.write("abcdefghij");
			await Promise.all([cut, closing(socket)]);
			if (direction === "to_server") expect(served.bytes).toBe(14);
			else expect(Buffer.concat(arrived).toString()).toBe("abcd");
			const again = await dial(proxy);
			again.write("0123456789");
			expect(await read(again, 10)).toBe("0123456789");
		},
	);

	test("delivers requests and loses replies, for good on that connection", async () => {
		const { proxy, served } = await openEcho();
		const socket = await dial(proxy);
		proxy.faults.swallowReplies = true;
		socket.write("lost");
		await proxy.until((traffic) => traffic.repliesLost === 4);
		expect(served.bytes).toBe(4);
		proxy.faults.swallowReplies = false;
		socket.write("lost too");
		await proxy.until((traffic) => traffic.repliesLost === 12);
		expect(socket.bytesRead).toBe(0);
	});

	test("loses one reply with its connection", async () => {
		const { proxy, served } = await openEcho();
		const socket = await dial(proxy);
		const lost = proxy.loseNextReply();
		socket.write("short");
		expect(await read(socket, 5)).toBe("short");
		socket.write("x".repeat(16));
		await Promise.all([lost, closing(socket)]);
		expect(served.bytes).toBe(21);
		expect(socket.bytesRead).toBe(5);
	});

	test("is a black hole that closes nothing, and stays one for what lost bytes", async () => {
		const { proxy, served } = await openEcho();
		const [before, idle] = [await dial(proxy), await dial(proxy)];
		proxy.faults.blackHole = true;
		before.write("gone");
		await proxy.until((traffic) => traffic.to_server === 4);
		proxy.faults.blackHole = false;
		idle.write("here");
		expect(await read(idle, 4)).toBe("here");
		before.write("gone");
		await proxy.until((traffic) => traffic.to_server === 12);
		expect(served.bytes).toBe(4);
		expect(before.readyState).toBe("open");
	});

	test("refuses, drops and closes", async () => {
		const { proxy } = await openEcho();
		const first = await dial(proxy);
		await proxy.until((traffic) => traffic.open === 1);
		expect(proxy.dropConnections()).toBe(1);
		await closing(first);
		proxy.faults.refuse = true;
		await closing(connect(proxy.port, "127.0.0.1").on("error", () => undefined));
		proxy.faults.refuse = false;
		const last = await dial(proxy);
		await proxy.until((traffic) => traffic.connections === 3);
		await Promise.all([closing(last), proxy.close()]);
		await proxy.close();
	});
});

test("request heads are found in any pieces, and not in bodies or after an upgrade", () => {
	const stream = [
		"POST /a HTTP/1.1\r\nContent-Length: 28\r\n\r\nGET /body HTTP/1.1\r\na: b\r\n\r\n",
		"GET /b HTTP/1.1\r\nupgrade: websocket\r\n\r\n",
		"GET /c HTTP/1.1\r\n\r\n",
	].join("");
	for (const size of [1, 7, 50, 1000]) {
		const heads = new RequestHeads();
		const found = [];
		for (let from = 0; from < stream.length; from += size)
			found.push(...heads.feed(Buffer.from(stream.slice(from, from + size))));
		expect(found).toEqual([
			{ method: "POST", path: "/a", upgrade: false },
			{ method: "GET", path: "/b", upgrade: true },
		]);
	}
});
