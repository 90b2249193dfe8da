import { once } from "node:events";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { connect } from "node:tls";
import { expect, test } from "vitest";
import type { CertificateFiles } from "../../src/server/certificate.ts";
import { makeCertificate } from "../fixture/certificate.ts";
import { after, append, message } from "../outbox/fixture.ts";
import { OpencodeDatabase } from "../source/opencode-database.ts";
import { firstLine, machine } from "./lab.ts";

/** A machine with something to send over TLS, and the server that it goes to, which trusts nobody's authority but its own. */
async function scene(before: "own certificate" | "proxy that refuses upgrades" = "own certificate") {
	const [host, home] = [machine(), machine()];
	const files = await makeCertificate(join(host.home, "tls"));
	const own = ["--tls-cert", files.certPath, "--tls-key", files.keyPath];
	const isProxied = before !== "own certificate";
	const child = host.start(["serve", "--port", "0", "--json", ...(isProxied ? ["--trusted-proxy", "127.0.0.1"] : own)]);
	const { url, key_file } = JSON.parse(await firstLine(child)) as { url: string; key_file: string };
	const through = isProxied ? await proxyTo(url, files) : url;
	const opencode = await OpencodeDatabase.create(join(home.home, "opencode.db"));
	after(() => opencode.sql.close());
	const outbox = await home.openOutbox();
	append(outbox, [message("e1", "m1")], 1000, "ses_1");
	outbox.close();
	const [ca, keyFile] = [join(home.home, "ca.pem"), join(home.home, "key")];
	writeFileSync(ca, files.cert);
	writeFileSync(keyFile, readFileSync(key_file, "utf8"), { mode: 0o600 });
	const flags = ["--server", through, "--server-key-file", keyFile, "--opencode-db", opencode.path];
	const cli = (args: string[], env: Record<string, string> = {}) => home.cli([...args, ...flags], env);
	return { home, cli, flags, trusted: { NODE_EXTRA_CA_CERTS: ca } };
}

/** A reverse proxy that speaks TLS and forwards requests, but no upgrade. */
async function proxyTo(url: string, { certPath, keyPath }: CertificateFiles): Promise<string> {
	const proxy = createServer({ cert: readFileSync(certPath), key: readFileSync(keyPath) }, (incoming, outgoing) => {
		const headers = { ...incoming.headers, "x-forwarded-proto": "https", "x-forwarded-for": "203.0.113.7" };
		const { method } = incoming;
		const forwarded = request(`${url}${incoming.url}`, { method, headers }, (answer) => {
			outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
			answer.pipe(outgoing);
		});
		incoming.pipe(forwarded);
	});
	proxy.on("upgrade", (_, socket) => socket.end("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"));
	await once(proxy.listen(0, "127.0.0.1"), "listening");
	after(() => {
		proxy.close();
		proxy.closeAllConnections();
	});
	return `https://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
}

test("a certificate that is not trusted is a person's job; nothing is sent, nothing lost, and a CA of one's own mends it", async () => {
	const { home, cli, trusted } = await scene();
	const failed = await cli(["flush", "--timeout", "10s"]);
	expect([failed.code, failed.stderr]).toEqual([77, expect.stringMatching(/not trusted[\s\S]*NODE_EXTRA_CA_CERTS/)]);
	const { stdout } = await home.cli(["status", "--json"]);
	expect(JSON.parse(stdout)).toMatchObject({ outbox: { pending: 1, dead: 0 } });
	const doctor = await cli(["doctor"]);
	expect(doctor.stdout).toMatch(/not trusted here \(DEPTH_ZERO_SELF_SIGNED_CERT\)[\s\S]*NODE_EXTRA_CA_CERTS/);
	const sent = await cli(["flush", "--timeout", "10s"], trusted);
	expect([sent.stderr, sent.code]).toEqual(["", 0]);
	expect(JSON.parse((await home.cli(["status", "--json"])).stdout)).toMatchObject({ outbox: { pending: 0, dead: 0 } });
});

test("where a proxy refuses upgrades, it is sent over HTTPS", async () => {
	const { home, cli, trusted } = await scene("proxy that refuses upgrades");
	const failed = await cli(["flush", "--timeout", "10s"]);
	expect([failed.code, failed.stderr]).toEqual([77, expect.stringContaining("not trusted")]);
	const sent = await cli(["flush", "--timeout", "20s"], trusted);
	expect([sent.stderr, sent.code]).toEqual(["", 0]);
	expect(JSON.parse((await home.cli(["status", "--json"])).stdout)).toMatchObject({ outbox: { pending: 0 } });
});

test("SIGHUP has a renewed certificate read at once, and ends nothing", async () => {
	const host = machine();
	const [old, next] = [join(host.home, "tls"), join(host.home, "renewed")];
	const { certPath, keyPath } = await makeCertificate(old, { name: "first.example" });
	const child = host.start(["serve", "--port", "0", "--json", "--tls-cert", certPath, "--tls-key", keyPath]);
	const { port } = new URL(JSON.parse(await firstLine(child)).url);
	const name = async () => {
		const socket = connect({ port: Number(port), host: "127.0.0.1", rejectUnauthorized: false });
		await once(socket, "secureConnect");
		const { subject } = socket.getPeerCertificate();
		socket.destroy();
		return subject.CN;
	};
	expect(await name()).toBe("first.example");
	const renewed = await makeCertificate(next, { name: "second.example" });
	renameSync(renewed.keyPath, keyPath);
	renameSync(renewed.certPath, certPath);
	child.kill("SIGHUP");
	await expect.poll(name, { timeout: 5000 }).toBe("second.example");
	expect(child.exitCode).toBeNull();
});

test("an agent that does not trust the server shows it in status, under what needs a person", async () => {
	const { home, flags } = await scene();
	await firstLine(home.start(["run", "--json", ...flags]));
	for (;;) {
		const { stdout, code } = await home.cli(["status", "--json"]);
		const { server, attention } = JSON.parse(stdout);
		if (server.state !== "untrusted") continue;
		expect(code).toBe(1);
		expect(attention).toContainEqual({
			session_id: null,
			what: expect.stringContaining("DEPTH_ZERO_SELF_SIGNED_CERT"),
			next: expect.stringContaining("NODE_EXTRA_CA_CERTS"),
		});
		return;
	}
});
