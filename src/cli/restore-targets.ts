import { messageOf, OutboxError } from "../model/errors.ts";
import { refusalOf } from "../protocol/refusal.ts";
import { type ShareListing, Slug } from "../protocol/schema.ts";
import type { Connection } from "../transport/transport.ts";
import { printable } from "./terminal.ts";

/** A share to restore from. */
export interface Target {
	readonly slug: string;
	/** Where its content is: `<server>/api/share/<slug>/data`. */
	readonly data: string;
	/** Its link, for people. */
	readonly link: string;
	/** What the server tells its owner of it; undefined when only the link is known. */
	readonly listing: ShareListing | undefined;
	/** The slug of the share that it is restored along with: its parent's, or its own. */
	readonly root: string;
	readonly notes: readonly string[];
}

/** What was asked for: a link, a session's id, or undefined for all. */
export type Wish = { readonly link: string } | { readonly sessionId: string } | undefined;

const LINK = /^(https?:\/\/.+)\/share\/([^/?#]+)$/;

/** Throws OutboxError usage for what is neither a link nor a session's id. */
export function wishOf(text: string): Exclude<Wish, undefined> {
	if (/^ses_[A-Za-z0-9]{1,60}$/.test(text)) return { sessionId: text };
	const [, server, slug] = LINK.exec(text.replace(/\/$/, "")) ?? [];
	if (server !== undefined && URL.canParse(text) && Slug.safeParse(slug).success) return { link: text };
	throw new OutboxError("usage", `${printable(text)} is neither a share's link nor a session's id.`, {
		hint: "A link ends in /share/ and 16 or more letters; an id begins with ses_.",
	});
}

/** The share behind a link, when nothing but the link is known. */
export function targetOfLink(link: string): Target {
	const [, server = "", slug = ""] = LINK.exec(link.replace(/\/$/, "")) ?? [];
	return { slug, data: `${server}/api/share/${slug}/data`, link, listing: undefined, root: slug, notes: [] };
}

/** Every share of a server key, page by page. Throws OutboxError denied, unreachable. */
export async function listAll(connection: Connection, key: string): Promise<ShareListing[]> {
	const all: ShareListing[] = [];
	for (let after: string | undefined; ; ) {
		const page = await connection.listShares(key, after).catch((error: unknown) => {
			const code = refusalOf(error)?.code === "denied" ? "denied" : "unreachable";
			throw new OutboxError(code, `The server does not list its shares: ${messageOf(error)}`, { cause: error });
		});
		all.push(...page.shares);
		if (page.next === null) return all;
		after = page.next;
	}
}

/**
 * What to restore, parents before their children.
 *
 * Of several shares of one session the one that was touched last is taken; the others are named. A session that is asked
 * for brings its children along. What was deleted in OpenCode comes back when it is asked for, not with all.
 *
 * @param server the server's base url, as it is reached from here.
 * @throws OutboxError no_such_session, no_such_share.
 */
export function chooseTargets(wish: Wish, shares: readonly ShareListing[], server: string): Target[] {
	const live = shares.filter((share) => !share.deleted);
	const chosen = new Map<string, ShareListing>();
	const others = new Map<string, string[]>();
	for (const share of live) {
		const rival = chosen.get(share.session_id);
		const isBetter = rival === undefined || isLater(share, rival);
		if (isBetter) chosen.set(share.session_id, share);
		const left = isBetter ? rival : share;
		if (left) others.set(share.session_id, [...(others.get(share.session_id) ?? []), left.url]);
	}
	const roots = rootsOf(wish, live, chosen);
	const targets: Target[] = [];
	const seen = new Set<string>();
	const add = (listing: ShareListing, root: string) => {
		if (seen.has(listing.session_id)) return;
		seen.add(listing.session_id);
		const { slug, url: link, session_id } = listing;
		const rest = (others.get(session_id) ?? []).filter((url) => url !== link);
		const notes = rest.length === 0 ? [] : [`other shares of this session: ${rest.join(", ")}`];
		targets.push({ slug, data: `${server}/api/share/${slug}/data`, link, listing, root, notes });
		for (const child of chosen.values())
			if (child.parent_id === session_id && (wish !== undefined || !child.session_deleted)) add(child, root);
	};
	for (const root of roots) add(root, root.slug);
	return targets;
}

function rootsOf(wish: Wish, live: readonly ShareListing[], chosen: Map<string, ShareListing>): ShareListing[] {
	if (wish === undefined) {
		const all = [...chosen.values()].filter((share) => !share.session_deleted);
		const isRoot = ({ parent_id }: ShareListing) => parent_id === null || !chosen.has(parent_id);
		// Whoever is left after the roots and their children is in a circle, or below a session that was deleted.
		return [...all.filter(isRoot), ...all];
	}
	if ("link" in wish) {
		const slug = targetOfLink(wish.link).slug;
		const share = live.find((one) => one.slug === slug);
		if (share === undefined)
			throw new OutboxError("no_such_share", `The server key has no share ${printable(wish.link)}.`);
		chosen.set(share.session_id, share);
		return [share];
	}
	const share = chosen.get(wish.sessionId);
	if (share === undefined)
		throw new OutboxError("no_such_session", `The server key has no share of ${wish.sessionId}.`, {
			hint: "Give the share's link, or the server that has it with --server and --server-key-file.",
		});
	return [share];
}

function isLater(a: ShareListing, b: ShareListing): boolean {
	const [first, second] = [a.updated_at ?? 0, b.updated_at ?? 0];
	return first === second ? a.created_at > b.created_at : first > second;
}
