import { expect, test } from "vitest";
import { batchOf, createKey, plain, SERVER_KEY } from "./client.ts";
import { startRules } from "./rules.ts";

test("a call that fails half-way leaves nothing behind, and is whole the next time", async () => {
	const rules = await startRules({ sealedOps: 4, ledgerOps: 8 });
	try {
		const grant = rules.share.createShare(SERVER_KEY, { session_id: "ses_1", create_key: createKey() });
		const holder = rules.share.redeemShare(grant.share_id, grant.secret);
		rules.sqlite.exec(`CREATE TEMP TRIGGER torn BEFORE INSERT ON ledger WHEN NEW.position = 1
			BEGIN SELECT RAISE(ABORT, 'the disk is full'); END`);
		expect(() => rules.share.appendOps(holder, batchOf(0, plain(3)))).toThrow();
		expect(rules.share.redemption(holder)).toMatchObject({ cursor: 0, last_op_id: null });
		expect(rules.share.entityDigests(holder).entities).toEqual([]);
		rules.sqlite.exec("DROP TRIGGER torn");
		expect(rules.share.appendOps(holder, batchOf(0, plain(3)))).toMatchObject({ cursor: 3, duplicates: [] });
	} finally {
		rules.close();
	}
});
