import { randomBytes } from "node:crypto";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LIMITS } from "../../src/protocol/limits.ts";
import { SHARE_DATABASE } from "../../src/server/node.ts";
import { ShareRules } from "../../src/server/share.ts";
import { openDatabase } from "../../src/sqlite/database.ts";
import type { Sqlite } from "../../src/sqlite/driver.ts";
import { discard } from "../evidence/folder.ts";
import { SERVER_KEY } from "./client.ts";

export interface RulesSizes {
	readonly sealedOps: number;
	readonly ledgerOps: number;
	/** Default: it stands still. */
	readonly now?: () => number;
}

/** The rules alone, on a file of their own, without a wire and with a ledger as small as the test wants. */
export async function startRules({ sealedOps, ledgerOps, now = () => 1_700_000_000_000 }: RulesSizes): Promise<{
	share: ShareRules;
	sqlite: Sqlite;
	close(): void;
}> {
	const folder = mkdtempSync(join(tmpdir(), "share-rules-"));
	const sqlite = await openDatabase(join(folder, "share.db"), SHARE_DATABASE);
	const share = new ShareRules(await sqlite.orm(), {
		clock: { now },
		random: randomBytes,
		serverKeys: [SERVER_KEY],
		url: (slug) => `http://share.example/share/${slug}`,
		limits: { ...LIMITS, sealed_ops: sealedOps },
		ledgerOps,
	});
	return {
		share,
		sqlite,
		close() {
			sqlite.close();
			discard(folder);
		},
	};
}
