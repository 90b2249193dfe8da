import { once } from "node:events";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { secret } from "../evidence/record.ts";
import { after } from "../outbox/fixture.ts";
import { connect as connectTo, createKey } from "../server/client.ts";
import { ended, firstLine, type Machine, machine } from "./lab.ts";

async function serve(home: Machine, ...args: string[]) {
	const child = home.start(["serve", "--port", "0", "--json", ...args]);
	const { url, pid, key_file } = JSON.parse(await firstLine(child));
	return { child, url: url as string, pid: pid as number, keyFile: key_file as string };
}

test("it serves, says where and where its key is, and stops well on SIGTERM", async () => {
	const home = machine();
	const { child, url, pid, keyFile } = await serve(home);
	const output = ended(child);
	expect(pid).toBe(child.pid);
	expect(keyFile).toBe(join(home.dataDir, "server", "key"));
	expect(statSync(keyFile).mode & 0o777).toBe(0o600);
	expect(await (await fetch(`${url}/health`)).json()).toMatchObject({ status: "ok" });
	child.kill("SIGTERM");
	const { code, stdout, stderr } = await output;
	expect(code).toBe(0);
	const key = readFileSync(keyFile, "utf8").trim();
	expect(stdout + stderr).not.toContain(key);
	// The key stays from start to start.
	const again = await serve(home);
	expect(readFileSync(keyFile, "utf8").trim()).toBe(key);
	again.child.kill("SIGINT");
	expect((await once(again.child, "exit"))[0]).toBe(0);
});

test("for people it prints how an agent uses it, and not the key", async () => {
	const home = machine();
	const keyFile = join(home.home, "key");
	const key = "some-key-of-my-own-that-is-long-enough";
	writeFileSync(keyFile, key, { mode: 0o600 });
	const child = home.start(["serve", "--port", "0", "--server-key-file", "key"]);
	const output = ended(child);
	const line = await firstLine(child);
	child.kill("SIGTERM");
	const { code, stdout, stderr } = await output;
	expect([code, line]).toEqual([0, expect.stringMatching(/^Share server: http:\/\/127\.0\.0\.1:\d+$/)]);
	expect(stdout).toContain(`opencode-outbox run --server http://127.0.0.1:`);
	expect(stdout).toContain(`--server-key-file ${keyFile}`);
	expect(stdout + stderr).not.toContain(key);
});

test("a second signal does not wait for what is under way", async () => {
	const { child, url } = await serve(machine());
	// A request that never ends keeps a graceful stop waiting.
	const { port } = new URL(url);
	const socket = connect(Number(port), "127.0.0.1");
	after(() => socket.destroy());
	socket.on("error", () => undefined);
	await once(socket, "connect");
	socket.write("POST /rpc HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf");
	expect(await (await fetch(`${url}/health`)).json()).toMatchObject({ status: "ok" });
	const startedAt = Date.now();
	child.kill("SIGTERM");
	await expect(until(() => refuses(url))).resolves.toBeUndefined();
	child.kill("SIGTERM");
	expect((await once(child, "exit"))[0]).toBe(0);
	expect(Date.now() - startedAt).toBeLessThan(4000);
});

test("OpenCode's own share makes shares on it only when that is turned on", async () => {
	const create = async (url: string) => {
		const headers = { "content-type": "application/json" };
		const response = await fetch(`${url}/api/share`, { method: "POST", headers, body: '{"sessionID":"ses_1"}' });
		return response.status;
	};
	expect(await create((await serve(machine())).url)).toBe(403);
	expect(await create((await serve(machine(), "--opencode-share", "on")).url)).toBe(200);
	const { code, stderr } = await machine().cli(["serve", "--port", "0", "--opencode-share", "yes"]);
	expect([code, stderr]).toEqual([64, expect.stringContaining("expected off or on")]);
});

test("a port that is taken ends with 69 and says which", async () => {
	const server = createServer().listen(0, "127.0.0.1");
	after(() => server.close());
	await once(server, "listening");
	const { port } = server.address() as AddressInfo;
	const { code, stderr } = await machine().cli(["serve", "--port", String(port), "--log-level", "silent"]);
	expect([code, stderr]).toEqual([69, expect.stringContaining(`127.0.0.1:${port}`)]);
});

test("two of them on one folder: the second says who has it", async () => {
	const home = machine();
	const { pid } = await serve(home);
	const { code, stderr } = await home.cli(["serve", "--port", "0"]);
	expect([code, stderr]).toEqual([75, expect.stringContaining(`pid ${pid}`)]);
});

test("a host that others reach is refused without TLS or a proxy, and says what to do", async () => {
	for (const host of ["0.0.0.0", "::", "example.com"]) {
		const { code, stderr } = await machine().cli(["serve", "--host", host]);
		expect([code, stderr]).toEqual([
			64,
			expect.stringMatching(/neither TLS nor a proxy[\s\S]*--tls-cert[\s\S]*--trusted-proxy/),
		]);
	}
});

test("flags of TLS that do not fit are refused with what to do", async () => {
	for (const [args, status, said] of [
		[["--tls-cert", "cert.pem"], 64, "--tls-key"],
		[["--tls-key", "key.pem"], 64, "--tls-cert"],
		[["--tls-cert", "none.pem", "--tls-key", "none.pem"], 78, "none.pem cannot be read"],
		[["--trusted-proxy", "proxy.example"], 64, "expected networks"],
		[["--trusted-proxy", "0.0.0.0/0"], 64, "everybody is no proxy"],
	] as const) {
		const { code, stderr } = await machine().cli(["serve", "--port", "0", ...args]);
		expect([args, code, stderr]).toEqual([args, status, expect.stringContaining(said)]);
	}
});

test("it keeps to the quotas that are set", async () => {
	const { url, keyFile } = await serve(machine(), "--owner-shares-max", "1");
	const key = readFileSync(keyFile, "utf8").trim();
	const { api, close } = await connectTo(url);
	const create = () => api.createShare(key, { session_id: "ses_1", create_key: createKey() });
	secret("share secret", (await create()).secret);
	await expect(create()).rejects.toMatchObject({
		code: "over_quota",
		message: expect.stringContaining("lets one have 1"),
	});
	await close();
});

test("a wrong public address or key file is refused before anything listens", async () => {
	const home = machine();
	expect((await home.cli(["serve", "--public-url", "share.example.com"])).code).toBe(64);
	const { code, stderr } = await home.cli(["serve", "--port", "0", "--server-key-file", "none"]);
	expect([code, stderr]).toEqual([78, expect.stringContaining(join(home.home, "none"))]);
});

async function refuses(url: string): Promise<boolean> {
	return await fetch(`${url}/health`).then(
		() => false,
		() => true,
	);
}

async function until(claim: () => Promise<boolean>): Promise<void> {
	while (!(await claim())) await new Promise((resolve) => setTimeout(resolve, 20));
}
