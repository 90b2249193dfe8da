import { expect, test } from "vitest";
import { AGENT_WORDS, breakerOf } from "../../src/cli/metrics.ts";
import { AgentMetrics, Metrics, ServerMetrics } from "../../src/metrics/prometheus.ts";
import { REFUSALS } from "../../src/protocol/codes.ts";
import { parseMetrics, seriesOf } from "../fixture/prometheus.ts";

let now = 0;

function all() {
	const metrics = new Metrics();
	const agent = new AgentMetrics(metrics, AGENT_WORDS, () => now);
	const server = new ServerMetrics(metrics, REFUSALS);
	return { agent, server, scrape: async () => parseMetrics(await metrics.registry.metrics()) };
}

const FIGURES = {
	...{ oldestPendingSeconds: 1.5, pending: 3, pendingBytes: 30, sealed: 2, inFlight: 1, excluded: 4, dead: 5 },
	...{ attention: 6, damagedOutboxes: 1, vanished: 2, diskFreeBytes: 7, outboxBytes: 8, lagEvents: 9 },
	...({ connectAttempts: 10, breaker: "open", agentState: "running", serverState: "unreachable" } as const),
	...{ paused: "disk_full", sessions: new Map([["parked", 2]]), parked: new Map([["denied", 2]]) },
};

test("names, units and types are as Prometheus' conventions have them", async () => {
	const families = await all().scrape();
	expect(families.size).toBeGreaterThan(35);
	for (const [name, { type, help }] of families) {
		expect(name).toMatch(/^opencode_outbox_[a-z_]+$/);
		expect(help, name).toMatch(/\.$/);
		expect(name.endsWith("_total"), name).toBe(type === "counter");
		expect(name, name).not.toMatch(/_(?:ms|milliseconds|kb|mb|count|sum|bucket)$/);
		if (type === "histogram") expect(name).toMatch(/_seconds$/);
	}
});

test("every series of a counter is there from the start", async () => {
	const { server, scrape } = all();
	const name = "opencode_outbox_server_refusals_total";
	const labels = { method: "redeemShare", code: "denied" };
	const before = await scrape();
	expect(seriesOf(before, name, labels)).toBe(0);
	server.refused("redeemShare", "denied");
	const after = await scrape();
	expect(seriesOf(after, name, labels)).toBe(1);
	expect(after.get(name)?.samples.length).toBe(before.get(name)?.samples.length);
});

test("a label says nothing but what it can say, so no flood of words makes a flood of series", async () => {
	const { agent, server, scrape } = all();
	for (let n = 0; n < 50; n++) {
		agent.retried(`ses_${n}`, `reason ${n}`);
		agent.reconciled(`case ${n}`);
		server.refused(`method ${n}`, `code ${n}`);
		agent.show({ ...FIGURES, paused: `pause ${n}`, parked: new Map([[`code ${n}`, 1]]) });
	}
	const families = await scrape();
	expect(seriesOf(families, "opencode_outbox_retries_total", { step: "other", reason: "other" })).toBe(50);
	expect(seriesOf(families, "opencode_outbox_reconciles_total", { case: "other" })).toBe(50);
	expect(seriesOf(families, "opencode_outbox_server_refusals_total", { method: "other", code: "other" })).toBe(50);
	expect(seriesOf(families, "opencode_outbox_capture_paused", { reason: "other" })).toBe(1);
	expect(seriesOf(families, "opencode_outbox_parked_sessions", { code: "other" })).toBe(1);
	expect(JSON.stringify([...families])).not.toMatch(/ses_|reason \d|code \d|pause \d/);
});

test("figures are shown as they are now, and not any more when they cannot be told", async () => {
	now = 10_000;
	const { agent, scrape } = all();
	agent.level(8000);
	agent.show(FIGURES);
	const shown = await scrape();
	const value = (name: string, labels?: Record<string, string>) => seriesOf(shown, `opencode_outbox_${name}`, labels);
	expect(value("oldest_pending_age_seconds")).toBe(1.5);
	expect(value("capture_lag_events")).toBe(9);
	expect(value("capture_lag_seconds")).toBe(2);
	expect(value("breaker_state", { state: "open" })).toBe(1);
	expect(value("breaker_state", { state: "closed" })).toBe(0);
	expect(value("capture_paused", { reason: "disk_full" })).toBe(1);
	expect(value("sessions", { state: "parked" })).toBe(2);
	expect(value("readable")).toBe(1);
	agent.show({ ...FIGURES, lagEvents: undefined, paused: null });
	expect(seriesOf(await scrape(), "opencode_outbox_capture_lag_events")).toBeUndefined();
	expect(seriesOf(await scrape(), "opencode_outbox_capture_paused", { reason: "disk_full" })).toBe(0);
	agent.show(undefined);
	const unread = await scrape();
	expect(seriesOf(unread, "opencode_outbox_readable")).toBe(0);
	expect(seriesOf(unread, "opencode_outbox_pending_ops")).toBeUndefined();
	for (const name of ["breaker_state", "server_state", "agent_state", "sessions", "parked_sessions", "capture_paused"])
		expect(unread.get(`opencode_outbox_${name}`)?.samples, name).toEqual([]);
});

test("an answer counts its ops by outcome, and its batch once", async () => {
	const { agent, server, scrape } = all();
	const rejected = [{ op_id: "c", code: "too_large", reason: "" }];
	agent.answered(20, { applied: ["a", "b"], duplicates: ["d"], rejected });
	agent.unanswered();
	server.appended({ applied: ["a"], duplicates: [], rejected: [] }, [{ payload: '"é"' }]);
	server.called("appendOps", 5, 2);
	server.called("redemption", 5, 2);
	const families = await scrape();
	const value = (name: string, labels?: Record<string, string>) =>
		seriesOf(families, `opencode_outbox_${name}`, labels);
	const ops = ["applied", "duplicate", "rejected"].map((outcome) => value("ops_total", { outcome }));
	const batches = ["acknowledged", "rejected", "failed"].map((outcome) => value("batches_total", { outcome }));
	expect([ops, batches]).toEqual([
		[2, 1, 1],
		[0, 1, 1],
	]);
	expect(value("ack_duration_seconds_sum")).toBe(0.02);
	expect(value("server_received_bytes_total")).toBe(4);
	// What only looks syncs nothing.
	expect(value("server_commit_duration_seconds_count")).toBe(1);
	expect(value("server_append_duration_seconds_count")).toBe(1);
});

test.each([
	["connected", 3, null, "closed"],
	["unknown", 0, null, "closed"],
	["unreachable", 3, 2000, "open"],
	["refused", 0, 2000, "open"],
	["unreachable", 3, 500, "half_open"],
	["unknown", 2, null, "half_open"],
] as const)(
	"a server that is %s after %i failures, due at %s, makes the breaker %s",
	(state, attempts, due, breaker) => {
		const server = { url: null, transport: null, state, connect_attempts: attempts, next_connect_at: due };
		expect(breakerOf(server, 1000)).toBe(breaker);
	},
);
