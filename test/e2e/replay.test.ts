import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { AppendBatch, RevokeRequest } from "../../src/protocol/schema.ts";
import { eventually } from "../fixture/cli.ts";
import type { Opencode } from "../fixture/opencode.ts";
import type { FaultProxy } from "../fixture/proxy.ts";
import { GRANT, redemptionOf, type ScriptedServer, startScriptedServer } from "../fixture/scripted-server.ts";
import { rotation } from "../server/client.ts";
import { freePort, Lab, type Machine, rowsOf, type Server } from "./lab.ts";

const lab = new Lab();
let opencode: Opencode;
let server: Server;
let proxy: FaultProxy;
let scripted: ScriptedServer;

beforeAll(async () => {
	[opencode, server, scripted] = await Promise.all([lab.opencode(), lab.server(), startScriptedServer()]);
	proxy = await lab.proxy(server.port);
});
afterAll(async () => {
	await lab.close();
	await scripted?.close();
});

/** A machine that shares only what it is asked to, over the proxy. */
function machineOverProxy(name: string, settings: Record<string, string> = {}): Machine {
	const over = { url: proxy.url, keyFile: server.keyFile };
	return lab.machine(name, opencode, over, { OPENCODE_OUTBOX_SHARE: "manual", ...settings });
}

async function sessionWith(text: string): Promise<string> {
	const { id } = await opencode.createSession();
	await opencode.prompt(id, `say: ${text}`);
	return id;
}

function batchesOf(machine: Machine): Promise<{ batch_id: string; digest: string; first_position: number }[]> {
	return machine.rows(
		"SELECT batch_id, digest, depends, ops, bytes, first_position FROM batch ORDER BY first_position",
	);
}

/** Sealed, unacked ops with their bytes. */
function sealedOps(machine: Machine): Promise<{ id: number; op_id: string; payload: string }[]> {
	return machine.rows(`
		SELECT op.id, op_id, type, key, payload, hash FROM op JOIN batch ON op.id BETWEEN first_id AND last_id
		ORDER BY op.id`);
}

describe("a restart of the agent with sealed, unacked batches", () => {
	it("sends the same batch_id and the same bytes again, seen on the wire", async () => {
		const id = await sessionWith("the same bytes");
		lab.secret(GRANT.secret);
		const keyFile = server.keyFile;
		const machine = lab.machine("wire", opencode, { url: scripted.url, keyFile }, { OPENCODE_OUTBOX_SHARE: "manual" });
		const seen: AppendBatch[] = [];
		let isAnswering = false;
		let cursor = 0;
		scripted.script.redemption = (shareId) => ({ ...redemptionOf(shareId, cursor), session_id: id });
		scripted.script.appendOps = (batch) => {
			seen.push(structuredClone(batch));
			if (!isAnswering) return new Promise(() => undefined);
			cursor = (batch.ops.at(-1)?.expected_cursor ?? -1) + 1;
			return { cursor, applied: batch.ops.map((op) => op.op_id), duplicates: [], rejected: [] };
		};

		const first = await machine.run();
		const asking = machine.start("share", "--timeout", "60s", id);
		await eventually("the first sending", () => seen.length > 0);
		const sealed = await batchesOf(machine);
		await Promise.all([first.kill(), asking.kill()]);
		const sentBefore = [...seen];
		expect(await batchesOf(machine)).toEqual(sealed);

		isAnswering = true;
		const second = await machine.run();
		await machine.untilSent();
		const again = seen.slice(sentBefore.length).slice(0, sentBefore.length);
		expect(again).toEqual(sentBefore);
		expect(sealed.map(({ batch_id }) => batch_id)).toEqual(sentBefore.map(({ batch_id }) => batch_id));
		await second.stop();
	}, 60_000);

	it("does not apply twice what had arrived: the server's ledger holds each op once", async () => {
		const id = await sessionWith("its reply is lost");
		const machine = machineOverProxy("lost-reply");
		const first = await machine.run();
		const { share_id } = await machine.share(id);
		const ledger = () =>
			rowsOf<{ op_id: string; position: number }>(
				server.database,
				"SELECT op_id, position FROM ledger WHERE share_id = ? ORDER BY position",
				share_id,
			);
		const before = (await ledger()).length;
		proxy.faults.swallowReplies = true;
		await opencode.prompt(id, "say: a turn whose acks are lost");
		await eventually("the server to apply what nobody acknowledges", async () => (await ledger()).length > before);
		await machine.until("an unacked batch", "SELECT 1 FROM batch");
		await first.kill();
		const sealed = await batchesOf(machine);
		const ops = await sealedOps(machine);
		expect(sealed.length).toBeGreaterThan(0);

		proxy.faults.swallowReplies = false;
		const second = await machine.run();
		expect(await machine.flush()).toMatchObject({ code: 0, drained: true });
		const applied = (await ledger()).map(({ op_id }) => op_id);
		for (const { op_id } of ops) expect(applied).toContain(op_id);
		expect(new Set(applied).size).toBe(applied.length);
		expect((await ledger()).map(({ position }) => position)).toEqual(applied.map((_, position) => position));
		expect((await machine.session(id))?.cursor).toBe(applied.length);
		await machine.expectEqual(id);
		await second.stop();
	}, 60_000);
});

