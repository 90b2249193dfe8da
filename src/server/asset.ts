import type { Assets } from "../page/document.ts";
import { STYLE } from "../page/style.ts";

/** A file that the pages load. Its name bears a hash of what is in it: under one name there is one content, for good. */
interface Asset {
	readonly body: string;
	readonly type: string;
}

/** Where the pages find them. */
export const ASSETS_PATH = "/assets/";

export type Script = "share" | "list";

/** The scripts of the pages, as `npm run bundle:page` makes them; without one, its page shows what it can. */
export type Scripts = { readonly [Name in Script]?: string | undefined };

/** What the pages load: the scripts that a host was given, and the style, which is always there. */
export class PageAssets {
	readonly #files = new Map<string, Asset>();
	readonly #style: string;
	readonly #scripts = new Map<Script, string>();

	constructor({ share, list }: Scripts) {
		this.#style = this.#add("style", "css", { body: STYLE, type: "text/css; charset=utf-8" });
		for (const [name, body] of [["share", share] as const, ["list", list] as const]) {
			if (body === undefined) continue;
			this.#scripts.set(name, this.#add(name, "js", { body, type: "text/javascript; charset=utf-8" }));
		}
	}

	get(name: string): Asset | undefined {
		return this.#files.get(name);
	}

	/** For a page with this script; where the host has none, the page goes without. */
	of(script: Script): Assets {
		return { style: this.#style, script: this.#scripts.get(script) };
	}

	/** Returns where it is found. */
	#add(name: string, extension: string, asset: Asset): string {
		const file = `${name}-${fingerprint(asset.body)}.${extension}`;
		this.#files.set(file, asset);
		return ASSETS_PATH + file;
	}
}

/** 32 bits of FNV-1a, in base 36: tells one version of a file from another, and nothing more. */
function fingerprint(text: string): string {
	let hash = 0x81_1c_9d_c5;
	for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01_00_01_93);
	return (hash >>> 0).toString(36);
}
