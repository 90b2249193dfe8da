import type { ShareListing } from "../protocol/schema.ts";
import { brief, counted, instant } from "./amount.ts";
import { type Html, html, join } from "./html.ts";
import { UNTITLED } from "./session.ts";

/** Something came within this long, in ms: it is being worked on. The list is asked for again a few times meanwhile. */
const NOW_MS = 30_000;
const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;

export interface Filter {
	/** Words that a session has in its title, its directory or its id; all of them. */
	readonly words: string;
	/** A directory; empty for all. */
	readonly project: string;
	/** Whether sub-sessions are listed too. */
	readonly children: boolean;
}

export const NO_FILTER: Filter = { words: "", project: "", children: false };

/** The sessions that a filter lets through, the one that changed last first. What is deleted is none. */
export function listed(shares: readonly ShareListing[], { words, project, children }: Filter): ShareListing[] {
	const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
	const isWanted = (share: ShareListing) => {
		if (share.deleted || (project !== "" && share.directory !== project)) return false;
		if (!children && share.parent_id !== null) return false;
		const told = `${share.title ?? ""}\n${share.directory ?? ""}\n${share.session_id}`.toLowerCase();
		return wanted.every((word) => told.includes(word));
	};
	return shares.filter(isWanted).sort((a, b) => lastChange(b) - lastChange(a));
}

/** The directories of the sessions, and how many sessions each has, in the order of their names. */
export function projects(shares: readonly ShareListing[]): [directory: string, count: number][] {
	const counts = new Map<string, number>();
	for (const { directory, deleted, parent_id } of shares)
		if (directory !== null && !deleted && parent_id === null) counts.set(directory, (counts.get(directory) ?? 0) + 1);
	return [...counts].sort(([a], [b]) => (a < b ? -1 : 1));
}

/** When the server heard of it last, or OpenCode changed it; epoch ms. */
function lastChange({ changed_at, updated_at, created_at }: ShareListing): number {
	return Math.max(changed_at ?? 0, updated_at ?? created_at);
}

export function rows(shares: readonly ShareListing[], now: number): Html {
	return html`<ol class="rows">${join(shares.map((share) => row(share, now)))}</ol>`;
}

function row(share: ShareListing, now: number): Html {
	const { slug, title, session_id, directory, entities, parent_id, session_deleted } = share;
	const isNow = share.changed_at != null && now - share.changed_at < NOW_MS;
	const facts = [
		directory === null ? undefined : html`<span class="path">${directory}</span>`,
		entities === undefined ? undefined : html`<span>${brief(entities)} messages and parts</span>`,
		parent_id === null ? undefined : html`<span>sub-session</span>`,
		session_deleted ? html`<span>deleted in OpenCode</span>` : undefined,
	];
	const when = isNow ? html`<span class="now">● active now</span>` : ago(lastChange(share), now);
	return html`<li data-id="${session_id}"><a class="row-title" href="/share/${slug}">${title ?? UNTITLED}</a><span class="when">${when}</span><span class="where">${join(facts.filter((fact) => fact !== undefined))}</span></li>`;
}

/** How long ago, as long as that says more than a date. */
function ago(at: number, now: number): Html {
	const ms = Math.max(0, now - at);
	if (ms < MINUTE_MS) return html`less than a minute ago`;
	if (ms < 60 * MINUTE_MS) return html`${Math.floor(ms / MINUTE_MS)} min ago`;
	if (ms < DAY_MS) return html`${Math.floor(ms / 60 / MINUTE_MS)} h ago`;
	return ms < 7 * DAY_MS ? html`${counted(Math.floor(ms / DAY_MS), "day")} ago` : instant(at);
}