describe("a lost reply to createShare", () => {
	it("makes no second share", async () => {
		const [first, id] = [await sessionWith("its socket is open"), await sessionWith("shared once")];
		const machine = machineOverProxy("create");
		const agent = await machine.run();
		await machine.share(first);
		const lost = proxy.loseNextReply();
		const { share_id } = await machine.share(id);
		await lost;
		const made = await rowsOf(server.database, "SELECT share_id FROM share WHERE session_id = ?", id);
		expect(made).toEqual([{ share_id }]);
		await machine.expectEqual(id);
		await agent.stop();
	}, 60_000);
});

describe("two agents on one outbox", () => {
	it("one flushes, the other says who does and exits 75", async () => {
		const machine = machineOverProxy("two");
		const first = await machine.run();
		const [second, asMachine] = await Promise.all([machine.cli("run"), machine.cli("run", "--json")]);
		for (const { code } of [second, asMachine]) expect(code).toBe(75);
		expect(second.stderr).toContain(`The agent with pid ${first.pid} flushes this outbox already.`);
		expect(asMachine.json()).toMatchObject({ error: { code: "owned" } });
		expect((await machine.status()).agent).toMatchObject({ pid: first.pid, state: "running" });
		await first.stop();
	}, 60_000);

	it("--standby takes over after SIGKILL of the first, and goes on with what it left", async () => {
		const id = await sessionWith("before the takeover");
		const machine = machineOverProxy("standby");
		const first = await machine.run();
		await machine.share(id);
		const second = machine.start("run", "--json", "--standby");
		await second.says(`The agent with pid ${first.pid} flushes this outbox already. Standing by to take over.`);
		await opencode.prompt(id, "say: right before the kill");
		const killedAt = performance.now();
		first.signal("SIGKILL");
		await second.ready();
		const tookMs = Math.round(performance.now() - killedAt);
		console.log(`takeover by a standby after SIGKILL: ${tookMs} ms`);
		await machine.until("the second to say so", "SELECT 1 FROM agent WHERE pid = ? AND state = 'running'", second.pid);
		await machine.expectEqual(id);
		await second.stop();
		expect(tookMs).toBeLessThan(5000);
	}, 60_000);
});

describe("a stale epoch after a revocation", () => {
	/** Acts on the share as somebody else who holds its secret. */
	async function revoke(machine: Machine, id: string, request: RevokeRequest): Promise<void> {
		const [share] = await machine.rows<{ share_id: string; secret: string }>(
			"SELECT share_id, secret FROM share WHERE session_id = ?",
			id,
		);
		const { capnwebTransport } = await import("../../src/transport/capnweb.ts");
		const { systemClock } = await import("../../src/model/clock.ts");
		const transport = capnwebTransport({ url: server.url, clock: systemClock });
		const connection = await transport.connect(AbortSignal.timeout(10_000));
		const handle = await connection.redeem(share?.share_id ?? "", share?.secret ?? "");
		const grant = await handle.revokeCapability(request);
		lab.secret(grant.secret);
		connection.close();
	}

	const refusals = (shareId: string) =>
		rowsOf<{ code: string }>(
			server.database,
			"SELECT code FROM audit WHERE share_id = ? AND event = 'refused'",
			shareId,
		);

	it("redeems once more and goes on, when the secret still works", async () => {
		const id = await sessionWith("before the revocation");
		const machine = machineOverProxy("stale");
		const agent = await machine.run();
		await machine.share(id);
		const before = (await machine.session(id))?.epoch ?? 0;
		await revoke(machine, id, { rotate_secret: false, rotate_slug: false });
		await opencode.prompt(id, "say: after the revocation");
		await machine.expectEqual(id);
		expect((await machine.session(id))?.epoch).toBeGreaterThan(before);
		await agent.stop();
	}, 60_000);

	it("parks the session with its ops kept and visible, without a retry storm, when the secret was rotated", async () => {
		const [id, other] = [await sessionWith("whose secret is rotated"), await sessionWith("of another session")];
		const machine = machineOverProxy("parked");
		const agent = await machine.run();
		const { share_id } = await machine.share(id);
		await machine.share(other);
		await revoke(machine, id, rotation());
		const cursor = (await machine.session(id))?.cursor;
		await opencode.prompt(id, "say: nobody takes this");
		await machine.until("the parking", "SELECT 1 FROM session WHERE session_id = ? AND parked_code IS NOT NULL", id);

		const parked = await machine.session(id);
		expect(parked).toMatchObject({ state: "parked", parked_code: "denied", cursor });
		const kept = parked?.pending ?? 0;
		expect(kept).toBeGreaterThan(0);
		const status = await machine.cli("status");
		expect(status.code).toBe(1);
		expect(status.stdout).toMatch(/Needs you\n.*It is parked \(denied\)/);

		const told = (await refusals(share_id)).length;
		await opencode.prompt(id, "say: nor this");
		await machine.until(
			"more to be kept",
			"SELECT 1 FROM op JOIN session USING (session_id) WHERE session_id = ? AND op.id > acked_id GROUP BY session_id HAVING count(*) > ?",
			...[id, kept],
		);
		const flushed = await machine.flush();
		expect(flushed).toMatchObject({ code: 77, drained: true, parked: [id], error: { code: "parked" } });
		expect(flushed.pending).toBeGreaterThan(kept);
		expect((await refusals(share_id)).length).toBe(told);

		await opencode.prompt(other, "say: this goes on");
		await machine.expectEqual(other);
		await agent.stop();
		expect((await machine.session(id))?.pending).toBe(flushed.pending);
	}, 60_000);
});

