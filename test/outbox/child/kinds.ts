import { OUTBOX_KIND } from "../../../src/outbox/kind.ts";
import type { DatabaseKind } from "../../../src/sqlite/database.ts";

/** Our databases by name. The share's is said anew here, as loading the server takes longer than what is tested with it. */
export const KINDS: Readonly<Record<string, DatabaseKind>> = {
	outbox: OUTBOX_KIND,
	share: { name: "a share database", applicationId: 0x6f637368, migrations: "share" },
};

/** One of them, or the outbox with other migrations: a folder of them, relative to our own. */
export function kindNamed(name: string): DatabaseKind {
	return KINDS[name] ?? { ...OUTBOX_KIND, migrations: name };
}
