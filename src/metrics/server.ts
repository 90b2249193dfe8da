import { ANSWER_BUCKETS, COMMIT_BUCKETS, type Metrics } from "./registry.ts";

/** Calls that write whenever they succeed, so that their commit syncs. */
const WRITES: ReadonlySet<string> = new Set([
	"createShare",
	"claimShare",
	"redeemShare",
	"appendOps",
	"revokeCapability",
	"deleteShare",
]);
/** What the rules decide, by name. */
const METHODS = [
	...WRITES,
	"listShares",
	"viewShare",
	"redemption",
	"entityDigests",
	"watch",
	"publishDelta",
	"export",
];

interface Ack {
	readonly applied: readonly unknown[];
	readonly duplicates: readonly unknown[];
	readonly rejected: readonly unknown[];
}

interface Figures {
	readonly websockets: number;
	readonly databaseBytes: number;
}

/** The share server's metrics: counted while it works, or set by `show` when they are asked for. */
export class ServerMetrics {
	readonly #counters: ReturnType<typeof countersOf>;
	readonly #gauges: ReturnType<typeof gaugesOf>;
	#read: (() => Figures) | undefined;

	/** @param refusals the codes of refusals. */
	constructor(metrics: Metrics, refusals: readonly string[]) {
		this.#counters = countersOf(metrics, refusals);
		this.#gauges = gaugesOf(metrics);
	}

	called(method: string, ms: number, commitMs: number): void {
		const { calls, redemptions, commit, append } = this.#counters;
		calls([method]);
		if (method === "redeemShare") redemptions(["append"]);
		if (method === "viewShare") redemptions(["view"]);
		if (method === "appendOps") append(ms);
		if (WRITES.has(method)) commit(commitMs);
	}

	refused(method: string, code: string): void {
		this.#counters.refusals([method, code]);
	}

	appended({ applied, duplicates, rejected }: Ack, sent: readonly { readonly payload: string }[]): void {
		const { batches, ops, bytes } = this.#counters;
		batches();
		ops(["applied"], applied.length);
		ops(["duplicate"], duplicates.length);
		ops(["rejected"], rejected.length);
		bytes(
			[],
			sent.reduce((sum, { payload }) => sum + Buffer.byteLength(payload), 0),
		);
	}

	figures(read: () => Figures): void {
		this.#read = read;
	}

	show(): void {
		const now = this.#read?.();
		this.#gauges.websockets.set(now?.websockets ?? 0);
		this.#gauges.database.set(now?.databaseBytes ?? 0);
	}
}

function countersOf(metrics: Metrics, refusals: readonly string[]) {
	return {
		calls: metrics.counter("server_calls_total", "Calls that the rules allowed, by method.", { method: METHODS }),
		redemptions: metrics.counter(
			"server_redemptions_total",
			"Shares redeemed: with a secret (append), by a link (view).",
			{
				scope: ["append", "view"],
			},
		),
		refusals: metrics.counter("server_refusals_total", "Calls that the rules refused, by method and code.", {
			method: METHODS,
			code: refusals,
		}),
		batches: metrics.counter("server_batches_total", "Batches that were answered with an ack."),
		ops: metrics.counter("server_ops_total", "Ops in the acks, by what was done with them.", {
			outcome: ["applied", "duplicate", "rejected"],
		}),
		bytes: metrics.counter(
			"server_received_bytes_total",
			"Payload bytes of the batches that were answered with an ack.",
		),
		commit: metrics.histogram(
			"server_commit_duration_seconds",
			"COMMIT of calls that write, their fsync included.",
			COMMIT_BUCKETS,
		),
		append: metrics.histogram(
			"server_append_duration_seconds",
			"From a batch's arrival at the rules to its durable ack.",
			ANSWER_BUCKETS,
		),
	};
}

function gaugesOf(metrics: Metrics) {
	return {
		websockets: metrics.gauge("server_websockets", "WebSockets that are open."),
		database: metrics.gauge("server_database_size_bytes", "The share database with its write-ahead log."),
	};
}
