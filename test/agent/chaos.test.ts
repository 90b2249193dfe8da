import { expect, test } from "vitest";
import { digestOf } from "../../src/model/json.ts";
import { keys, type OpIntent } from "../../src/model/op.ts";
import { mulberry32 } from "../fixture/random.ts";
import { type Lab, openLab } from "./lab.ts";

/** `SEED=n` runs one walk again, `SEEDS=n` runs that many. */
const seeds = process.env.SEED
	? [Number(process.env.SEED)]
	: Array.from({ length: Number(process.env.SEEDS ?? 6) }, (_, n) => n + 1);
const STEPS = 120;

test.each(seeds)(
	"whatever is cut, killed or restarted, the shares end equal to what was captured (seed %i)",
	{
		timeout: 120_000,
	},
	async (seed) => {
		const lab = await openLab({ timing: { callMs: 400, handshakeMs: 400, heartbeatMs: 200, upgradeRetryMs: 500 } });
		const random = mulberry32(seed);
		const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
		const sessions = ["ses_1", "ses_2", "ses_3"];
		const model = new Map(sessions.map((id) => [id, new Map<string, string>()]));
		let events = 0;

		const change = (): void => {
			const sessionId = pick(sessions);
			const state = model.get(sessionId) as Map<string, string>;
			const items: OpIntent[] = [];
			for (let n = Math.floor(random() * 8); n >= 0; n--) {
				const op_id = `evt_${events++}`;
				const message = `m${Math.floor(random() * 6)}`;
				const kind = random();
				if (kind < 0.12 && state.has(keys.message(message))) {
					items.push({
						op_id,
						type: "message_removed",
						key: keys.message(message),
						payload: `{"messageID":"${message}"}`,
					});
					for (const key of [...state.keys()])
						if (key === keys.message(message) || key.startsWith(keys.partsOf(message))) state.delete(key);
				} else if (kind < 0.5) {
					const payload = `{"id":"${message}","n":${events}}`;
					items.push({ op_id, type: "message", key: keys.message(message), payload });
					state.set(keys.message(message), payload);
				} else if (state.has(keys.message(message))) {
					const key = keys.part(message, `p${Math.floor(random() * 3)}`);
					const payload = `{"text":"${"x".repeat(Math.floor(random() * 3000))}","n":${events}}`;
					items.push({ op_id, type: "part", key, payload });
					state.set(key, payload);
				}
			}
			lab.append(sessionId, items);
		};
		const truth = () => {
			for (const [id, state] of model)
				lab.truth.set(
					id,
					[...state].map(([key, payload]) => ({ type: key.startsWith("part/") ? "part" : "message", key, payload })),
				);
		};
		const faults: (() => Promise<void> | void)[] = [
			() => void lab.proxy.dropConnections(),
			() => void lab.proxy.loseNextReply(),
			() => void lab.proxy.cutAfter(pick(["to_server", "to_client"]), Math.floor(random() * 5000)),
			() => {
				lab.proxy.faults.refuseUpgrades = !lab.proxy.faults.refuseUpgrades;
				lab.proxy.dropConnections();
			},
			() => {
				lab.proxy.faults.blackHole = !lab.proxy.faults.blackHole;
			},
			async () => {
				await lab.reopen();
				lab.start();
			},
			async () => {
				await lab.stopServer();
				await lab.startServer();
			},
			() => revoke(lab, pick(sessions)),
		];

		lab.start();
		for (let step = 0; step < STEPS; step++) {
			change();
			truth();
			if (random() < 0.25) await pick(faults)();
			if (random() < 0.5) await new Promise((resolve) => setTimeout(resolve, random() * 25));
		}
		Object.assign(lab.proxy.faults, { blackHole: false, refuseUpgrades: false });
		lab.proxy.dropConnections();
		lab.outbox.hurry();
		await lab.until(() => {
			lab.outbox.hurry();
			lab.outbox.say({ next_connect_at: 0 }, Date.now());
			return sessions.every((id) => (lab.outbox.session(id)?.pending ?? 0) === 0);
		});
		for (const [id, state] of model) {
			const expected = new Map([...state].map(([key, payload]) => [key, digestOf(payload)]));
			if (lab.outbox.session(id) === undefined) continue;
			expect(sorted(await lab.digests(id)), `session ${id} of SEED=${seed}`).toEqual(sorted(expected));
		}
		expect(lab.outbox.deadLetters()).toEqual([]);
		// Nothing here ever gives a reason to compare: positions and op ids alone must have told what was applied.
		expect(lab.log.filter((line) => line.message.startsWith("comparing"))).toEqual([]);
	},
);

async function revoke(lab: Lab, sessionId: string): Promise<void> {
	if (lab.outbox.share(sessionId)?.secret == null) return;
	await (await lab.redeem(sessionId)).revokeCapability({ rotate_secret: false, rotate_slug: false });
}

function sorted(digests: ReadonlyMap<string, string>): [string, string][] {
	return [...digests].sort(([a], [b]) => (a < b ? -1 : 1));
}
