import type { Mishap } from "./disk.ts";
import type { Machine } from "./machine.ts";
import type { Walk } from "./walk.ts";

/** Something that goes wrong, and how often compared with the others. */
export interface Fault {
	readonly name: string;
	readonly weight: number;
	readonly happen: (walk: Walk) => void | Promise<void>;
}

const YEAR_MS = 365 * 24 * 3600 * 1000;

const onMachine = (body: (machine: Machine, walk: Walk) => void | Promise<void>) => (walk: Walk) => {
	const up = walk.machines.filter((machine) => machine.isUp);
	return up.length === 0 ? undefined : body(walk.dice.pick(up), walk);
};

const onConnection = (name: string, weight: number, body: (walk: Walk, connection: Connection) => void): Fault => ({
	name,
	weight,
	happen: (walk) => {
		const { connections } = walk.network;
		if (connections.length > 0) body(walk, walk.dice.pick(connections));
	},
});
type Connection = Walk["network"]["connections"][number];

const onWrite = (kind: Mishap, weight: number): Fault => ({
	name: `write: ${kind}`,
	weight,
	happen: onMachine((machine, { dice }) => machine.disk.arm(kind, dice.int(1, 6))),
});

const onCall = (kind: "before" | "after" | "busy", weight: number): Fault => ({
	name: `call: ${kind}`,
	weight,
	happen: ({ server, dice }) => {
		server.trouble[kind] += dice.int(1, 3);
	},
});

/** Everything that goes wrong in a simulated world. Each walk draws which of them happen, and how often. */
export const FAULTS: readonly Fault[] = [
	onConnection("connection cut", 4, (_, connection) => connection.cut()),
	onConnection("reply lost", 8, (_, { toClient }) => {
		toClient.losesNext = true;
	}),
	onConnection("message lost", 4, (_, { toServer }) => {
		toServer.losesNext = true;
	}),
	onConnection("half-open: delayed", 4, ({ dice }, { toServer, toClient }) => {
		const ms = dice.span(200, 30_000);
		if (dice.chance(0.7)) toServer.stall(ms);
		if (dice.chance(0.7)) toClient.stall(ms);
	}),
	onConnection("half-open: never", 2, (_, { toServer, toClient }) => {
		toServer.stall(Number.POSITIVE_INFINITY);
		toClient.stall(Number.POSITIVE_INFINITY);
	}),
	{
		name: "slow network",
		weight: 2,
		happen: ({ network, dice }) => {
			network.weather.latencyMs = dice.chance(0.5) ? [0, 10] : [0, dice.span(50, 3000)];
		},
	},
	{
		name: "network swallows",
		weight: 1,
		happen: ({ network, dice, timeline }) => {
			network.weather.swallows = true;
			timeline.in(dice.span(500, 20_000), () => {
				network.weather.swallows = false;
			});
		},
	},
	{
		name: "upgrades refused",
		weight: 2,
		happen: ({ network, dice }) => {
			network.weather.refusesUpgrades = dice.chance(0.7);
			for (const connection of network.connections) connection.cut();
		},
	},
	{
		name: "message duplicated",
		weight: 6,
		happen: ({ network, dice }) => {
			network.weather.doubles += dice.int(1, 4);
		},
	},
	{
		name: "HTTP answer lost",
		weight: 4,
		happen: ({ network }) => void network.weather.losesAnswers++,
	},
	{ name: "HTTP request lost", weight: 2, happen: ({ network }) => void network.weather.losesPosts++ },
	{
		name: "proxy answers",
		weight: 1,
		happen: ({ network, dice, timeline }) => {
			network.weather.httpStatus = dice.pick([200, 403, 404, 500, 502]);
			timeline.in(dice.span(500, 20_000), () => {
				network.weather.httpStatus = 200;
			});
		},
	},
	{
		name: "server restarted",
		weight: 3,
		happen: async ({ server, dice, timeline }) => {
			if (!server.isUp) return;
			server.stop();
			await timeline.advance(dice.span(1, 10_000));
			await server.start();
		},
	},
	{ name: "server backed up", weight: 2, happen: ({ server }) => server.takeBackup() },
	{
		name: "server restored",
		weight: 2,
		happen: async (walk) => {
			if (await walk.server.restore()) walk.scars.add("server restored");
		},
	},
	onCall("before", 2),
	onCall("after", 3),
	onCall("busy", 1),
	{
		name: "server key unknown",
		weight: 1,
		happen: ({ server, dice, timeline }) => {
			server.knowsKey = false;
			timeline.in(dice.span(1000, 60_000), () => {
				server.knowsKey = true;
			});
		},
	},
	{ name: "epoch bumped", weight: 3, happen: (walk) => walk.administer({ rotate_secret: false, rotate_slug: false }) },
	{
		name: "secret rotated",
		weight: 0.3,
		happen: (walk) => walk.administer({ rotate_secret: true, next_secret: "n".repeat(43), rotate_slug: false }),
	},
	{ name: "share deleted", weight: 0.3, happen: (walk) => walk.administer("delete") },
	{ name: "agent crashed", weight: 5, happen: onMachine((machine) => machine.crash()) },
	{
		name: "agent restarted",
		weight: 2,
		happen: onMachine(async (machine) => {
			await machine.stop();
			await machine.start();
		}),
	},
	onWrite("crash_before", 5),
	onWrite("crash_after", 5),
	onWrite("full", 4),
	onWrite("unsure", 4),
	{
		name: "disk full",
		weight: 2,
		happen: onMachine(({ disk }, { timeline, dice }) => {
			disk.full = true;
			timeline.in(dice.span(500, 20_000), () => {
				disk.full = false;
			});
		}),
	},
	{ name: "outbox backed up", weight: 2, happen: onMachine((machine) => machine.takeBackup()) },
	{
		name: "outbox restored",
		weight: 2,
		happen: onMachine((machine, { scars }) => {
			if (machine.restore()) scars.add("outbox restored");
		}),
	},
	{
		name: "outbox cloned",
		weight: 1.2,
		happen: onMachine((machine, walk) => {
			if (walk.machines.length > 2) return;
			walk.scars.add("outbox cloned");
			walk.machines.push(machine.clone(`clone-${walk.machines.length}`));
		}),
	},
	{
		name: "clock jumped",
		weight: 1,
		happen: (walk) => {
			const clock = walk.dice.pick([...walk.machines.map((machine) => machine.clock), walk.serverClock]);
			clock.offsetMs += walk.dice.pick([-1, 1]) * walk.dice.span(1000, YEAR_MS);
		},
	},
	{ name: "log wiped", weight: 1, happen: ({ opencode }) => opencode.wipeLog() },
	{ name: "poison", weight: 3, happen: ({ opencode }) => opencode.poison() },
	{
		name: "session deleted",
		weight: 1.5,
		happen: ({ opencode, dice }) => {
			if (opencode.sessions.length > 1) opencode.delete(dice.pick(opencode.sessions));
		},
	},
	{
		name: "flush asked for",
		weight: 2,
		happen: onMachine((machine, walk) => walk.byHand(() => machine.hurry())),
	},
	{
		name: "unshared",
		weight: 0.4,
		happen: onMachine(({ outbox }, walk) => {
			const { dice, opencode } = walk;
			const sessionId = dice.pick(opencode.sessions);
			if (outbox.session(sessionId) === undefined) return;
			walk.byHand(() => outbox.want(sessionId, dice.chance(0.5) ? "share" : "unshare"));
		}),
	},
];
