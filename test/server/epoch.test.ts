import { expect, test } from "vitest";
import { createKey, SERVER_KEY } from "./client.ts";
import { startRules } from "./rules.ts";

test("an epoch is a time, so that a server that was put back gives none out that old batches bear", async () => {
	const rules = await startRules({ sealedOps: 4, ledgerOps: 8 });
	try {
		const grant = rules.share.createShare(SERVER_KEY, { session_id: "ses_1", create_key: createKey() });
		const bump = () => {
			const holder = rules.share.redeemShare(grant.share_id, grant.secret);
			return rules.share.revokeCapability(holder, { rotate_secret: false, rotate_slug: false }).capability_epoch;
		};
		expect(bump()).toBe(1_700_000_000_000);
		// However fast one follows another.
		expect(bump()).toBe(1_700_000_000_001);
	} finally {
		rules.close();
	}
});
