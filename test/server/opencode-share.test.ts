import { readdirSync, readFileSync } from "node:fs";
import { connect as connectSocket } from "node:net";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { MESSAGE_BYTES_MAX, SYNC_DEPTH_MAX, SYNC_VALUES_MAX } from "../../src/protocol/limits.ts";
import { type Client, connect, createKey, SERVER_KEY } from "./client.ts";
import { opencodeContract } from "./contract/opencode.ts";
import { type NodeHost, recordingLogger, startHost } from "./host.ts";
import { diff, message, OwnShareClient, part, session } from "./opencode-calls.ts";

const logger = recordingLogger();
let host: NodeHost;
let client: Client;
let own: OwnShareClient;
beforeAll(async () => {
	host = await startHost({ opencodeShare: true, logger });
	client = await connect(host.url);
	own = new OwnShareClient(host.url);
});
afterAll(async () => {
	await client.close();
	await host.close();
});

describe("the share contract on Node", () =>
	opencodeContract(
		() => client,
		() => host,
	));

describe("a server that the operator has not opened", () => {
	test("makes no share, and still takes and deletes those that it has made before", async () => {
		const opened = await startHost({ opencodeShare: true });
		const share = await new OwnShareClient(opened.url).create();
		await opened.stop();
		const closed = await startHost({ databasePath: opened.databasePath });
		const there = new OwnShareClient(closed.url);
		const { status, json } = await there.call("POST", "/api/share", { sessionID: "ses_1" });
		expect([status, json]).toEqual([
			403,
			{ error: "denied", message: expect.stringContaining("OpenCode's own share") },
		]);
		expect((await there.sync(share, session())).json).toMatchObject({ applied: 1 });
		expect(await there.data(share)).toEqual([session()]);
		expect((await there.remove(share)).status).toBe(200);
		expect((await closed.audit()).map(([event, method]) => `${event} ${method}`)).toContain(
			"refused createForOpencode",
		);
		await closed.close();
		await opened.close();
	});
});

describe("a share that was made without a key", () => {
	test("is no owner's: it is not in any list, and nobody claims it", async () => {
		const share = await own.create();
		const { share_id } = await (await client.api.viewShare(share.id)).redemption();
		const { shares } = await client.api.listShares(SERVER_KEY);
		expect(shares).toEqual([]);
		const request = { share_id, create_key: createKey(), next_secret: createKey() };
		await expect(client.api.claimShare(SERVER_KEY, request)).rejects.toMatchObject({ code: "denied" });
	});

	test("has its secret in the database as a hash only, and after its deletion no content", async () => {
		const content = "a sentence that nobody else says";
		const alone = await startHost({ opencodeShare: true });
		const there = new OwnShareClient(alone.url);
		const share = await there.create();
		await there.sync(share, session({ title: content }));
		const bytes = () =>
			readdirSync(dirname(alone.databasePath))
				.map((name) => readFileSync(join(dirname(alone.databasePath), name), "latin1"))
				.join("");
		expect(bytes()).toContain(content);
		expect(bytes()).not.toContain(share.secret);
		await there.remove(share);
		await alone.stop();
		expect(bytes()).not.toContain(content);
		await alone.close();
	});
});

