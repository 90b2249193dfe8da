import type { Clock } from "../model/clock.ts";
import type { ShareLimits } from "../protocol/limits.ts";
import type { AppendBatch, OpAck } from "../protocol/schema.ts";
import { applyBatch, standingOf } from "./append.ts";
import type { AuditLog } from "./audit.ts";
import type { Entities } from "./entity.ts";
import type { Ledger } from "./ledger.ts";
import type { Quotas } from "./quota.ts";
import type { Registry, ShareRow } from "./registry.ts";

export interface WritesOptions {
	readonly limits: ShareLimits;
	readonly clock: Pick<Clock, "now">;
	readonly registry: Registry;
	readonly entities: Entities;
	readonly ledger: Ledger;
	readonly quotas: Quotas;
	readonly audit: AuditLog;
}

/** What is done to a share once it is decided that it may be, inside the caller's transaction. */
export class Writes {
	readonly #options: WritesOptions;

	constructor(options: WritesOptions) {
		this.#options = options;
	}

	/** Applies a batch, and says where the share stands then. Code over_quota. */
	apply(row: ShareRow, batch: AppendBatch): OpAck {
		const { ledger, entities, limits, quotas, registry, clock } = this.#options;
		const state = { ledger, entities, limits, ...standingOf(row) };
		const ack = applyBatch(state, row.share_id, batch);
		if (ack.applied.length === 0) return ack;
		quotas.resize(row.owner, row.bytes, state.bytes);
		const covered = ack.rejected.length === 0 ? batch.source_watermark : null;
		registry.advance(
			{
				...row,
				cursor: state.cursor,
				last_batch_id: state.lastBatchId,
				last_op_id: ack.applied.at(-1) ?? row.last_op_id,
				bytes: state.bytes,
				source_seq: covered?.seq ?? row.source_seq,
				source_event_id: covered?.event_id ?? row.source_event_id,
			},
			clock.now(),
		);
		return ack;
	}

	/** Deletes the content and leaves a tombstone; `isExpired`: nobody asked for it. */
	remove(row: ShareRow, method: string, isExpired = false): void {
		const { ledger, entities, quotas, registry, audit, clock } = this.#options;
		const { share_id } = row;
		entities.clear(share_id);
		ledger.clear(share_id);
		quotas.close(row.owner, row.bytes);
		const deleted_at = clock.now();
		const expired_at = isExpired ? deleted_at : null;
		registry.replace({ ...row, bytes: 0, deleted_at, expired_at, source_seq: null, source_event_id: null });
		audit.record({ event: "deleted", method, share_id });
	}
}
