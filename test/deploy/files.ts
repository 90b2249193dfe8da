import { readFileSync } from "node:fs";
import { join } from "node:path";

export const ROOT = join(import.meta.dirname, "..", "..");
export const DEPLOY = join(ROOT, "deploy");

/** A file below deploy/, as text. */
export function deployed(...names: string[]): string {
	return readFileSync(join(DEPLOY, ...names), "utf8");
}
