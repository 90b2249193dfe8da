import type { Gauge } from "prom-client";
import { ANSWER_BUCKETS, COMMIT_BUCKETS, type Metrics } from "./registry.ts";

/** What an agent's labels can say; each list is closed. */
export interface AgentWords {
	readonly steps: readonly string[];
	readonly reasons: readonly string[];
	readonly reconcileCases: readonly string[];
	readonly sessionStates: readonly string[];
	readonly agentStates: readonly string[];
	readonly serverStates: readonly string[];
	readonly parkedCodes: readonly string[];
	readonly pausedReasons: readonly string[];
}

/** What is read off the outbox when somebody asks. Instants are epoch ms, ages seconds. */
export interface AgentFigures {
	readonly oldestPendingSeconds: number;
	readonly pending: number;
	readonly pendingBytes: number;
	readonly sealed: number;
	readonly inFlight: number;
	readonly excluded: number;
	readonly dead: number;
	readonly attention: number;
	readonly damagedOutboxes: number;
	readonly vanished: number;
	/** Undefined when it cannot be told. */
	readonly diskFreeBytes: number | undefined;
	readonly outboxBytes: number;
	/** Undefined where OpenCode's log cannot be looked at, or has no numbers. */
	readonly lagEvents: number | undefined;
	readonly connectAttempts: number;
	readonly breaker: "closed" | "half_open" | "open";
	readonly agentState: string;
	readonly serverState: string;
	/** Null while capture goes on. */
	readonly paused: string | null;
	readonly sessions: ReadonlyMap<string, number>;
	readonly parked: ReadonlyMap<string, number>;
}

interface Ack {
	readonly applied: readonly unknown[];
	readonly duplicates: readonly unknown[];
	readonly rejected: readonly unknown[];
}

/** The agent's metrics: counted while it works, or set by `show` when they are asked for. */
export class AgentMetrics {
	readonly #now: () => number;
	#levelAt: number | undefined;
	readonly #startedAt: number;
	readonly #counters: ReturnType<typeof countersOf>;
	readonly #gauges: ReturnType<typeof gaugesOf>;

	constructor(metrics: Metrics, words: AgentWords, now: () => number) {
		this.#now = now;
		this.#startedAt = now();
		this.#counters = countersOf(metrics, words);
		this.#gauges = gaugesOf(metrics, words);
	}

	level(at: number): void {
		this.#levelAt = at;
	}

	captured(ops: number): void {
		this.#counters.captured([], ops);
	}

	snapshot(isRefill: boolean): void {
		this.#counters.snapshots();
		if (isRefill) this.#counters.refilled();
	}

	committed(ms: number): void {
		this.#counters.commit(ms);
	}

	sent(bytes: number): void {
		this.#counters.bytes([], bytes);
	}

	answered(ms: number, { applied, duplicates, rejected }: Ack): void {
		const { ack, batches, ops } = this.#counters;
		ack(ms);
		batches([rejected.length > 0 ? "rejected" : "acknowledged"]);
		ops(["applied"], applied.length);
		ops(["duplicate"], duplicates.length);
		ops(["rejected"], rejected.length);
	}

	unanswered(): void {
		this.#counters.batches(["failed"]);
	}

	reconciled(which: string): void {
		this.#counters.reconciled([which]);
	}

	retried(step: string, reason: string): void {
		this.#counters.retried([step, reason]);
	}

