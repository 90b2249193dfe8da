import { expect, test } from "vitest";
import { parse } from "yaml";
import { calledCommand } from "../../src/cli/commands.ts";
import { AGENT_WORDS } from "../../src/cli/metrics.ts";
import { AgentMetrics, Metrics, ServerMetrics } from "../../src/metrics/prometheus.ts";
import { REFUSALS } from "../../src/protocol/codes.ts";
import { type Family, parseMetrics } from "../fixture/prometheus.ts";
import { deployed } from "./files.ts";

interface Alert {
	readonly alert: string;
	readonly expr: string;
	readonly for?: string;
	readonly labels: { readonly severity: string };
	readonly annotations: { readonly summary: string; readonly description?: string; readonly next: string };
}

interface Panel {
	readonly id: number;
	readonly type: string;
	readonly title: string;
	readonly targets?: readonly { readonly expr: string; readonly legendFormat: string }[];
	readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
}

const ALERTS: readonly Alert[] = parse(deployed("prometheus", "alerts.yaml")).groups.flatMap(
	(group: { rules: Alert[] }) => group.rules,
);
const DASHBOARD = JSON.parse(deployed("prometheus", "dashboard.json"));
const PANELS: readonly Panel[] = DASHBOARD.panels;
const METRICS = await families();

/** Every metric that there is, with every value of every label. */
async function families(): Promise<Map<string, Family>> {
	const metrics = new Metrics();
	metrics.info("build_info", "The version.", { version: "1" });
	new AgentMetrics(metrics, AGENT_WORDS, Date.now);
	new ServerMetrics(metrics, REFUSALS);
	return parseMetrics(await metrics.registry.metrics());
}

/** Series that an expression names which do not exist, and labels and values that they cannot have. */
function unknownIn(expr: string): string[] {
	const wrong: string[] = [];
	for (const [whole, name = "", matchers = ""] of expr.matchAll(/\b(opencode_outbox_\w+)(?:\{([^}]*)\})?/g)) {
		const base = name.replace(/_(?:bucket|sum|count)$/, "");
		const family = METRICS.get(base) ?? METRICS.get(name);
		const isPart = family?.type === "histogram";
		if (family === undefined || isPart !== (base !== name)) wrong.push(whole);
		for (const [, label = "", value = ""] of matchers.matchAll(/(\w+)[=!]~?"([^"]*)"/g)) {
			if (label === "instance") continue;
			const known = new Set(family?.samples.map(({ labels }) => labels[label]));
			for (const one of value.split("|")) if (!known.has(one) && one !== "other") wrong.push(`${whole}: ${one}`);
		}
	}
	return wrong;
}

test("this test sees what it judges", () => {
	expect(unknownIn("opencode_outbox_pending_ops + rate(opencode_outbox_ack_duration_seconds_bucket[1m])")).toEqual([]);
	expect(unknownIn("opencode_outbox_nothing")).toEqual(["opencode_outbox_nothing"]);
	expect(unknownIn("opencode_outbox_ack_duration_seconds")).not.toEqual([]);
	expect(unknownIn('opencode_outbox_server_state{state="gone"}')).not.toEqual([]);
});

test("every alert asks for metrics that exist, and says which command comes next", () => {
	expect(new Set(ALERTS.map(({ alert }) => alert)).size).toBe(ALERTS.length);
	for (const { alert, expr, labels, annotations, ...rest } of ALERTS) {
		expect(alert).toMatch(/^OpencodeOutbox[A-Z][A-Za-z]+$/);
		expect(unknownIn(expr), alert).toEqual([]);
		expect(expr, alert).toMatch(/opencode_outbox_|^up\{job="opencode-outbox"\}/);
		expect(["critical", "warning"]).toContain(labels.severity);
		expect(rest.for ?? "0m", alert).toMatch(/^\d+[smh]$/);
		expect(annotations.summary, alert).not.toBe("");
		expect(annotations.next, alert).toMatch(/`opencode-outbox [a-z]+/);
	}
});

test("the commands and flags that alerts name are there", async () => {
	for (const { alert, annotations } of ALERTS)
		for (const [, line = ""] of annotations.next.matchAll(/`opencode-outbox ([^`]+)`/g)) {
			const words = line.split(" ");
			const { args, subCommands } = await calledCommand(words);
			expect(Object.keys(subCommands), `${alert}: ${line}`).toEqual([]);
			for (const flag of words.filter((word) => word.startsWith("--")))
				expect(args, line).toHaveProperty([flag.slice(2)]);
		}
});

test("whatever waits for a person in status has an alert", () => {
	const all = ALERTS.map(({ expr }) => expr).join("\n");
	const names = (metric: string) =>
		[...all.matchAll(new RegExp(`${metric}\\{\\w+=~?"([^"]*)"`, "g"))].flatMap(([, value = ""]) => value.split("|"));
	// src/cli/attention.ts, from its top: the agent, room, OpenCode, damage, the key, parked, restoring, dead, vanished.
	expect(all).toContain('up{job="opencode-outbox"} == 0');
	expect(names("capture_paused").sort()).toEqual([...AGENT_WORDS.pausedReasons, "other"].sort());
	expect(names("parked_sessions").sort()).toEqual([...AGENT_WORDS.parkedCodes, "other"].sort());
	expect(names("server_state")).toContain("refused");
	for (const metric of ["damaged_outboxes", "dead_letters", "vanished_sessions", "disk_free_bytes", "attention_items"])
		expect(all).toContain(`opencode_outbox_${metric} `);
});

test("every panel of the dashboard asks for metrics that exist, and every metric is on it or in an alert", () => {
	const exprs = PANELS.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ title, expr })));
	for (const { title, expr } of exprs) expect(unknownIn(expr), title).toEqual([]);
	const shown = `${exprs.map(({ expr }) => expr).join("\n")}\n${JSON.stringify(DASHBOARD.templating)}`;
	const alerted = ALERTS.map(({ expr }) => expr).join("\n");
	const isUsed = (name: string) => new RegExp(`\\b${name}(?:_bucket)?\\b`).test(`${shown}\n${alerted}`);
	expect([...METRICS.keys()].filter((name) => !isUsed(name))).toEqual([]);
});

test("no two panels lie on each other", () => {
	expect(new Set(PANELS.map(({ id }) => id)).size).toBe(PANELS.length);
	const taken = new Set<string>();
	for (const { title, gridPos } of PANELS) {
		expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
		for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++)
			for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
				expect(taken.has(`${x} ${y}`), title).toBe(false);
				taken.add(`${x} ${y}`);
			}
	}
});

test("what Prometheus is told to scrape is where the README has it listen, by the job that alerts name", () => {
	const { scrape_configs, rule_files } = parse(deployed("prometheus", "prometheus.yml"));
	expect(rule_files).toEqual(["alerts.yaml"]);
	expect(scrape_configs[0].job_name).toBe("opencode-outbox");
	for (const { targets } of scrape_configs[0].static_configs) expect(targets[0]).toMatch(/^127\.0\.0\.1:\d+$/);
});
