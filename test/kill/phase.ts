import { readFileSync } from "node:fs";
import type { CliProcess } from "../fixture/cli.ts";
import { type Files, rowsIfMade } from "./files.ts";

/** What a killed process was doing, as far as what it printed and the files tell. */

interface Facts {
	readonly sending: number;
	readonly sealed: number;
	readonly unsealed: number;
	readonly unheard: number;
}

export async function agentPhase(agent: CliProcess, files: Files, lock: string): Promise<string> {
	if (!agent.stdout().includes("\n"))
		return holds(lock, agent) ? "starting: it had the lock" : "starting: it was being loaded";
	return running(await factsOf(files), "running: everything was acknowledged");
}

export async function serverPhase(server: CliProcess, files: Files): Promise<string> {
	if (!server.stdout().includes("\n"))
		return holds(`${files.shares}.lock`, server) ? "starting: it had the lock" : "starting: it was being loaded";
	return running(await factsOf(files), "running: everything was acknowledged");
}

export function writerPhase(writer: CliProcess): string {
	if (isWriting(writer)) return "running: in a transaction";
	return writer.stdout() === "" ? "starting" : "running: between two transactions";
}

/** True while the writer is in a transaction. */
export function isWriting(writer: CliProcess): boolean {
	return writer.stdout().endsWith("begin\n");
}

/** True while a batch was sent, or applied, and its answer is not written down. */
export async function isOwed(files: Files): Promise<boolean> {
	const { sending, unheard } = await factsOf(files);
	return sending + unheard > 0;
}

function running({ sending, sealed, unsealed, unheard }: Facts, otherwise: string): string {
	if (unheard > 0) return "running: ops were applied, and not acknowledged here";
	if (sending > 0) return "running: a batch was under way";
	if (sealed > 0) return "running: a batch was sealed, and not sent";
	return unsealed > 0 ? "running: ops were captured, and not sealed" : otherwise;
}

async function factsOf({ outbox, shares }: Files): Promise<Facts> {
	const [facts] = await rowsIfMade<Omit<Facts, "unheard">>(
		outbox,
		`SELECT (SELECT count(*) FROM batch WHERE attempts > 0) AS sending, (SELECT count(*) FROM batch) AS sealed,
			(SELECT count(*) FROM op JOIN session USING (session_id) WHERE id > sealed_id) AS unsealed`,
	);
	const acked = await rowsIfMade<{ share_id: string; acked_cursor: number }>(
		outbox,
		"SELECT share_id, acked_cursor FROM session JOIN share USING (session_id) WHERE share_id IS NOT NULL",
	);
	const applied = await rowsIfMade<{ share_id: string; cursor: number }>(shares, "SELECT share_id, cursor FROM share");
	const cursors = new Map(applied.map(({ share_id, cursor }) => [share_id, cursor]));
	const unheard = acked.filter(({ share_id, acked_cursor }) => (cursors.get(share_id) ?? 0) > acked_cursor).length;
	return { ...{ sending: 0, sealed: 0, unsealed: 0 }, ...facts, unheard };
}

/** True when the process was the last to take the lock at `path`. */
function holds(path: string, { pid }: CliProcess): boolean {
	try {
		return readFileSync(`${path}.pid`, "utf8").trim() === String(pid);
	} catch {
		return false;
	}
}