describe("a signal", () => {
	it("the first SIGTERM drains, even when the server is slow", async () => {
		const id = await sessionWith("a slow server");
		const machine = machineOverProxy("slow");
		const agent = await machine.run();
		await machine.share(id);
		proxy.faults.latencyMs = 300;
		await opencode.prompt(id, "say: the last turn before SIGTERM");
		agent.signal("SIGTERM");
		expect(await agent.ended).toBe(0);
		proxy.faults.latencyMs = 0;
		expect(agent.stderr()).toMatch(/"drained":true/);
		const { agent: after, outbox } = await machine.status();
		expect(after).toMatchObject({ pid: null, state: "stopped" });
		expect(outbox).toMatchObject({ pending: 0, sealed: 0, in_flight: 0 });
		await machine.expectEqual(id);
	}, 60_000);

	it("the second SIGTERM stops at once, and what was not sent is sent by the next start", async () => {
		const id = await sessionWith("a silent server");
		const machine = machineOverProxy("silent");
		const agent = await machine.run();
		await machine.share(id);
		proxy.faults.swallowReplies = true;
		await opencode.prompt(id, "say: nobody answers this");
		await machine.until("a batch under way", "SELECT 1 FROM batch WHERE attempts > 0");
		agent.signal("SIGTERM");
		await agent.says("a second signal stops at once");
		const secondAt = performance.now();
		agent.signal("SIGTERM");
		expect(await agent.ended).toBe(0);
		expect(performance.now() - secondAt).toBeLessThan(4000);
		proxy.faults.swallowReplies = false;
		expect(agent.stderr()).toMatch(/"drained":false/);
		expect((await machine.status()).outbox.pending).toBeGreaterThan(0);

		expect(await machine.flush()).toMatchObject({ code: 0, drained: true, pending: 0 });
		await machine.expectEqual(id);
	}, 60_000);
});

describe("a proxy that refuses upgrades", () => {
	it("does not stop it: status shows http-batch, and everything arrives", async () => {
		proxy.faults.refuseUpgrades = true;
		const id = await sessionWith("without a WebSocket");
		const machine = machineOverProxy("no-upgrades");
		const agent = await machine.run();
		await machine.share(id);
		await opencode.prompt(id, "say: and on");
		expect(await machine.flush()).toMatchObject({ code: 0, drained: true });
		expect((await machine.status()).server).toMatchObject({ state: "connected", transport: "http-batch" });
		await machine.expectEqual(id);
		await agent.stop();
		proxy.faults.refuseUpgrades = false;
	}, 60_000);

	it("WebSocket is what status shows where there is none", async () => {
		const machine = machineOverProxy("no-upgrades");
		const agent = await machine.run();
		const [session] = (await machine.status()).sessions;
		await opencode.prompt(session?.session_id ?? "", "say: over a WebSocket");
		expect(await machine.flush()).toMatchObject({ code: 0 });
		expect((await machine.status()).server).toMatchObject({ state: "connected", transport: "websocket" });
		await agent.stop();
	}, 60_000);
});

describe("an agent with an embedded server", () => {
	it("survives SIGKILL of both at once: the next start goes on", async () => {
		const port = String(await freePort());
		const machine = lab.machine("embedded", opencode, undefined, {
			OPENCODE_OUTBOX_SHARE: "manual",
			OPENCODE_OUTBOX_PORT: port,
		});
		const id = await sessionWith("embedded");
		const first = await machine.run();
		const { url } = await machine.share(id);
		await opencode.prompt(id, "say: just before the kill");
		await first.kill();
		expect((await machine.status()).agent).toMatchObject({ pid: null, state: "dead" });
		const second = await machine.run();
		await machine.expectEqual(id);
		expect((await fetch(url)).status).toBe(200);
		await second.stop();
	}, 60_000);
});

it("no secret is in any output, and no file can be read by others", () => lab.expectNothingTold());
