import type { DatabaseKind } from "../sqlite/database.ts";

/** The server's file on Node. */
export const SHARE_DATABASE: DatabaseKind = {
	name: "a share database",
	applicationId: 0x6f_63_73_68, // "ocsh"
	migrations: "share",
};
