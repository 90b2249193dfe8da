import { setTimeout as delay } from "node:timers/promises";
import { expect } from "vitest";
import type { Status } from "../../src/cli/status-facts.ts";
import { TIMING } from "../../src/transport/timing.ts";
import { eventually } from "../fixture/cli.ts";
import { OpencodeDatabase } from "../source/opencode-database.ts";
import { rowsIfMade } from "./files.ts";
import { checkDrained } from "./oracle.ts";
import { type Shape, World } from "./world.ts";

/** Longer than a call may take (30 s) and than a silent socket is believed (a ping and the wait for its pong: 30 s). */
const STOPPED_MS = Math.max(TIMING.callMs, 2 * TIMING.heartbeatMs) + TIMING.handshakeMs;
const MESSAGES = 40;

/**
 * Stops the server (SIGSTOP: its kernel accepts connections and bytes, nobody answers) for longer than every deadline
 * while OpenCode goes on, then lets it go on: it finds, late, what the agent has long given up.
 *
 * @returns how many ops the server applied before the agent could send again, and what the agent said meanwhile.
 */
export async function stopServer(shape: Shape): Promise<{ late: number; said: string }> {
	const world = await World.make(shape);
	try {
		const opencode = await OpencodeDatabase.open(world.files.opencode);
		for (const id of ["ses_1", "ses_2"]) opencode.session(id);
		const server = world.startServer(process.execPath);
		await server.ready();
		const agent = world.startAgent(process.execPath);
		await agent.ready();
		expect(await world.cli("flush", "--json")).toMatchObject({ code: 0 });
		const before = await applied(world);

		server.signal("SIGSTOP");
		const stoppedAt = performance.now();
		for (let n = 0; n < MESSAGES; n++) {
			for (const id of ["ses_1", "ses_2"]) opencode.message(id, `msg_${id}_${n}`, `while it is stopped ${n}`);
			// The first at once, so that they are under way as one batch; the others while the agent tries again.
			if (n >= MESSAGES / 2) await delay(STOPPED_MS / MESSAGES);
		}
		await delay(STOPPED_MS - (performance.now() - stoppedAt));
		const status = (await world.cli("status", "--json")).json<Status>();
		expect(status.outbox.pending).toBeGreaterThan(0);
		expect(status.outbox.oldest_pending_age_ms).toBeGreaterThan(STOPPED_MS / 2);
		const said = agent.stderr();

		// Nobody sends now, so what the server applies is what it had received before. Of HTTP it may read nothing: its
		// first act is to close connections that were silent for so long.
		agent.signal("SIGSTOP");
		server.signal("SIGCONT");
		if (shape === "remote")
			await eventually("what was given up to be applied", async () => (await applied(world)) > before);
		const late = (await applied(world)) - before;
		agent.signal("SIGCONT");

		expect(await world.cli("flush", "--json", "--timeout", "60s")).toMatchObject({ code: 0 });
		expect(await world.cli("verify", "--json")).toMatchObject({ code: 0 });
		expect(await world.cli("status")).toMatchObject({ code: 0 });
		const { faults, compared } = await checkDrained(world.files, new Map());
		expect(faults).toEqual([]);
		expect(compared).toBe(2 * MESSAGES);
		opencode.sql.close();
		return { late, said };
	} finally {
		await world.close();
	}
}

async function applied(world: World): Promise<number> {
	const [row] = await rowsIfMade<{ ops: number }>(world.files.shares, "SELECT sum(cursor) AS ops FROM share");
	return row?.ops ?? 0;
}
