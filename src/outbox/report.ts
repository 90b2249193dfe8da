import type { Watermark } from "../model/op.ts";
import { openForReading } from "../sqlite/database.ts";
import { lastMigration, newestMigration } from "../sqlite/schema-version.ts";
import type { AgentRow } from "./agent-row.ts";
import { findDamage } from "./damage.ts";
import { OUTBOX_KIND } from "./kind.ts";
import { readReport, readWatermarks } from "./report-queries.ts";
import type { SourceState, Wanted } from "./session.ts";
import type { SessionState } from "./session-state.ts";

export interface Totals {
	/** Ops that the server has not acknowledged, sealed ones included; but for those of sessions that are left out. */
	readonly pending: number;
	/** Those of sessions that are left out by the rules: they wait until their session is taken again. */
	readonly excluded: number;
	/** Those of them whose bytes and positions are frozen. */
	readonly sealed: number;
	/** Those of the sealed ones that an owner has under way now: in a batch with a live lease. */
	readonly in_flight: number;
	/** Dead letters. */
	readonly dead: number;
	/** Payload bytes of the pending ops. */
	readonly bytes: number;
	/** When the oldest pending change was captured; null when nothing is pending. */
	readonly oldest_pending_at: number | null;
}

export interface SessionReport {
	readonly session_id: string;
	readonly parent_id: string | null;
	readonly title: string;
	readonly directory: string;
	readonly wanted: Wanted;
	readonly source_state: SourceState;
	readonly source_note: string | null;
	readonly share_id: string | null;
	readonly slug: string | null;
	readonly url: string | null;
	readonly state: SessionState;
	/** Ops that the share has, as far as this outbox knows. */
	readonly cursor: number;
	/** Capability epoch; null before the share was granted. */
	readonly epoch: number | null;
	readonly pending: number;
	readonly dead: number;
	readonly last_acked_at: number | null;
	readonly last_error: string | null;
	readonly parked_code: string | null;
	/** Why the rules leave it out; null when they do not. */
	readonly excluded: string | null;
	readonly compare_reason: string | null;
	/** When the next attempt is due; null when none is deferred. */
	readonly next_retry_at: number | null;
	readonly oldest_pending_at: number | null;
	/** Attempts since the last success. */
	readonly attempts: number;
}

/** What `status` tells of an outbox. Bears no secret: every column is named where it is read. Instants are epoch ms. */
export interface Report {
	readonly agent: AgentRow | null;
	readonly totals: Totals;
	/** Oldest pending change first, those without one after them by id. */
	readonly sessions: readonly SessionReport[];
}

export interface ReportReader {
	/** Reads one consistent state of the outbox. `now` tells live leases from dead ones. */
	read(now: number): Report;
	/** True when an older version has written it: the next agent brings it up to date, until then `read` may not work. */
	isOlder(): boolean;
	/** What is wrong inside the file, looked for in all of it while it is small; undefined when nothing is found. */
	damage(): string | undefined;
	/** Up to where each session is captured that is wanted and that OpenCode has; null for one without a log. */
	watermarks(): ReadonlyMap<string, Watermark | null>;
	close(): void;
}

/** The report of an outbox that does not exist yet. */
export const EMPTY_REPORT: Report = {
	agent: null,
	totals: { pending: 0, excluded: 0, sealed: 0, in_flight: 0, dead: 0, bytes: 0, oldest_pending_at: null },
	sessions: [],
};

/**
 * Opens an outbox to look at it, while its agent writes, is stopped, or was killed; writes nothing.
 *
 * @returns undefined when there is no outbox at `path` yet, or only the beginning of one.
 * @throws OutboxError foreign_database, newer_database, corrupt, read_only, io.
 */
export async function openReport(path: string): Promise<ReportReader | undefined> {
	const sqlite = await openForReading(path, OUTBOX_KIND);
	if (sqlite === undefined) return undefined;
	return {
		read: (now) => sqlite.transaction(() => readReport(sqlite, now), "deferred"),
		isOlder: () => (lastMigration(sqlite) ?? 0) < newestMigration(OUTBOX_KIND.migrations),
		damage: () => findDamage(sqlite, undefined),
		watermarks: () => readWatermarks(sqlite),
		close: () => sqlite.close(),
	};
}
