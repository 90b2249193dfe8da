import { readFileSync } from "node:fs";
import { join } from "node:path";
import { PACKAGE_FOLDER } from "../model/package.ts";
import type { Script, Scripts } from "./asset.ts";

const FOLDER = join(PACKAGE_FOLDER, "dist", "page");

/** The pages' scripts as `npm run bundle:page` has made them; none where it was not run. */
export function builtScripts(folder = FOLDER): Scripts {
	const read = (name: Script) => {
		try {
			return readFileSync(join(folder, `${name}.txt`), "utf8");
		} catch {
			return undefined;
		}
	};
	return { share: read("share"), list: read("list") };
}
