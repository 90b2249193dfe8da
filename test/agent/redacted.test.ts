import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { EntityState } from "../../src/agent/compare.ts";
import { RULES_CHANGED } from "../../src/agent/rules.ts";
import { digestOf } from "../../src/model/json.ts";
import { Redactor } from "../../src/redaction/redactor.ts";
import { type Lab, openLab } from "./lab.ts";

/** Not registered as a secret: under the rules before, it was meant to be stored. */
const PASSWORD = "hunter2-Xq83kfPz";
const RULES = Redactor.of({ detectors: ["password"], patterns: [] }) as Redactor;
const CLEAN = JSON.stringify({ id: "msg_0", text: "password=[redacted:password]" });

/** Everything that lies in the outbox's files. */
function bytesOf(lab: Lab): string {
	return ["", "-wal"].map((suffix) => readFileSync(join(lab.dir, `outbox.db${suffix}`), "latin1")).join("");
}

async function withSecret(lab: Lab): Promise<void> {
	lab.capture("ses_1", [`password=${PASSWORD}`]);
	lab.start();
	await lab.drained();
	await lab.stop();
	const raw = JSON.stringify({ id: "msg_0", text: `password=${PASSWORD}` });
	expect(await lab.digests("ses_1")).toEqual(new Map([["message/msg_0", digestOf(raw)]]));
	expect(bytesOf(lab)).toContain(PASSWORD);
}

const entity = (payload: string): EntityState => ({ type: "message", key: "message/msg_0", payload });

test("new rules redact what is on a share already", async () => {
	const lab = await openLab();
	await withSecret(lab);
	expect(lab.outbox.redact(RULES, RULES.identity, RULES_CHANGED)).toBe(1);
	lab.truth.set("ses_1", [entity(CLEAN)]);
	lab.start();
	await lab.drained();
	expect(await lab.digests("ses_1")).toEqual(new Map([["message/msg_0", digestOf(CLEAN)]]));
	expect(lab.outbox.session("ses_1")?.compare_reason).toBeNull();
});

test("new rules redact the share of a session that OpenCode has forgotten, by what the outbox retains", async () => {
	const lab = await openLab();
	await withSecret(lab);
	lab.outbox.redact(RULES, RULES.identity, RULES_CHANGED);
	lab.start();
	await lab.drained();
	expect(await lab.digests("ses_1")).toEqual(new Map([["message/msg_0", digestOf(CLEAN)]]));
});

test("what was sealed and not yet sent under other rules is never sent", async () => {
	const lab = await openLab();
	await withSecret(lab);
	lab.append("ses_1", [
		{ op_id: "evt_late", type: "message", key: "message/late", payload: `{"text":"password=${PASSWORD}"}` },
	]);
	const redeemed = await lab.redeem("ses_1");
	expect(lab.outbox.seal("ses_1", redeemed.redemption.limits, Date.now()).sealed).toBe(1);
	lab.outbox.redact(RULES, RULES.identity, RULES_CHANGED);
	const late = JSON.stringify({ text: "password=[redacted:password]" });
	lab.truth.set("ses_1", [entity(CLEAN), { type: "message", key: "message/late", payload: late }]);
	lab.start();
	await lab.drained();
	expect(await lab.digests("ses_1")).toEqual(
		new Map([
			["message/late", digestOf(late)],
			["message/msg_0", digestOf(CLEAN)],
		]),
	);
	expect(lab.log.filter(({ message }) => message.includes("damaged"))).toEqual([]);
});

test("new rules leave nothing in the files of the outbox: ops, dead letters, titles, old pages", async () => {
	const lab = await openLab();
	await withSecret(lab);
	const facts = { parent_id: null, title: `password=${PASSWORD}`, directory: `/token=${PASSWORD}` };
	const bad = { op_id: "bad", type: "message", key: "message/bad", payload: `password=${PASSWORD}` } as const;
	lab.appendAs("ses_1", [bad], facts);
	lab.start();
	await lab.until(() => lab.outbox.deadLetters().length === 1);
	await lab.stop();
	lab.outbox.redact(RULES, RULES.identity, RULES_CHANGED);
	expect(bytesOf(lab)).not.toContain(PASSWORD);
	expect(lab.outbox.deadLetters()[0]).toMatchObject({ payload: "password=[redacted:password]", bytes: 28 });
	// Said twice, it changes nothing.
	const before = lab.outbox.retained("ses_1");
	lab.outbox.redact(RULES, RULES.identity, "again");
	expect(lab.outbox.retained("ses_1")).toEqual(before);
});
