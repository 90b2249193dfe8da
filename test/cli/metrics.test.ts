import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { eventually, secretsIn } from "../fixture/cli.ts";
import { type Family, parseMetrics, seriesOf } from "../fixture/prometheus.ts";
import { after } from "../outbox/fixture.ts";
import { connect, openShare } from "../server/client.ts";
import { OpencodeDatabase } from "../source/opencode-database.ts";
import { ended, firstLine, type Machine, machine } from "./lab.ts";

const PREFIX = "opencode_outbox_";

interface Running {
	readonly metrics_url?: string;
	readonly url: string;
}

async function start(home: Machine, ...args: string[]): Promise<Running> {
	const child = home.start([...args, "--port", "0", "--json", "--log-level", "silent"]);
	return JSON.parse(await firstLine(child));
}

async function scrape({ metrics_url: url }: Running): Promise<Map<string, Family>> {
	const answer = await fetch(`${url}`);
	expect([answer.status, answer.headers.get("content-type")]).toEqual([
		...[200, expect.stringMatching(/^text\/plain; version=0\.0\.4/)],
	]);
	return parseMetrics(await answer.text());
}

function value(families: ReadonlyMap<string, Family>, name: string, labels?: Record<string, string>) {
	return seriesOf(families, `${PREFIX}${name}`, labels);
}

async function opencodeOn({ home }: Machine): Promise<OpencodeDatabase> {
	mkdirSync(join(home, "data", "opencode"), { recursive: true });
	const opencode = await OpencodeDatabase.create(join(home, "data", "opencode", "opencode.db"));
	after(() => opencode.sql.close());
	return opencode;
}

test("an agent tells Prometheus what it captures and sends, and its own server what it takes", async () => {
	const home = machine();
	const opencode = await opencodeOn(home);
	const agent = await start(home, "run", "--metrics-port", "0", "--poll", "50ms");
	const idle = await scrape(agent);
	expect(value(idle, "ops_total", { outcome: "applied" })).toBe(0);
	expect(value(idle, "build_info", { version: "0.1.0" })).toBe(1);

	opencode.session("ses_1");
	opencode.message("ses_1", "msg_1", "what nobody but the share may read");
	let seen = idle;
	await eventually("the flush to show", async () => {
		seen = await scrape(agent);
		const isSent = (value(seen, "ops_total", { outcome: "applied" }) ?? 0) >= 2;
		return isSent && value(seen, "pending_ops") === 0 && value(seen, "capture_lag_events") === 0;
	});
	const applied = value(seen, "ops_total", { outcome: "applied" });
	expect(value(seen, "server_ops_total", { outcome: "applied" })).toBe(applied);
	// Of an entity that changed again before it was sealed only the last change is sent.
	expect(value(seen, "captured_ops_total")).toBeGreaterThanOrEqual(applied ?? 0);
	expect(value(seen, "reconciles_total", { case: "in_step" })).toBeGreaterThan(0);
	expect(value(seen, "server_redemptions_total", { scope: "append" })).toBeGreaterThan(0);
	for (const moved of ["commit_duration_seconds", "ack_duration_seconds", "server_commit_duration_seconds"])
		expect(value(seen, `${moved}_count`), moved).toBeGreaterThan(0);
	for (const bytes of ["sent_bytes_total", "server_received_bytes_total", "size_bytes", "server_database_size_bytes"])
		expect(value(seen, bytes), bytes).toBeGreaterThan(0);
	expect(value(seen, "breaker_state", { state: "closed" })).toBe(1);
	expect(value(seen, "agent_state", { state: "running" })).toBe(1);
	expect(value(seen, "sessions", { state: "synced" })).toBe(1);
	expect(value(seen, "oldest_pending_age_seconds")).toBe(0);
	expect(value(seen, "attention_items")).toBe(0);
	expect(value(seen, "server_websockets")).toBe(1);

	const names = (type: string) => [...seen].filter(([, family]) => family.type === type).map(([name]) => name);
	expect(names("counter").every((name) => name.endsWith("_total"))).toBe(true);
	expect(names("histogram").every((name) => name.endsWith("_seconds"))).toBe(true);
	expect([...seen.keys()].every((name) => name.startsWith(PREFIX))).toBe(true);

	// No secret, no id, no word of a session, and nobody but loopback.
	const told = await (await fetch(`${agent.metrics_url}`)).text();
	for (const secret of await secretsIn(home.dataDir)) expect(told).not.toContain(secret);
	expect(told).not.toMatch(/ses_1|msg_1|what nobody|\/share\/|shr_/);
	expect(new URL(`${agent.metrics_url}`).hostname).toBe("127.0.0.1");
});

test("a server by itself tells of redemptions and refusals, on a port that no proxy forwards to", async () => {
	const server = await start(machine(), "serve", "--metrics-port", "0");
	expect([...(await scrape(server)).keys()].filter((name) => !/_server_|_build_/.test(name))).toEqual([]);
	expect((await fetch(`${server.url}/metrics`)).status).toBe(404);
	const client = await connect(server.url);
	await expect(openShare(client)).rejects.toThrow();
	await client.close();
	await eventually("the refusal to show", async () => {
		const seen = await scrape(server);
		return value(seen, "server_refusals_total", { method: "createShare", code: "denied" }) === 1;
	});
});

test("nothing listens for metrics unless it is asked for", async () => {
	expect(await start(machine(), "serve")).not.toHaveProperty("metrics_url");
	expect(await start(machine(), "serve", "--metrics-port", "off")).not.toHaveProperty("metrics_url");
});

test("what is no port, and a port that is taken, is refused with what to do", async () => {
	for (const command of ["run", "serve"]) {
		const { code, stderr } = await machine().cli([command, "--metrics-port", "0.0.0.0:9464"]);
		expect([code, stderr]).toEqual([64, expect.stringContaining("--metrics-port")]);
		expect(stderr).toContain("expected a port, 0-65535, or off");
	}
	const taken = createServer().listen(0, "127.0.0.1");
	after(() => taken.close());
	await once(taken, "listening");
	const port = `${(taken.address() as AddressInfo).port}`;
	for (const command of ["run", "serve"]) {
		const child = machine().start([command, "--port", "0", "--metrics-port", port, "--log-level", "silent"]);
		const { code, stderr } = await ended(child);
		expect([code, stderr]).toEqual([69, expect.stringContaining(`127.0.0.1:${port}`)]);
		expect(stderr).toContain("--metrics-port");
	}
});
