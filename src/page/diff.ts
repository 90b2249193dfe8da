import { structuredPatch } from "diff";
import { counted } from "./amount.ts";
import { type Html, html, join } from "./html.ts";
import { type Json, list, number, record, text } from "./json.ts";

/** Lines around a change. */
const CONTEXT_LINES = 3;
/** How long two texts are compared, in ms, and how many lines may differ; beyond, both are shown whole. */
const COMPARE = { context: CONTEXT_LINES, timeout: 200, maxEditLength: 4000 };

interface Line {
	readonly sign: "+" | "-" | " ";
	readonly text: string;
	readonly before: number | undefined;
	readonly after: number | undefined;
}

/** One file's change. OpenCode tells it as a patch, or (until 1.17) as the text before and after. */
export function fileDiff(value: unknown): Html {
	const file = record(value);
	const name = text(file.file) ?? text(file.relativePath) ?? text(file.filePath) ?? "a file";
	const lines = linesOf(file);
	const added = number(file.additions) ?? lines.filter(({ sign }) => sign === "+").length;
	const removed = number(file.deletions) ?? lines.filter(({ sign }) => sign === "-").length;
	return html`<figure class="diff"><figcaption><span class="path">${name}</span> ${changes(added, removed)}</figcaption>${table(lines)}</figure>`;
}

/** What was changed, in lines. */
export function changes(added: number, removed: number): Html {
	return html`<span class="changes"><span class="added">+${added}</span> <span class="removed">−${removed}</span><span class="unseen"> lines</span></span>`;
}

/** All changes of a session. */
export function sessionDiff(value: unknown): Html {
	const files = list(value);
	if (files.length === 0) return html``;
	return html`<details class="session-diff"><summary>${counted(files.length, "file")} changed in this session</summary>${join(files.map(fileDiff))}</details>`;
}

/** A patch as a tool's metadata tells it; undefined where there is none. */
export function toolDiff(metadata: unknown): Html | undefined {
	const { filediff, files, diff } = record(metadata);
	if (Array.isArray(files) && files.some((file) => isTold(record(file)))) return join(files.map(fileDiff));
	const one: Json = { patch: diff, ...record(filediff) };
	if (!isTold(one) || (text(one.patch) === undefined && one.before === one.after)) return undefined;
	return fileDiff(one);
}

function isTold(file: Json): boolean {
	return text(file.patch) !== undefined || text(file.diff) !== undefined || typeof file.after === "string";
}

function linesOf(file: Json): Line[] {
	const patch = text(file.patch) ?? text(file.diff);
	if (patch !== undefined) return patchLines(patch.split(/\r?\n/));
	const [before, after] = [text(file.before) ?? "", text(file.after) ?? ""];
	const compared = structuredPatch("", "", before, after, "", "", COMPARE);
	if (compared === undefined) return patchLines(wholly(before, after));
	const hunks = compared.hunks.flatMap((hunk) => [`@@ -${hunk.oldStart} +${hunk.newStart} @@`, ...hunk.lines]);
	return patchLines(hunks);
}

/** Two texts that nobody could compare, as one that goes and one that comes. */
function wholly(before: string, after: string): string[] {
	const signed = (sign: string, whole: string) => (whole === "" ? [] : whole.split("\n").map((line) => sign + line));
	return ["@@ -1 +1 @@", ...signed("-", before), ...signed("+", after)];
}

/** The lines of a unified patch's hunks. */
function patchLines(patch: readonly string[]): Line[] {
	const lines: Line[] = [];
	let [before, after, isInHunk] = [0, 0, false];
	for (const line of patch) {
		const start = /^@@ -(\d+)(?:,\d+)? \+(\d+)/.exec(line);
		if (start) {
			if (isInHunk) lines.push({ sign: " ", text: "⋯", before: undefined, after: undefined });
			[before, after, isInHunk] = [Number(start[1]), Number(start[2]), true];
			continue;
		}
		if (!isInHunk) continue;
		const rest = line.slice(1);
		if (line.startsWith("+")) lines.push({ sign: "+", text: rest, before: undefined, after: after++ });
		else if (line.startsWith("-")) lines.push({ sign: "-", text: rest, before: before++, after: undefined });
		else if (line.startsWith(" ")) lines.push({ sign: " ", text: rest, before: before++, after: after++ });
	}
	return lines;
}

const KINDS = { "+": "plus", "-": "minus", " ": "same" } as const;

/** Signs are text, numbers are not: what is copied is a patch, and colour is never all that tells a line. */
function table(lines: readonly Line[]): Html {
	if (lines.length === 0) return html``;
	const rows = lines.map(
		({ sign, text: line, before, after }) =>
			html`<span class="line ${KINDS[sign]}" data-before="${before}" data-after="${after}">${sign}${line}\n</span>`,
	);
	return html`<pre class="lines">${join(rows)}</pre>`;
}