	/** Sets what is asked for now; without figures, says that the outbox could not be read and leaves the rest out. */
	show(figures: AgentFigures | undefined): void {
		const { single, ...gauges } = this.#gauges;
		single.readable.set(figures === undefined ? 0 : 1);
		single.capture_lag_seconds.set(Math.max(0, this.#now() - (this.#levelAt ?? this.#startedAt)) / 1000);
		const values: Partial<Record<keyof typeof single, number | undefined>> = {
			oldest_pending_age_seconds: figures?.oldestPendingSeconds,
			pending_ops: figures?.pending,
			pending_bytes: figures?.pendingBytes,
			sealed_ops: figures?.sealed,
			in_flight_ops: figures?.inFlight,
			excluded_ops: figures?.excluded,
			dead_letters: figures?.dead,
			attention_items: figures?.attention,
			damaged_outboxes: figures?.damagedOutboxes,
			vanished_sessions: figures?.vanished,
			disk_free_bytes: figures?.diskFreeBytes,
			size_bytes: figures?.outboxBytes,
			capture_lag_events: figures?.lagEvents,
			connect_failures: figures?.connectAttempts,
		};
		for (const [name, value] of Object.entries(values) as [keyof typeof single, number | undefined][]) {
			if (value === undefined) single[name].remove();
			else single[name].set(value);
		}
		const one = (word: string | undefined) => (word === undefined ? undefined : new Map([[word, 1]]));
		gauges.breaker(one(figures?.breaker));
		gauges.agent(one(figures?.agentState));
		gauges.server(one(figures?.serverState));
		gauges.paused(figures && new Map(figures.paused === null ? [] : [[figures.paused, 1]]));
		gauges.sessions(figures?.sessions);
		gauges.parked(figures?.parked);
	}
}

function countersOf(metrics: Metrics, words: AgentWords) {
	return {
		captured: metrics.counter("captured_ops_total", "Ops that capture has put into the outbox."),
		snapshots: metrics.counter("snapshots_total", "Sessions captured by snapshot instead of by their log."),
		refilled: metrics.counter(
			"gaps_refilled_total",
			"Snapshots that brought what a log that had been followed did not tell: a hole, a wiped or renumbered log, a cut.",
		),
		commit: metrics.histogram(
			"commit_duration_seconds",
			"COMMIT of the outbox, its fsync included; a commit with nothing to write needs none.",
			COMMIT_BUCKETS,
		),
		ack: metrics.histogram("ack_duration_seconds", "From sending a batch to the server's answer.", ANSWER_BUCKETS),
		bytes: metrics.counter("sent_bytes_total", "Payload bytes of the batches that were sent, each time they were."),
		batches: metrics.counter("batches_total", "Batches that were sent, by how that ended; failed: without an answer.", {
			outcome: ["acknowledged", "rejected", "failed"],
		}),
		ops: metrics.counter("ops_total", "Ops in the server's answers, by what it did with them.", {
			outcome: ["applied", "duplicate", "rejected"],
		}),
		reconciled: metrics.counter("reconciles_total", "Redemptions, by what the positions on both sides told.", {
			case: words.reconcileCases,
		}),
		retried: metrics.counter("retries_total", "Attempts that did not succeed, by what was tried and why.", {
			step: words.steps,
			reason: words.reasons,
		}),
	};
}

function gaugesOf(metrics: Metrics, words: AgentWords) {
	const single = {
		readable: metrics.gauge("readable", "1 when the outbox could be read for this scrape, else 0."),
		oldest_pending_age_seconds: metrics.gauge(
			"oldest_pending_age_seconds",
			"Age of the oldest change that the server does not have; 0 when nothing is pending.",
		),
		pending_ops: metrics.gauge("pending_ops", "Ops that the server has not acknowledged."),
		pending_bytes: metrics.gauge("pending_bytes", "Payload bytes of the ops that the server has not acknowledged."),
		sealed_ops: metrics.gauge("sealed_ops", "Pending ops whose positions and bytes are frozen."),
		in_flight_ops: metrics.gauge("in_flight_ops", "Sealed ops that are under way."),
		excluded_ops: metrics.gauge("excluded_ops", "Ops of sessions that the rules leave out."),
		dead_letters: metrics.gauge("dead_letters", "Ops that were set aside for a person."),
		attention_items: metrics.gauge(
			"attention_items",
			'What waits for a person: the entries under "Needs you" in status.',
		),
		damaged_outboxes: metrics.gauge("damaged_outboxes", "Damaged outboxes that were set aside and are still there."),
		vanished_sessions: metrics.gauge(
			"vanished_sessions",
			"Sessions that OpenCode does not show any more, without proof that they were deleted.",
		),
		disk_free_bytes: metrics.gauge("disk_free_bytes", "What is free on the disk that holds the outbox."),
		size_bytes: metrics.gauge("size_bytes", "The outbox's database with its write-ahead log."),
		capture_lag_events: metrics.gauge(
			"capture_lag_events",
			"Events in OpenCode's log that are not captured; absent where its log cannot be looked at.",
		),
		capture_lag_seconds: metrics.gauge(
			"capture_lag_seconds",
			"Since all that OpenCode had committed was captured; up to the poll interval while nothing is behind.",
		),
		connect_failures: metrics.gauge("connect_failures", "Attempts to connect that failed in a row."),
	} satisfies Record<string, Gauge>;
	return {
		single,
		breaker: metrics.gauges(
			"breaker_state",
			"1 for the state of the way to the server: closed (in use), open (waiting before the next attempt), half_open (trying).",
			"state",
			["closed", "half_open", "open"],
		),
		agent: metrics.gauges(
			"agent_state",
			"1 for what the agent does; waiting: for an OpenCode.",
			"state",
			words.agentStates,
		),
		server: metrics.gauges("server_state", "1 for what is known of the share server.", "state", words.serverStates),
		paused: metrics.gauges(
			"capture_paused",
			"1 for why capture waits; all 0 while it goes on.",
			"reason",
			words.pausedReasons,
		),
		sessions: metrics.gauges("sessions", "Sessions by state, as status tells it.", "state", words.sessionStates),
		parked: metrics.gauges("parked_sessions", "Sessions that wait for a person, by why.", "code", words.parkedCodes),
	};
}
