import { writeSync } from "node:fs";

/** Says a line at once: what was said before a SIGKILL has been said. */
export function say(line: string): void {
	writeSync(1, `${line}\n`);
}

/** Keeps the process alive until its parent is gone. */
export function stay(): void {
	process.stdin.resume();
	process.stdin.on("end", () => process.exit());
}
