import { once } from "node:events";
import { chmodSync, copyFileSync, renameSync, writeFileSync } from "node:fs";
import { get } from "node:https";
import { connect as dial, type Socket } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { connect as dialTls, type PeerCertificate, type TLSSocket } from "node:tls";
import { describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { type Clock, systemClock } from "../../src/model/clock.ts";
import { CERTIFICATE_LOOK_MS } from "../../src/server/certificate.ts";
import type { ShareServerOptions } from "../../src/server/node.ts";
import { makeCertificate } from "../fixture/certificate.ts";
import { tempFolder } from "../outbox/fixture.ts";
import { type NodeHost, recordingLogger, startHost } from "./host.ts";

async function hostWith(options: Partial<ShareServerOptions>): Promise<NodeHost> {
	const host = await startHost(options);
	onTestFinished(() => host.close());
	return host;
}

/** A request over TLS, with its headers. */
async function ask(url: string, ca: string) {
	const request = get(url, { ca, agent: false });
	const [response] = await once(request, "response");
	return { status: response.statusCode, headers: response.headers, body: await text(response) };
}

/** The name in the certificate that a handshake is made with now. */
async function nameAt(port: number): Promise<string> {
	const socket: TLSSocket = dialTls({ port, host: "127.0.0.1", rejectUnauthorized: false });
	await once(socket, "secureConnect");
	const { subject }: PeerCertificate = socket.getPeerCertificate();
	socket.destroy();
	return String(subject.CN);
}

describe("over TLS", () => {
	test("requests and WebSockets are answered on one port, and browsers are told to come over TLS only", async () => {
		const files = await makeCertificate(tempFolder());
		const host = await hostWith({ tls: files });
		expect(host.url).toBe(`https://127.0.0.1:${host.port}`);
		const { status, headers } = await ask(`${host.url}/health`, files.cert);
		expect([status, headers["strict-transport-security"]]).toEqual([200, "max-age=31536000"]);
		const socket = new WebSocket(`wss://127.0.0.1:${host.port}/rpc`, { ca: files.cert });
		await once(socket, "open");
		socket.terminate();
	});

	test("who speaks plain HTTP is told at once what to do", async () => {
		const host = await hostWith({ tls: await makeCertificate(tempFolder()) });
		const response = await fetch(`http://127.0.0.1:${host.port}/health`);
		expect([response.status, await response.text()]).toEqual([400, expect.stringContaining("Use https://")]);
	});

	test("TLS below 1.2 is refused", async () => {
		const host = await hostWith({ tls: await makeCertificate(tempFolder()) });
		const old = { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "ALL@SECLEVEL=0" } as const;
		const socket = dialTls({ port: host.port, host: "127.0.0.1", rejectUnauthorized: false, ...old });
		const [error] = await once(socket, "error");
		expect(String(error.code)).toMatch(/PROTOCOL/);
	});

	test("a close does not wait for who has not begun to speak, or is in the middle of a handshake", async () => {
		const host = await hostWith({ tls: await makeCertificate(tempFolder()) });
		const sockets: Socket[] = [dial(host.port, "127.0.0.1"), dial(host.port, "127.0.0.1")];
		await Promise.all(sockets.map((socket) => once(socket, "connect")));
		sockets[1]?.write(Buffer.from([0x16, 3, 1]));
		await nameAt(host.port);
		const ends = sockets.map((socket) =>
			once(
				socket.on("error", () => undefined),
				"close",
			),
		);
		await host.stop();
		await Promise.all(ends);
	});

	test("a renewed certificate is taken up; one that is of no use is told, and the old one stays", async () => {
		const [folder, other] = [tempFolder(), tempFolder()];
		const files = await makeCertificate(folder, { name: "first.example" });
		const logger = recordingLogger();
		const host = await hostWith({ tls: files, logger });
		expect(await nameAt(host.port)).toBe("first.example");
		const next = await makeCertificate(other, { name: "second.example" });
		copyFileSync(next.certPath, files.certPath);
		host.renew();
		expect(await nameAt(host.port)).toBe("first.example");
		expect(logger.lines.filter(({ level }) => level === "error")).toEqual([
			expect.objectContaining({ facts: { err: expect.stringContaining("is not the key of the certificate") } }),
		]);
		copyFileSync(next.keyPath, files.keyPath);
		host.renew();
		expect(await nameAt(host.port)).toBe("second.example");
	});

	test("a change of the files is found without a signal", async () => {
		const [folder, other] = [tempFolder(), tempFolder()];
		const files = await makeCertificate(folder, { name: "first.example" });
		const looks: (() => void)[] = [];
		const sleep: Clock["sleep"] = (ms, signal) =>
			ms === CERTIFICATE_LOOK_MS ? new Promise((resolve) => looks.push(resolve)) : systemClock.sleep(ms, signal);
		const host = await hostWith({ tls: files, clock: { now: Date.now, sleep } });
		const next = await makeCertificate(other, { name: "second.example" });
		// As a volume of secrets does it: the name is another file all at once.
		renameSync(next.keyPath, files.keyPath);
		renameSync(next.certPath, files.certPath);
		looks.shift()?.();
		await expect.poll(() => nameAt(host.port)).toBe("second.example");
		for (const look of looks) look();
	});

	test("what cannot be served with is refused before anything listens", async () => {
		const [folder, other] = [tempFolder(), tempFolder()];
		const files = await makeCertificate(folder);
		const { keyPath } = await makeCertificate(other);
		const DAY_MS = 86_400_000;
		const old = await makeCertificate(join(folder, "old"), { from: 0, until: Date.now() - DAY_MS });
		const early = await makeCertificate(join(folder, "early"), { from: Date.now() + DAY_MS });
		const open = await makeCertificate(join(folder, "open"));
		chmodSync(open.keyPath, 0o644);
		const none = join(folder, "none.pem");
		writeFileSync(none, "no certificate", { mode: 0o600 });
		for (const [tls, said] of [
			[{ ...files, keyPath }, "is not the key"],
			[old, "has expired"],
			[early, "is not valid before"],
			[open, "mode 0644"],
			[{ ...files, certPath: none }, "is none"],
			[{ ...files, keyPath: none }, "is none"],
			[{ ...files, keyPath: join(folder, "nowhere") }, "cannot be read"],
		] as const)
			await expect(startHost({ tls })).rejects.toMatchObject({
				code: "config",
				message: expect.stringContaining(said),
			});
	});

	test("a server that others reach takes TLS or a proxy", async () => {
		await expect(startHost({ host: "0.0.0.0" })).rejects.toMatchObject({ code: "config" });
	});
});
