import { keys, type OpType, type Watermark } from "../model/op.ts";
import type { Burial } from "../outbox/append.ts";
import type { Outbox } from "../outbox/outbox.ts";
import type { ShareRedemption } from "../protocol/schema.ts";
import { type EntityState, EVENTLESS, goneSince, overTruth } from "./compare.ts";
import { isAhead } from "./reconcile.ts";

/** A session as OpenCode has it at one moment. */
export interface Truth {
	readonly entities: readonly EntityState[];
	/** Keys of what it has but cannot be read. */
	readonly unreadable: ReadonlySet<string>;
	/** Keys of what its log tells to have been removed; an outbox that lost its own note of that is told by it. */
	readonly removed: readonly string[];
	readonly watermark: Watermark | null;
}

/** What a comparison brings a share to. */
export interface Aim {
	readonly entities: readonly EntityState[];
	/** What is taken over from the share as it is: key to digest. */
	readonly adopted: ReadonlyMap<string, string>;
	/** What of it is text over what OpenCode has committed: key to that one's digest. */
	readonly committed: ReadonlyMap<string, string>;
	readonly gone: readonly string[];
	/** What was captured once and nobody has any more, for the dead letters. */
	readonly lost: readonly Burial[];
}

export interface AimFacts {
	readonly outbox: Outbox;
	readonly sessionId: string;
	/** Undefined when OpenCode does not have the session any more. */
	readonly truth: Truth | undefined;
	readonly redemption: ShareRedemption;
	/** The share's digests by key. */
	readonly share: ReadonlyMap<string, string>;
	/** The share is as it was left, and only what is stored here has changed. */
	readonly isRulesOnly: boolean;
}

/** What a share is brought to: OpenCode's present state, or, where OpenCode has forgotten the session, the outbox's. */
export function aimOf(
	{ outbox, sessionId, truth, redemption, share, isRulesOnly }: AimFacts,
	newId: () => string,
): Aim {
	const own = outbox.retained(sessionId);
	const removed = outbox.removedKeys(sessionId);
	const captured = outbox.capturedDigests(sessionId);
	const checkpoints = outbox.checkpoints(sessionId);
	if (truth) {
		const known = new Set(truth.entities.map((entity) => entity.key));
		const extras = own.filter(({ key }) => !known.has(key) && EVENTLESS.has(key));
		const gone = goneSince([...captured.keys(), ...removed, ...truth.removed], truth.entities, truth.unreadable);
		const { entities, adopted, committed } = overTruth(truth.entities, checkpoints, share);
		// What no table holds and this outbox never captured is taken over as the share has it.
		const foreign = [...share].filter(([key]) => EVENTLESS.has(key) && !captured.has(key));
		const kept = new Map([...adopted, ...foreign]);
		return { entities: [...entities, ...extras], adopted: kept, committed, gone: [...gone], lost: [] };
	}
	const kept = new Set(own.map(({ key }) => key));
	const committed = new Map([...checkpoints].map(([key, text]) => [key, text.digest]));
	if (isRulesOnly) {
		const adopted = new Map([...share].filter(([key]) => !kept.has(key)));
		return { entities: own, adopted, committed, gone: [], lost: [] };
	}
	// Another copy of this outbox has brought the share further than this one ever captured: what is there is right.
	const { watermark = null, sealed_cursor = 0 } = outbox.session(sessionId) ?? {};
	if (isAhead(redemption.source_watermark, watermark, redemption.cursor > sealed_cursor)) {
		const mark = own.filter(({ key }) => key === keys.sessionDeleted);
		return { entities: mark, adopted: share, committed: NONE, gone: [], lost: [] };
	}
	const held = new Map([...captured, ...[...checkpoints].map(([key, text]) => [key, text.checkpoint] as const)]);
	const lost = [...held].filter(([key, digest]) => !kept.has(key) && share.get(key) !== digest);
	return { entities: own, adopted: NONE, committed, gone: removed, lost: lost.map(([key]) => lostOp(key, newId())) };
}

function lostOp(key: string, op_id: string): Burial {
	const reason = "the server lost it, OpenCode has deleted the session, and the outbox does not keep it any more";
	return { op_id, type: key.split("/")[0] as OpType, key, code: "lost", reason };
}

const NONE: ReadonlyMap<string, string> = new Map();
