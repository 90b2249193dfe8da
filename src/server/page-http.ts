import type { Context, Hono } from "hono";
import { compress } from "hono/compress";
import type { Clock } from "../model/clock.ts";
import type { ShareRefusal } from "../protocol/refusal.ts";
import { ASSETS_PATH, PageAssets, type Scripts } from "./asset.ts";
import type { Redactor } from "./redact.ts";
import type { Rules } from "./rules.ts";
import type { Holder } from "./share.ts";

export interface PageContext {
	readonly rules: Pick<Rules, "viewing" | "entities">;
	readonly clock: Pick<Clock, "now">;
	readonly redactor: Redactor;
	readonly scripts: Scripts;
	/** False where the platform compresses what it sends itself, or cannot. */
	readonly compresses: boolean;
	/** The public link of a slug. */
	readonly url: (slug: string) => string;
	/** Answers with a share that whoever has the link may view, or with how it is lost. */
	readonly withShare: (
		c: Context,
		answer: (holder: Holder, slug: string) => Promise<Response>,
		lost?: (how: Lost) => Promise<Response>,
	) => Promise<Response>;
}

/** Why a link shows nothing. */
export type Lost = "not_found" | "revoked" | "deleted" | "expired";

/** How a refusal loses a link; undefined where it only turns the request away. */
export function lostBy({ code, details }: ShareRefusal): Lost | undefined {
	if (code === "not_found") return code;
	if (code !== "revoked") return undefined;
	if (details.expired_at !== undefined) return "expired";
	return details.deleted ? "deleted" : "revoked";
}

/** A name stands for one content for ever. */
const IMMUTABLE = "public, max-age=31536000, immutable";

/** What a person is told whose link shows nothing. */
const LOST = {
	not_found: {
		title: "No such session",
		words: "This link leads to no shared session. Check that it was copied whole.",
	},
	revoked: {
		title: "This link was revoked",
		words: "The owner has taken it back; the session may be shared under another one.",
	},
	deleted: {
		title: "This session is not shared any more",
		words: "The owner has unshared it, and what was here is deleted.",
	},
	expired: {
		title: "This session is not kept any more",
		words: "Nothing had changed in it for long, and the server has let it go.",
	},
};

/**
 * What draws the pages, with all that it brings along: 20 MB and 100 ms. The first page loads it, since most servers, and every
 * agent's own, start many times more often than anybody looks at one.
 */
const drawing = () => import("./page.ts");

/** The pages that people look at, and what these load. */
export function pageRoutes(
	app: Hono,
	{ rules, clock, redactor, url, withShare, scripts, compresses }: PageContext,
): void {
	const assets = new PageAssets(scripts);
	const page = (c: Context, csp: string, body: string | ReadableStream<Uint8Array>, status: 200 | 404 | 410 = 200) =>
		c.body(body, status, { "content-type": "text/html; charset=utf-8", "content-security-policy": csp });
	const redact = (error: unknown) => redactor.ours(error);

	// Text of a page shrinks to a fifth, a script to a third.
	if (compresses) for (const path of ["/share/*", `${ASSETS_PATH}*`]) app.use(path, compress());
	app.get("/", async (c) => {
		const { listPage, PAGE_CSP } = await drawing();
		return page(c, PAGE_CSP, listPage(assets.of("list")).html);
	});
	app.get("/share/:slug", (c) => {
		const shown = async (holder: Holder, slug: string) => {
			const { sharePage, PAGE_CSP } = await drawing();
			const about = { slug, url: url(slug), assets: assets.of("share"), now: clock.now() };
			return page(c, PAGE_CSP, sharePage({ rules, holder, ...about, redact }));
		};
		const lost = async (how: Lost) => {
			const { lostPage, PAGE_CSP } = await drawing();
			const { html } = lostPage({ how, ...LOST[how] }, assets.of("share"));
			return page(c, PAGE_CSP, html, how === "not_found" ? 404 : 410);
		};
		return withShare(c, shown, (c.req.header("accept") ?? "").includes("text/html") ? lost : undefined);
	});
	app.get("/api/share/:slug/children", (c) =>
		withShare(c, async (holder) => {
			const { childrenOf } = await drawing();
			return c.json(Object.fromEntries(childrenOf(await rules.viewing.children(holder))));
		}),
	);
	app.get(`${ASSETS_PATH}:name`, (c) => {
		const asset = assets.get(c.req.param("name"));
		if (asset === undefined) return c.notFound();
		return c.body(asset.body, 200, { "content-type": asset.type, "cache-control": IMMUTABLE });
	});
}

/** Paths of the routes above. */
export const PAGE_PATHS = ["/", "/share/:slug", "/api/share/:slug/children", `${ASSETS_PATH}:name`];
