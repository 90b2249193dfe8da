import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
/** Most commands never need it, so that the first glob loads it. */
const engine = (): typeof import("picomatch") => require("picomatch");

/** What a directory glob may be, for messages; completes "expected …". */
export const GLOB_FORM = "a glob of directories that begins with /, ~/ or **/";
/** Longer ones are a slip of the pen. */
const GLOB_CHARS_MAX = 1000;
/** Each one may be tried at every character of a path, for every one before it. */
const STARS_MAX = 4;
const SPECIAL = /[\\*?[\]{}()!+@|]/g;

/**
 * A glob for a directory and all that lies below it: `*` and `?` within a name, `**` across them, `[a-z]`, `{a,b}`.
 *
 * @returns undefined when it is none. Matches absolute paths only.
 */
export function directoryGlob(glob: string): ((directory: string) => boolean) | undefined {
	const bare = glob.length > 1 ? glob.replace(/\/+$/, "") : glob;
	if (!/^(?:\/|\*\*(?:\/|$))/.test(bare) || bare.length > GLOB_CHARS_MAX) return undefined;
	if ((bare.match(/\*+/g) ?? []).length > STARS_MAX) return undefined;
	try {
		return engine()([bare, bare === "/" ? "/**" : `${bare}/**`], { dot: true, noextglob: true, strictBrackets: true });
	} catch {
		return undefined;
	}
}

/** Puts the home folder, which is no glob, in the place of `~`. */
export function expandGlob(glob: string, home: string): string {
	return glob === "~" || glob.startsWith("~/") ? home.replace(SPECIAL, "\\$&") + glob.slice(1) : glob;
}
