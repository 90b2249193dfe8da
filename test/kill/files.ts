import { openSqlite, type SqlValue } from "../../src/sqlite/driver.ts";

/** The databases of one world. */
export interface Files {
	readonly opencode: string;
	readonly outbox: string;
	readonly shares: string;
}

/** Rows of a database that others write; none while a killed process has not made the file or its tables yet. */
export async function rowsIfMade<Row>(path: string, query: string, ...values: SqlValue[]): Promise<Row[]> {
	try {
		const sqlite = await openSqlite(path, { readonly: true, mustExist: true });
		try {
			return sqlite.prepare<Row>(query).all(...values);
		} finally {
			sqlite.close();
		}
	} catch (error) {
		if (/unable to open|directory does not exist|no such table/.test(String(error))) return [];
		throw error;
	}
}
