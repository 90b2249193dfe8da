import { setFlagsFromString } from "node:v8";

/**
 * Keeps this process's heap near to what lives in it; to be called before much is loaded.
 *
 * V8 lets garbage grow to several times that before it looks, which suits a server that has its machine to itself. An agent
 * runs beside somebody's work all day: sending a backlog of a million ops took 310 MB, of which 21 were alive, and takes 145
 * so, at nearly the same pace (bench/README.md: backlog, slow).
 */
export function keepHeapSmall(): void {
	// Bun's engine has no such flags.
	if (process.versions.bun) return;
	// What is young stays within the megabyte that it starts with,
	setFlagsFromString("--semi-space-growth-factor=1");
	// and what is old is looked at whenever it has grown by so much.
	setFlagsFromString("--heap-growing-percent=30");
}
