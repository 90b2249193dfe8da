import { setTimeout as delay } from "node:timers/promises";
import { styleText } from "node:util";

/** Columns of the text; a terminal is at least this wide. */
const WIDTH = 100;
/** Between two looks of the clock that runs beside a wait, in ms. */
const TICK_MS = 200;

/** Tells the story on stdout: paragraphs, what is being waited for and how long it took, and what commands printed. */
export class Narrator {
	readonly #startedAt = performance.now();
	readonly #isTerminal = process.stdout.isTTY === true;
	#last: "title" | "paragraph" | "line" = "line";

	title(text: string): void {
		this.#write("title", this.#paint("bold", text));
	}

	/** A paragraph, wrapped. */
	say(text: string): void {
		this.#write("paragraph", wrapped(text, WIDTH).join("\n"));
	}

	/** What a command printed, below the command: its first lines, cut to the width. */
	shell(command: string, output: string, linesMax = 14): void {
		const lines = output.trimEnd().split("\n");
		const shown = lines.length <= linesMax ? lines : [...lines.slice(0, linesMax), "…"];
		this.#write("line", this.#paint("cyan", `  $ ${command}`));
		for (const line of shown) this.#write("line", line === "" ? "" : `    ${cut(line, WIDTH - 4)}`);
	}

	/** A finding on a line of its own. */
	fact(text: string): void {
		for (const [index, line] of wrapped(text, WIDTH - 4).entries())
			this.#write("line", `  ${index === 0 ? this.#paint("green", "→") : " "} ${line}`);
	}

	/** Labels and what they are about. */
	table(rows: readonly (readonly [label: string, text: string])[]): void {
		const width = Math.max(...rows.map(([label]) => label.length));
		for (const [label, text] of rows) this.#write("line", `  ${label.padEnd(width)}  ${text}`);
	}

	/**
	 * Waits for `work`, with a running clock on a terminal, and tells how long it took.
	 *
	 * @param what completes "waiting until …", and is what the line says afterwards.
	 * @throws Error that names `what` when it is not done within `withinMs`.
	 */
	async wait<T>(what: string, work: Promise<T>, withinMs = 60_000): Promise<T> {
		const startedAt = performance.now();
		const done = new AbortController();
		const seconds = () => `${((performance.now() - startedAt) / 1000).toFixed(1)} s`;
		const ticks = this.#isTerminal
			? setInterval(() => process.stdout.write(`\r  … waiting until ${what} (${seconds()})`), TICK_MS)
			: undefined;
		const late = delay(withinMs, undefined, { signal: done.signal }).then(
			() => Promise.reject(new Error(`waited ${withinMs / 1000} s in vain until ${what}`)),
			() => work,
		);
		try {
			const result = await Promise.race([work, late]);
			this.#write("line", `${this.#isTerminal ? "\r\u001b[K" : ""}  ✓ ${what} (${seconds()})`);
			return result;
		} finally {
			clearInterval(ticks);
			done.abort();
		}
	}

	/** Seconds since the story began. */
	elapsedSeconds(): string {
		return ((performance.now() - this.#startedAt) / 1000).toFixed(0);
	}

	#paint(style: "bold" | "cyan" | "green", text: string): string {
		return this.#isTerminal && !process.env.NO_COLOR ? styleText(style, text, { validateStream: false }) : text;
	}

	/** An empty line stands around titles and paragraphs. */
	#write(kind: "title" | "paragraph" | "line", text: string): void {
		const isApart = kind !== "line" || this.#last !== "line";
		this.#last = kind;
		process.stdout.write(`${isApart ? "\n" : ""}${text}\n`);
	}
}

function cut(line: string, width: number): string {
	return line.length <= width ? line : `${line.slice(0, width - 1)}…`;
}

function wrapped(text: string, width: number): string[] {
	const lines: string[] = [];
	for (const word of text.trim().split(/\s+/)) {
		const last = lines.at(-1);
		if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
		else lines.push(word);
	}
	return lines;
}
