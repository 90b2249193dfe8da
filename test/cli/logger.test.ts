import { expect, test } from "vitest";
import { createLogger } from "../../src/cli/logger.ts";
import type { LogLevel } from "../../src/cli/settings.ts";

const SECRET = "Zx_9-".repeat(8).slice(0, 39).concat("Qw3r");

function capture(format: "json" | "text", level: LogLevel = "trace") {
	const lines: string[] = [];
	const log = createLogger({ level, format, stream: { write: (line) => lines.push(line) } });
	return { log, lines, text: () => lines.join("") };
}

for (const format of ["json", "text"] as const)
	test(`no secret gets into a ${format} line, whatever bears it`, () => {
		const { log, text, lines } = capture(format);
		const error = Object.assign(new Error(`the key ${SECRET} is wrong`, { cause: new Error(SECRET) }), {
			...{ secret: "short one", request: { headers: { Authorization: "Bearer abc.def" } } },
		});
		log.info({ secret: "hunter2", create_key: "hunter2", server_key: "hunter2", authorization: "hunter2" }, "a");
		log.info({ grant: { secret: "hunter2", deep: [{ "create-key": "hunter2" }, { serverKey: "hunter2" }] } }, "b");
		log.info({ serverKeys: ["hunter2"], headers: { cookie: "hunter2", "Set-Cookie": "hunter2" } }, "c");
		log.info({ url: `http://a/?k=${SECRET}`, args: [SECRET] }, `key ${SECRET}!`);
		log.error({ err: error }, "d");
		log.error({ err: error });
		log.error(error);
		expect(lines).toHaveLength(7);
		for (const secret of ["hunter2", SECRET, "short one", "abc.def"]) expect(text()).not.toContain(secret);
	});

test("ids, slugs and digests are not taken for secrets", () => {
	const { log, text } = capture("json");
	const facts = {
		share: `shr_${"a".repeat(24)}`,
		digest: "f".repeat(64),
		op: "evt_0123456789abcdefghij",
		path: "/x/y.db",
	};
	log.info(facts, "as it is");
	expect(JSON.parse(text())).toMatchObject({ ...facts, level: "info", msg: "as it is", time: expect.any(String) });
});

test("an error keeps what explains it", () => {
	const { log, text } = capture("json");
	log.error({ err: Object.assign(new TypeError("no"), { code: "E1" }) }, "failed");
	expect(JSON.parse(text()).err).toMatchObject({ type: "TypeError", message: "no", code: "E1", stack: /no/ });
});

test("a line for people is one line, without what steers a terminal", () => {
	const { log, text } = capture("text");
	log.warn({ session: "ses_1", title: "a\u001b[2J\nb\u202ec" }, "went\r\nwrong");
	expect(text()).toMatch(/^\d\d:\d\d:\d\d warn +went {2}wrong session=ses_1 title="a.*bc"\n$/);
	expect(text().slice(0, -1)).not.toMatch(/[\p{Cc}\p{Cf}]/u);
});

test("what lies below the level is not logged, and cycles end", () => {
	const { log, text } = capture("json", "warn");
	log.info({}, "quiet");
	expect(text()).toBe("");
	const loop: Record<string, unknown> = {};
	loop.loop = loop;
	log.warn(loop, "round");
	expect(text()).toContain("round");
});
