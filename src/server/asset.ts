import type { Assets } from "../page/document.ts";
import { STYLE } from "../page/style.ts";

/** A file that the pages load. Its name bears a hash of what is in it: under one name there is one content, for good. */
export interface Asset {
	readonly body: string;
	readonly type: string;
}
/** By name. */
export type AssetFiles = ReadonlyMap<string, Asset>;

/** Where the pages find them. */
export const ASSETS_PATH = "/assets/";

export type Script = "share" | "list";

/** What the pages load: the scripts that a host was given, and the style, which is always there. */
export class PageAssets {
	readonly #files: AssetFiles;
	readonly #styleName = `style-${fingerprint(STYLE)}.css`;

	constructor(scripts: AssetFiles) {
		this.#files = new Map([...scripts, [this.#styleName, { body: STYLE, type: "text/css; charset=utf-8" }]]);
	}

	get(name: string): Asset | undefined {
		return this.#files.get(name);
	}

	/** For a page with this script; where the host has none (sources that were not built), the page goes without. */
	of(script: Script): Assets {
		const name = [...this.#files.keys()].find((file) => file.startsWith(`${script}-`) && file.endsWith(".js"));
		return { style: ASSETS_PATH + this.#styleName, script: name && ASSETS_PATH + name };
	}
}

/** 32 bits of FNV-1a, in base 36: tells one version of a file from another, and nothing more. */
function fingerprint(text: string): string {
	let hash = 0x81_1c_9d_c5;
	for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01_00_01_93);
	return (hash >>> 0).toString(36);
}
