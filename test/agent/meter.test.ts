import { expect, test } from "vitest";
import { type AgentMeter, caseOf, RECONCILE_CASES } from "../../src/agent/meter.ts";
import { reconcile } from "../../src/agent/reconcile.ts";

/** A = 2 acknowledged, S = 5 sealed, ours. */
const LOCAL = {
	...{ acked_cursor: 2, sealed_cursor: 5, acked_op_id: "op-1" },
	opIdBelow: (cursor: number) => `op-${cursor - 1}`,
	batchIdBelow: () => "batch",
};

test.each([
	[{ cursor: 2, last_op_id: "op-1" }, "in_step"],
	[{ cursor: 4, last_op_id: "op-3", last_batch_id: "batch" }, "reply_lost"],
	[{ cursor: 4, last_op_id: "op-3", last_batch_id: "other" }, "resend"],
	[{ cursor: 1, last_op_id: "op-0" }, "server_behind"],
	[{ cursor: 6, last_op_id: "op-5" }, "server_ahead"],
	[{ cursor: 3, last_op_id: "alien" }, "foreign_op"],
] as const)("a share at %o is a case of %s", (remote, word) => {
	expect(caseOf(reconcile(LOCAL, remote), LOCAL, remote)).toBe(word satisfies (typeof RECONCILE_CASES)[number]);
	expect(RECONCILE_CASES).toContain(word);
});

test("what is told while it is done fits what counts it", async () => {
	const { AgentMetrics, Metrics } = await import("../../src/metrics/prometheus.ts");
	const { AGENT_WORDS } = await import("../../src/cli/metrics.ts");
	const meter: AgentMeter = new AgentMetrics(new Metrics(), AGENT_WORDS, Date.now);
	expect(() => meter.reconciled("in_step")).not.toThrow();
});
