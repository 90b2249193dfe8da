import { describe, expect, test } from "vitest";
import { digestOf } from "../../src/model/json.ts";
import { LIMITS } from "../../src/protocol/limits.ts";
import { type Lab, openLab } from "../agent/lab.ts";
import { stride } from "./extent.ts";
import { type Liar, type Lie, type Method, startLiar } from "./liar.ts";
import { type Mutation, mutationsOf, SWAPPED } from "./mutate.ts";

const TEXTS = ["a", "b", "c"];
/** Sessions in one outbox before it is made anew. */
const LIES_PER_LAB = 100;

const GRANT = {
	share_id: "shr_1",
	slug: "s".repeat(24),
	url: "http://127.0.0.1/",
	secret: "s".repeat(43),
	capability_epoch: 1,
};
const SAMPLES: Record<Method, unknown> = {
	createShare: GRANT,
	revokeCapability: GRANT,
	redemption: {
		...{ share_id: "shr_1", session_id: "ses", scope: "append", cursor: 0, capability_epoch: 1, last_op_id: null },
		...{ source_watermark: { seq: 1, event_id: "e" }, created_at: 1, limits: { ...LIMITS } },
	},
	appendOps: { cursor: 3, applied: ["a", "b", "c"], duplicates: [], rejected: [] },
	entityDigests: { entities: [{ key: "message/a", digest: "0".repeat(64) }], next: null },
};

/** Every lie about one call: the call was done and the answer is wrong, or it was not done at all. */
function liesAbout(method: Method): { name: string; lie: () => Lie }[] {
	const mutations: Mutation[] = mutationsOf(SAMPLES[method], "evt_of_another");
	if (method === "appendOps") mutations.push(...SWAPPED);
	const isDone = method === "appendOps" || method === "revokeCapability" ? [true, false] : [true];
	return isDone.flatMap((done) =>
		mutations.map(({ name, of }) => ({
			name: `${method}${done ? "" : " (not done)"}: ${name}`,
			lie: () => ({ method, isDone: done, tell: of }),
		})),
	);
}

const METHODS: Method[] = ["createShare", "redemption", "appendOps", "revokeCapability", "entityDigests"];

describe.each([
	["websocket", stride(5)],
	["http-batch", stride(29)],
] as const)("over %s", (kind, every) => {
	test.each(METHODS)(
		"no lie in an answer to %s costs an op, applies one twice, or acks one that is not there",
		async (method) => {
			const all = liesAbout(method);
			const lies = all.filter((_, index) => index % every === 0);
			const told = { unknown: 0, believed: 0, parked: 0, buried: 0, deceived: 0 };
			let lab: Lab | undefined;
			let liar: Liar | undefined;
			for (const [index, { name, lie }] of lies.entries()) {
				if (lab === undefined || liar === undefined || index % LIES_PER_LAB === 0) {
					await lab?.dispose();
					lab = await openLab({ random: () => 0 });
					liar = await startLiar();
					lab.proxy.faults.refuseUpgrades = kind === "http-batch";
					lab.proxy.retarget(liar.port);
				}
				told[await lieOnce(lab, liar, `ses_${index}`, name, lie())]++;
				// Else the next connection would begin by asking for this share, and be lied to about it.
				lab.outbox.forget(`ses_${index}`);
			}
			console.log(`liar: ${kind}, ${method}: ${lies.length} of ${all.length} lies; ${JSON.stringify(told)}`);
			expect(told.unknown).toBeGreaterThan(0);
		},
		300_000,
	);
});

/**
 * Lies once while a session is flushed, then is honest; checks what the outbox believes all the while, and that in the end
 * every op has had one effect, or waits visibly.
 */
async function lieOnce(lab: Lab, liar: Liar, session: string, name: string, lie: Lie): Promise<keyof Told> {
	liar.lies = 0;
	const compares = lie.method === "revokeCapability" || lie.method === "entityDigests";
	if (compares) {
		// There is something to compare: a share that has some of it.
		lab.capture(session, ["a"]);
		lab.start();
		await lab.drained();
		await lab.stop();
		lab.outbox.mustCompare(session, "the test wants it");
		lab.capture(session, TEXTS.slice(1));
	} else lab.capture(session, TEXTS);
	const errors = new Set<string>();
	liar.lie = lie;
	lab.start();
	await lab.until(() => {
		const facts = lab.outbox.session(session);
		return (liar.lies > 0 && facts?.pending === 0) || facts?.parked_code != null;
	});
	const parked = lab.outbox.session(session)?.parked_code;
	await lab.stop();
	const failures = lab.log.filter(({ facts }) => facts.session === session && facts.err !== undefined);
	for (const { facts } of failures) errors.add(String(facts.err));
	lab.log.length = 0;

	const facts = `${name}\n${[...errors].join("\n")}`;
	expect(liar.lies, facts).toBe(1);
	const dead = lab.outbox.deadLetters().filter((letter) => letter.session_id === session);
	if (parked) {
		// It waits for a person, with all that is not there, and says why.
		expect(lab.outbox.session(session)?.pending, facts).toBe(TEXTS.length);
		expect([...errors].join(), facts).not.toBe("");
		lab.outbox.forget(session);
		return "parked";
	}
	// A lie without a contradiction: every op is said to be there, and none is. Nobody can know, until the next call.
	const isDeceived = (lab.outbox.session(session)?.acked_cursor ?? 0) > liar.applied().length;
	if (isDeceived) {
		expect(lie.isDone, facts).toBe(false);
		expect(errors.size, facts).toBe(0);
	}
	const texts = isDeceived ? [...TEXTS, "d"] : TEXTS;
	const entities = texts.map((text, n) => ({
		...{ type: "message" as const, key: `message/msg_${n}`, payload: JSON.stringify({ id: `msg_${n}`, text }) },
	}));
	if (isDeceived) {
		lab.truth.set(session, entities);
		lab.capture(session, ["d"]);
		lab.start();
		await lab.drained();
		await lab.stop();
		const reasons = lab.log.map((line) => String(line.facts.reason));
		expect(
			reasons.some((reason) => reason.includes("the server went back")),
			facts,
		).toBe(true);
		lab.log.length = 0;
	}
	const buried = new Set(dead.map(({ key }) => key));
	for (const letter of dead) expect(letter.reason, facts).not.toBe("");
	const there = entities.filter(({ key }) => !buried.has(key)).map(({ key, payload }) => [key, digestOf(payload)]);
	expect([...liar.digests()].sort(), facts).toEqual(there);
	expect(new Set(liar.applied()).size, facts).toBe(liar.applied().length);
	if (isDeceived) return "deceived";
	if (dead.length > 0) return "buried";
	const unknown = [...errors].some((error) => /malformed|refused unread|session broke|said to be of/.test(error));
	return unknown ? "unknown" : "believed";
}
type Told = { unknown: number; believed: number; parked: number; buried: number; deceived: number };
