import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = fileURLToPath(import.meta.url);

/** True where this code runs as the build made it, false where it runs from its sources. */
export const IS_BUILT = HERE.endsWith(".js");

/** The folder of this package: its package.json, its migrations, its program. */
export const PACKAGE_FOLDER = nearestPackage(dirname(HERE));

/** Built, a module may lie in any file of `dist/`. */
function nearestPackage(folder: string): string {
	return existsSync(join(folder, "package.json")) ? folder : nearestPackage(dirname(folder));
}

/** This package's version. */
export function version(): string {
	const manifest = readFileSync(join(PACKAGE_FOLDER, "package.json"), "utf8");
	return (JSON.parse(manifest) as { version: string }).version;
}
