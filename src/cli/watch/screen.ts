/** A terminal, as far as a screen needs it. */
export interface Terminal {
	write(text: string): unknown;
	readonly columns?: number;
	readonly rows?: number;
}

const ESC = "\u001b[";
/** Alternate screen, no cursor, and long lines are cut by the terminal instead of being folded. */
const ENTER = `${ESC}?1049h${ESC}?25l${ESC}?7l`;
const LEAVE = `${ESC}?7h${ESC}?25h${ESC}?1049l`;
/** What lies between the two is shown at once where the terminal can (DEC mode 2026); others pass over them. */
const [BEGIN, END] = [`${ESC}?2026h`, `${ESC}?2026l`];

/** A frame that is drawn over the one before it, on a screen beside the person's own, which comes back as it was. */
export class Screen {
	readonly #terminal: Terminal;
	#isEntered = false;

	constructor(terminal: Terminal) {
		this.#terminal = terminal;
	}

	/** Draws as many lines as there are rows; the last row says so where that is not all. One write, nothing is cleared first. */
	draw(lines: readonly string[]): void {
		const rows = Math.max(1, this.#terminal.rows ?? 24);
		const shown =
			lines.length <= rows ? lines : [...lines.slice(0, rows - 1), `… ${lines.length - rows + 1} more lines`];
		const body = shown.map((line) => `${fit(line, this.#terminal.columns ?? 80)}${ESC}K`).join("\r\n");
		const enter = this.#isEntered ? "" : ENTER;
		this.#isEntered = true;
		this.#terminal.write(`${enter}${BEGIN}${ESC}H${body}${ESC}J${END}`);
	}

	/** Gives the person's own screen and cursor back. Safe to repeat. */
	leave(): void {
		if (this.#isEntered) this.#terminal.write(LEAVE);
		this.#isEntered = false;
	}
}

/** Takes two columns (Unicode's wide characters, roughly); a wrong guess costs a column, since nothing is folded. */
const WIDE =
	/[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u;
// biome-ignore lint/suspicious/noControlCharactersInRegex: colours are control characters.
const COLOUR = /(\u001b\[[\d;]*m)/;

/** A line cut to `columns`; its colours stay. */
export function fit(line: string, columns: number): string {
	let used = 0;
	const parts = line.split(COLOUR).map((part, index) => {
		if (index % 2 === 1) return part;
		let kept = "";
		for (const character of part) {
			used += WIDE.test(character) ? 2 : 1;
			if (used <= columns) kept += character;
		}
		return kept;
	});
	return parts.join("");
}
