import { closeSync, existsSync, openSync, readdirSync, readFileSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import { Needles } from "./needles.ts";
import type { OutputRecord, SecretKind, SecretRecord } from "./record.ts";

/** A secret where none may be. Bears no secret itself. */
export interface Finding {
	readonly kind: SecretKind;
	readonly form: string;
	readonly label: string;
	/** From 1; of something that is not text, the byte. */
	readonly place: string;
}

export interface Verdict {
	readonly secrets: ReadonlyMap<SecretKind, number>;
	readonly files: number;
	readonly bytes: number;
	readonly findings: readonly Finding[];
}

/** Levels of JSON in JSON that are undone before a line is looked through. */
const LEVELS = 4;
/** Named of one output; further ones say the same. */
const FINDINGS_PER_OUTPUT = 5;
/** Looked through at once; two neighbours share OVERLAP bytes. */
const PIECE_BYTES = 8 << 20;
const OVERLAP = 4096;

/** Looks for every secret of a run in everything that came out of it. */
export function scan(evidence: string): Verdict {
	const names = existsSync(evidence) ? readdirSync(evidence) : [];
	const secrets = new Map<string, SecretRecord>();
	for (const record of records<SecretRecord>(evidence, names, ".secrets")) secrets.set(record.value, record);
	const needles = new Needles(secrets.values());
	const findings: Finding[] = [];
	let [files, bytes] = [0, 0];
	for (const output of records<OutputRecord>(evidence, names, ".outputs")) {
		const path = join(evidence, "out", output.file);
		if (!existsSync(path)) continue;
		files++;
		bytes += statSync(path).size;
		const found = new Map<string, Finding>();
		for (const finding of findingsIn(path, needles)) {
			if (output.allows.includes(finding.kind)) continue;
			const place = `${finding.kind} ${finding.place}`;
			if (!found.has(place)) found.set(place, { ...finding, label: output.label });
			if (found.size === FINDINGS_PER_OUTPUT) break;
		}
		for (const finding of found.values()) findings.push(finding);
	}
	const kinds = new Map<SecretKind, number>();
	for (const { kind } of secrets.values()) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
	return { secrets: kinds, files, bytes, findings };
}

/** The verdict in words; what was found by place and kind, never by value. */
export function report({ secrets, files, bytes, findings }: Verdict): string {
	const kinds = [...secrets].map(([kind, count]) => `${count} ${kind}${count === 1 ? "" : "s"}`);
	const looked = `Looked for ${kinds.join(", ") || "no secrets"} in ${files} outputs, ${(bytes / 1e6).toFixed(1)} MB`;
	if (findings.length === 0) return `${looked}: none was told. (Slugs are in links on purpose and are not looked for.)`;
	const places = findings.map(({ kind, form, label, place }) => `  a ${kind}, ${form}, in ${label}, ${place}`);
	return `${looked}: told at ${findings.length} places.\n${places.join("\n")}`;
}

function* records<T>(evidence: string, names: readonly string[], ending: string): Generator<T> {
	for (const name of names.filter((other) => other.endsWith(ending)))
		for (const line of readFileSync(join(evidence, name), "utf8").split("\n")) if (line !== "") yield JSON.parse(line);
}

type Found = Omit<Finding, "label">;

function* findingsIn(path: string, needles: Needles): Generator<Found> {
	let [from, line] = [0, 1];
	for (const piece of pieces(path)) {
		const isText = !piece.includes(0);
		const placeOf = (at: number) => (isText ? `line ${line + count(piece, at)}` : `byte ${from + at}`);
		for (const { at, needle } of needles.in(piece)) yield { ...needle, place: placeOf(at) };
		if (isText)
			for (const { text, at } of decoded(piece))
				for (const { needle } of needles.in(Buffer.from(text, "latin1")))
					yield { kind: needle.kind, form: `${needle.form}, escaped`, place: placeOf(at) };
		line += count(piece, piece.length - OVERLAP);
		from += piece.length - OVERLAP;
	}
}

function* pieces(path: string): Generator<Buffer> {
	const file = openSync(path, "r");
	try {
		const size = statSync(path).size;
		for (let from = 0; from < size; from += PIECE_BYTES - OVERLAP) {
			const piece = Buffer.alloc(Math.min(PIECE_BYTES, size - from));
			readSync(file, piece, 0, piece.length, from);
			yield piece;
			if (from + piece.length === size) return;
		}
	} finally {
		closeSync(file);
	}
}

/** Lines that escape something, without it: `\u0041`, `\"`, `%41`. JSON in JSON level by level, whole or cut off. */
function* decoded(piece: Buffer): Generator<{ text: string; at: number }> {
	if (!piece.includes("\\") && !piece.includes("%")) return;
	let at = 0;
	for (const line of piece.toString("latin1").split("\n")) {
		if (/%[0-9a-f]{2}/i.test(line))
			yield { text: line.replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16))), at };
		for (let [level, text] = [0, line]; level < LEVELS && text.includes("\\"); level++) {
			text = text.replace(/\\(?:u00([0-9a-f]{2})|(.))/gi, (_, hex, char) =>
				hex === undefined ? char : String.fromCharCode(Number.parseInt(hex, 16)),
			);
			yield { text, at };
		}
		at += line.length + 1;
	}
}

function count(piece: Buffer, end: number): number {
	let lines = 0;
	for (let at = piece.indexOf(10); at !== -1 && at < end; at = piece.indexOf(10, at + 1)) lines++;
	return lines;
}
