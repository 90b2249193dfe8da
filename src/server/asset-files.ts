import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { PACKAGE_FOLDER } from "../model/package.ts";
import type { AssetFiles } from "./asset.ts";

const FOLDER = join(PACKAGE_FOLDER, "dist", "page");

/** The pages' scripts as `npm run bundle` has made them; none where it was not run. */
export function builtAssets(folder = FOLDER): AssetFiles {
	const names = namesIn(folder).filter((name) => name.endsWith(".js"));
	return new Map(
		names.map((name) => {
			const body = readFileSync(join(folder, name), "utf8");
			return [name, { body, type: "text/javascript; charset=utf-8" }];
		}),
	);
}

function namesIn(folder: string): string[] {
	try {
		return readdirSync(folder);
	} catch {
		return [];
	}
}
