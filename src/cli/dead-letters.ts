import { existsSync } from "node:fs";
import { OutboxError } from "../model/errors.ts";
import type { DeadRow } from "../outbox/dead.ts";
import { type Outbox, openOutbox } from "../outbox/outbox.ts";
import { pathsIn } from "./paths.ts";
import { printable } from "./terminal.ts";

/** What `--json` tells of a dead letter: all but its payload. */
export type Letter = Omit<DeadRow, "payload"> & { readonly has_payload: boolean };

export function letterOf({ payload, ...letter }: DeadRow): Letter {
	return { ...letter, has_payload: payload !== null };
}

/** Runs `body` on the outbox below `dataDir`, or returns undefined where there is none: it is not made by asking. */
export async function withOutbox<T>(dataDir: string, body: (outbox: Outbox) => T): Promise<T | undefined> {
	const path = pathsIn(dataDir).outbox;
	if (!existsSync(path)) return undefined;
	const outbox = await openOutbox(path);
	try {
		return body(outbox);
	} finally {
		outbox.close();
	}
}

export interface Choice {
	/** As written. */
	readonly ids: readonly string[];
	readonly all: boolean;
	readonly session: string | undefined;
}

/** Refuses a choice that names nothing, or both numbers and all. Throws OutboxError usage. */
export function checkChoice({ ids, all, session }: Choice, name: string): void {
	const hint = `Run \`${name} --help\`.`;
	if (all && ids.length > 0)
		throw new OutboxError("usage", "Either numbers of dead letters or --all, not both.", { hint });
	if (!all && ids.length === 0)
		throw new OutboxError("usage", `${name} needs the number of a dead letter, or --all.`, { hint });
	if (session !== undefined && !all) throw new OutboxError("usage", "--session goes with --all.", { hint });
}

/**
 * The letters that are chosen, those that others were set aside because of first. With `--all` there may be none.
 *
 * @throws OutboxError usage for what is no number, no_such_letter.
 */
export function chosen(outbox: Outbox, { ids, all, session }: Choice): DeadRow[] {
	if (!all) return ids.map((id) => letterNamed(outbox, id));
	const letters = outbox.deadLetters().filter((row) => session === undefined || row.session_id === session);
	return letters.sort((a, b) => Number(a.parent_id !== null) - Number(b.parent_id !== null) || a.id - b.id);
}

/** Throws OutboxError usage for what is no number, no_such_letter. */
export function letterNamed(outbox: Outbox, text: string): DeadRow {
	const id = parseId(text);
	const letter = outbox.deadLetter(id);
	if (letter === undefined) throw noSuchLetter(text);
	return letter;
}

export function noSuchLetter(text: string): OutboxError {
	return new OutboxError("no_such_letter", `There is no dead letter ${printable(text)}.`);
}

function parseId(text: string): number {
	if (!/^\d{1,15}$/.test(text))
		throw new OutboxError("usage", `"${printable(text)}" is no number of a dead letter.`, {
			hint: "`opencode-outbox dead list` lists them with their numbers.",
		});
	return Number(text);
}
