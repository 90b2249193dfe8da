import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
export const DEPLOY = join(ROOT, "deploy");

/** A file below deploy/, as text. */
export function deployed(...names: string[]): string {
	return readFileSync(join(DEPLOY, ...names), "utf8");
}
