import type { OpIntent } from "../../src/model/op.ts";
import { LIMITS } from "../../src/protocol/limits.ts";

export interface Size {
	readonly sessions: number;
	/** How often each session is captured from, ARRIVAL_OPS ops at a time. */
	readonly rounds: number;
	/** Ops of the huge session, which are captured in one go. */
	readonly huge: number;
	readonly arrivalsPerSecond: number;
}

/** What becomes of an op: it arrives, or it is set aside with this code. */
export type Fate = "arrives" | "invalid_payload" | "too_large" | "missing_dependency";

export interface Op extends OpIntent {
	readonly fate: Fate;
}

export interface Arrival {
	readonly sessionId: string;
	readonly ops: readonly Op[];
}

/** A message and its parts. */
export const ARRIVAL_OPS = 10;
/** What the server of these tests takes at most, so that an op that is too large costs little. */
export const OP_BYTES = 16_384;

export const HUGE = "ses_huge";
/** Their shares are taken away in the middle: by a new secret, by deletion, by a server that forgets. */
export const TROUBLED = { rotated: "ses_1", deleted: "ses_2", gone: "ses_4" } as const;
const TAKEN_AWAY: ReadonlySet<string> = new Set(Object.values(TROUBLED));

/** A quarter of the sessions are poisoned, in every other round: with the huge session's, one op in a hundred. */
export function isPoisoned(session: number): boolean {
	return session % 4 === 3;
}

export function isHealthy(session: number): boolean {
	return !isPoisoned(session) && !TAKEN_AWAY.has(`ses_${session}`);
}

/** The arrivals of one run, in order: every session once a round. `clean`: the same without poison. */
export function arrivals({ sessions, rounds }: Size, kind: "clean" | "poisoned"): Arrival[] {
	return Array.from({ length: rounds * sessions }, (_, n) => {
		const [session, round] = [n % sessions, Math.floor(n / sessions)];
		const sessionId = `ses_${session}`;
		const isBad = kind === "poisoned" && isPoisoned(session) && round % 2 === 1;
		const ops = messageWithParts(sessionId, round);
		return { sessionId, ops: isBad ? spoilt(ops, Math.floor(session / 4) + Math.floor(round / 2)) : ops };
	});
}

/** The ops of the huge session: a part in a hundred is poisoned. */
export function hugeOps({ huge }: Size): Op[] {
	const messages = Array.from({ length: huge / ARRIVAL_OPS }, (_, n) => messageWithParts(HUGE, n));
	return messages.flatMap((ops, n) => (n % 10 === 7 ? spoilt(ops, 1 + (Math.floor(n / 10) % 3)) : ops));
}

function messageWithParts(sessionId: string, round: number): Op[] {
	const message = `msg_${round}`;
	const text = `${sessionId} ${round} `.padEnd(250, "The quick brown fox jumps over the lazy dog. ");
	return Array.from({ length: ARRIVAL_OPS }, (_, n) => ({
		op_id: `evt_${sessionId}_${round}_${n}`,
		...(n === 0
			? { type: "message", key: `message/${message}`, payload: JSON.stringify({ id: message, text }) }
			: { type: "part", key: `part/${message}/prt_${n}`, payload: JSON.stringify({ id: `prt_${n}`, text }) }),
		fate: "arrives",
	}));
}

/** One op of an arrival becomes one that the server, or this client already, refuses for good. */
function spoilt(ops: readonly Op[], kind: number): Op[] {
	const depth = LIMITS.payload_depth + 1;
	const deep = `${"[".repeat(depth)}${"]".repeat(depth)}`;
	const large = JSON.stringify({ text: "x".repeat(OP_BYTES) });
	const [message, part, ...others] = ops as [Op, Op, ...Op[]];
	const rest = [part, ...others];
	const orphans = rest.map((op) => ({ ...op, fate: "missing_dependency" as const }));
	switch (kind % 5) {
		case 0:
			return [{ ...message, payload: '{"id":', fate: "invalid_payload" }, ...orphans];
		case 1:
			return [message, { ...part, payload: deep, fate: "invalid_payload" }, ...others];
		case 2:
			return [message, { ...part, payload: large, fate: "too_large" }, ...others];
		case 3:
			return [message, { ...part, key: `part/${part.op_id}`, fate: "invalid_payload" }, ...others];
		default:
			return [{ ...message, payload: large, fate: "too_large" }, ...orphans];
	}
}
