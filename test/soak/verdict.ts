import { loadavg } from "node:os";
import type { CliResult } from "../fixture/cli.ts";
import type { Sample } from "./sample.ts";
import { isFlat, type Trend, trendOf } from "./trend.ts";
import type { Written } from "./writer.ts";

const MIB = 1024 * 1024;
/** Growth per hour that is not told from none. Twenty minutes cannot see less, and a month of it is 700 MiB. */
const TOLERANCE = MIB;
/** SQLite's checkpoint begins at 4 MiB of WAL; one large transaction and a reader may hold it up a few times that. */
const WAL_MAX = 32 * MIB;
/**
 * The resident set is not held to be flat: beside the live heap and the allocator's part, which are, it has pages that V8
 * keeps for garbage to come, and it keeps more of them for hours while the machine has memory to spare.
 */
const RSS_MAX = 384 * MIB;
/** A trend needs this long after the warm-up, in ms: ten points. */
const JUDGED_MS_MIN = 600_000;
/** What a restarted server needs to have answered every session again, in ms. */
const SERVER_SETTLED_MS = 10_000;

export interface Soaked {
	readonly rate: number;
	readonly restartMs: number;
	readonly warmUpMs: number;
	readonly durationMs: number;
	readonly growing: boolean;
	readonly samples: readonly Sample[];
	/** Bytes alive on the agent's heap. */
	readonly heap: readonly { readonly at: number; readonly value: number }[];
	/** After everything was sent. */
	readonly last: Sample;
	readonly written: Written;
	readonly writtenForMs: number;
	readonly restarts: { readonly SIGTERM: number; readonly SIGKILL: number };
	readonly outagesMs: readonly number[];
	readonly flushed: CliResult;
	readonly verified: CliResult;
	/** The agent's end after SIGTERM. */
	readonly ended: number | NodeJS.Signals;
}

/** The summary; `failures` is empty when all is well. Sizes in MiB, rates per second, slopes per hour. */
export type Verdict = ReturnType<typeof judge>;

export function judge(soaked: Soaked) {
	const { samples, last, written, writtenForMs, restarts, flushed, verified } = soaked;
	const warmAt = (samples[0]?.at ?? 0) + soaked.warmUpMs;
	const warm = samples.filter(({ at }) => at >= warmAt);
	const judged = (warm.at(-1)?.at ?? 0) - warmAt >= JUDGED_MS_MIN;
	const trend = (of: (sample: Sample) => number, from = warm) =>
		trendOf(from.map((sample) => ({ at: sample.at, value: of(sample) })));
	// None while it is being restarted.
	const settled = warm.filter(({ serverAgeMs, serverRss }) => serverAgeMs >= SERVER_SETTLED_MS && serverRss > 0);
	const trends = {
		agent_heap: trendOf(soaked.heap.filter(({ at }) => at >= warmAt)),
		agent_rss: trend((sample) => sample.agentRss),
		agent_anonymous: trend((sample) => sample.agentAnonymous),
		agent_malloc: trend((sample) => sample.agentMalloc),
		server_rss: trend((sample) => sample.serverRss, settled),
		outbox: trend((sample) => sample.outbox),
		outbox_wal: trend((sample) => sample.outboxWal),
		share: trend((sample) => sample.share),
		share_wal: trend((sample) => sample.shareWal),
	};
	const files = warm.map(({ agentFiles }) => agentFiles);
	const lags = samples.map(({ oldestPendingMs }) => oldestPendingMs).sort((a, b) => a - b);
	const verdicts = verified.json<{ clean: boolean; sessions: { clean: boolean; compared: number }[] }>();
	const compared = verdicts.sessions.reduce((sum, session) => sum + session.compared, 0);

	const failures: string[] = [];
	const expect = (holds: boolean, claim: string) => void (holds || failures.push(claim));
	expect(flushed.code === 0, `flush drains: ${flushed.code} ${flushed.stdout}${flushed.stderr}`);
	expect(verified.code === 0 && verdicts.clean, `verify is clean: ${verified.code}`);
	expect(verdicts.sessions.length === written.sessions, `every session is shared: ${verdicts.sessions.length}`);
	expect(compared >= written.messages - written.messagesRemoved, `every message is compared: ${compared}`);
	expect(last.pending === 0 && last.dead === 0, `nothing is left: ${last.pending} pending, ${last.dead} dead`);
	expect(soaked.ended === 0, `the agent ends well: ${soaked.ended}`);
	expect(written.events >= 0.9 * soaked.rate * (writtenForMs / 1000), "the writer keeps its rate");
	if (judged) {
		expect(isFlat(trends.agent_heap, TOLERANCE), "what is alive on the agent's heap is flat");
		expect(isFlat(trends.agent_malloc, TOLERANCE), "what the agent has from the C library's allocator is flat");
		const rss = Math.max(trends.agent_rss.max, trends.server_rss.max);
		expect(rss <= RSS_MAX, `agent and server stay below ${RSS_MAX / MIB} MiB: ${round(rss / MIB)} MiB`);
		expect(trends.outbox_wal.max <= WAL_MAX && trends.share_wal.max <= WAL_MAX, "the WALs are bounded");
		expect(isFlat(trends.outbox_wal, TOLERANCE), "the outbox's WAL is flat");
		if (!soaked.growing) expect(isFlat(trends.outbox, TOLERANCE), "the outbox's file is flat");
	}
	return {
		failures,
		flat: judged ? "judged" : "not judged: the run is too short",
		workload: soaked.growing ? "growing" : "bounded",
		minutes: round(writtenForMs / 60_000),
		events: written.events,
		events_per_second: round(written.events / (writtenForMs / 1000)),
		ops_delivered: last.delivered,
		ops_per_second: round(last.delivered / (writtenForMs / 1000)),
		sessions: written.sessions,
		messages: written.messages,
		messages_removed: written.messagesRemoved,
		parts_removed: written.partsRemoved,
		verified: { clean: verdicts.clean, sessions: verdicts.sessions.length, entities: compared },
		restarts,
		outage_ms_max: round(Math.max(0, ...soaked.outagesMs)),
		oldest_pending_ms: {
			p50: lags[Math.floor(lags.length / 2)],
			p99: lags[Math.floor(lags.length * 0.99)],
			max: lags.at(-1),
		},
		pending_max: Math.max(...samples.map(({ pending }) => pending)),
		attempts_max: Math.max(...samples.map(({ attempts }) => attempts)),
		agent_files: { min: Math.min(...files), max: Math.max(...files) },
		opencode_mib: round(last.opencode / MIB),
		after_warm_up_mib: Object.fromEntries(Object.entries(trends).map(([name, of]) => [name, told(of)])),
		samples: samples.length,
		load: loadavg().map(round),
	};
}

function told(trend: Trend) {
	const { perHour, standardError, points, min, mean, max } = trend;
	const mib = (bytes: number) => (Number.isFinite(bytes) ? round(bytes / MIB) : null);
	return {
		slope_per_hour: mib(perHour),
		error: mib(standardError),
		points,
		min: mib(min),
		mean: mib(mean),
		max: mib(max),
	};
}

function round(value: number): number {
	return Math.round(value * 100) / 100;
}