describe("wrong input", () => {
	test.each([
		["no JSON", "not JSON", /not JSON/],
		["half of JSON", '{"secret":"', /not JSON/],
		["nothing", "", /not JSON/],
		["a list", "[]", /body/],
		["no secret", JSON.stringify({ data: [] }), /body\.secret/],
		["a short secret", JSON.stringify({ secret: "short", data: [] }), /body\.secret/],
		["data that is no list", JSON.stringify({ secret: "s".repeat(43), data: {} }), /body\.data/],
		["too deep", `${"[".repeat(SYNC_DEPTH_MAX + 1)}`, /deeper/],
		["too many values", `[${"0,".repeat(SYNC_VALUES_MAX)}0]`, /values/],
	])("%s is 400, with what is wrong and nothing of what was sent", async (_, body, message) => {
		const share = await own.create();
		const { status, json } = await own.call("POST", `/api/share/${share.id}/sync`, body);
		expect([status, json]).toEqual([400, { error: "invalid_request", message: expect.stringMatching(message) }]);
	});

	test.each([[{}], [{ sessionID: "" }], [{ sessionID: 7 }], [{ sessionID: "s".repeat(201) }]])(
		"a share of no session is none: %j",
		async (body) => {
			expect((await own.call("POST", "/api/share", body)).status).toBe(400);
		},
	);

	test("another content type than JSON's is 415: a web page can send those without asking", async () => {
		for (const type of ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
			expect(await own.call("POST", "/api/share", { sessionID: "ses_1" }, type)).toMatchObject({
				...{ status: 415, json: { error: "invalid_request" } },
			});
		expect(
			(await own.call("POST", "/api/share", { sessionID: "ses_1" }, "application/json; charset=utf-8")).status,
		).toBe(200);
	});

	test("an unknown share is 404, and a wrong secret 403, whatever the share's state", async () => {
		const share = await own.create();
		const wrong = { ...share, secret: "w".repeat(43) };
		for (const id of ["a-slug-nobody-has-01", "short", "%00"]) {
			expect((await own.sync({ ...share, id }, session())).json).toMatchObject({ error: "not_found" });
			expect((await own.remove({ ...share, id })).status).toBe(404);
		}
		for (const answer of [await own.sync(wrong, session()), await own.remove(wrong)])
			expect(answer).toMatchObject({ status: 403, json: { error: "denied" } });
		await own.remove(share);
		expect((await own.remove(wrong)).status).toBe(403);
	});

	test("a body that is too large is 413, and the share is as it was", async () => {
		const share = await own.create();
		const body = `{"secret":"${share.secret}","data":[${" ".repeat(MESSAGE_BYTES_MAX)}]}`;
		const answer = await own.call("POST", `/api/share/${share.id}/sync`, body);
		expect(answer).toEqual({ status: 413, json: { error: "too_large" } });
		expect(await own.data(share)).toEqual([]);
	});

	test("a body that is cut off changes nothing and is no defect of the server's, and the next one is taken", async () => {
		const share = await own.create();
		const body = JSON.stringify({ secret: share.secret, data: [session(), message("msg_1")] });
		const socket = connectSocket(host.port, "127.0.0.1");
		const head = `POST /api/share/${share.id}/sync HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`;
		socket.write(head + body.slice(0, -2));
		await new Promise((resolve) => setTimeout(resolve, 100));
		socket.destroy();
		expect(await own.data(share)).toEqual([]);
		expect((await own.sync(share, session(), message("msg_1"))).json).toMatchObject({ applied: 2 });
		expect(logger.lines.filter(({ level }) => level === "error")).toEqual([]);
	});

	test("what was left out of a sync is in the log, once, without its content", async () => {
		const share = await own.create();
		const before = logger.lines.length;
		await own.sync(share, message("msg/1", { text: "private" }), { type: "todo", data: "private" }, session());
		const told = logger.lines.slice(before).filter(({ level }) => level === "warn");
		expect(told.map(({ facts }) => facts.rejected)).toEqual([2]);
		expect(JSON.stringify(told)).not.toContain("private");
	});

	test.each([
		["GET", "/api/share", "POST"],
		["PUT", "/api/share/a-slug-nobody-has-01/sync", "POST"],
		["GET", "/api/share/a-slug-nobody-has-01", "DELETE"],
	])("%s %s is 405", async (method, path, allow) => {
		const response = await fetch(host.url + path, { method });
		expect([response.status, response.headers.get("allow")]).toEqual([405, allow]);
	});
});

describe("many at once", () => {
	test("a sync that is sent ten times at the same moment has one effect", async () => {
		const share = await own.create();
		const items = [session(), ...Array.from({ length: 30 }, (_, index) => part(`prt_${index}`, "msg_1")), diff("a")];
		const answers = await Promise.all(Array.from({ length: 10 }, () => own.sync(share, ...items)));
		const applied = answers.map(({ json }) => Number(json.applied));
		expect(applied.reduce((sum, one) => sum + one)).toBe(items.length);
		expect(answers.map(({ json }) => json.cursor)).toEqual(answers.map(() => items.length));
	});

	test("shares that are made at the same moment are all different", async () => {
		const shares = await Promise.all(Array.from({ length: 10 }, () => own.create()));
		expect(new Set(shares.flatMap(({ id, secret }) => [id, secret])).size).toBe(20);
	});
});
