import { refusalOf } from "../../protocol/refusal.ts";
import type { ShareListing } from "../../protocol/schema.ts";
import { counted } from "../amount.ts";
import { type Html, html, join } from "../html.ts";
import { type Filter, listed, NO_FILTER, projects, rows } from "../listing.ts";
import { Key } from "./key.ts";
import { type Link, openLink } from "./link.ts";
import { OFFLINE_AFTER_MS, StateBar } from "./state.ts";
import { backoff, pause, within } from "./wait.ts";
import { become, elementOf } from "./write.ts";

/** Between two looks, in ms; and a list that takes long to tell is asked for at most a tenth of the time. */
const AGAIN_MS = 10_000;
const SHARE_OF_TIME = 10;
const ANSWER_MS = 20_000;

const app = document.getElementById("app");
const bar = new StateBar();
const key = new Key();
let filter: Filter = NO_FILTER;
let shares: readonly ShareListing[] = [];

function put(shown: Html): void {
	const like = elementOf(shown);
	if (like) app?.replaceChildren(like);
}

/** All shares of the key's owner. */
async function ask(link: Link, serverKey: string): Promise<ShareListing[]> {
	const all: ShareListing[] = [];
	for (let after: string | undefined; ; ) {
		const page = await within(ANSWER_MS, link.api.listShares(serverKey, after, true));
		all.push(...page.shares);
		if (page.next === null) return all;
		after = page.next;
	}
}

function signIn(error = ""): void {
	bar.say("Not signed in");
	put(html`<form class="sign-in">
<label for="key">Server key<br><span class="quiet">Whoever has it owns its sessions. It stays in this page, and is sent to this server only.</span></label>
<input id="key" type="password" autocomplete="current-password" required aria-describedby="error" spellcheck="false">
<div class="check"><input id="keep" type="checkbox"><label for="keep">Remember it until this tab is closed</label></div>
<p id="error" class="error" role="alert">${error}</p>
<button class="main">Show my sessions</button>
</form>`);
	const field = document.querySelector<HTMLInputElement>("#key");
	if (error !== "") field?.focus();
	app?.querySelector("form")?.addEventListener("submit", (event) => {
		event.preventDefault();
		const keep = document.querySelector<HTMLInputElement>("#keep")?.checked ?? false;
		key.set(field?.value.trim() ?? "", keep);
		void follow();
	});
}

/** Shows the list, and goes on asking for it, until the person signs out or the key is refused. */
async function follow(): Promise<void> {
	const mine = key.value;
	if (mine === undefined) return;
	bar.show({ is: "behind" });
	let isShown = false;
	let lostAt: number | undefined;
	for (let attempt = 0; key.value === mine; attempt++) {
		try {
			await using link = await openLink();
			while (key.value === mine) {
				const started = performance.now();
				const told = await ask(link, mine);
				if (key.value !== mine) return;
				[shares, attempt, lostAt] = [told, 0, undefined];
				if (!isShown) frame();
				isShown = true;
				show();
				bar.show({ is: "live" });
				const rest = pause(Math.max(AGAIN_MS, SHARE_OF_TIME * (performance.now() - started)));
				await Promise.race([rest, link.closed]);
				if (!link.isOpen) break;
			}
		} catch (error) {
			if (refusalOf(error)?.code === "denied") {
				key.forget();
				signIn("This server does not know that key.");
				return;
			}
		}
		lostAt ??= Date.now();
		const isLong = !navigator.onLine || Date.now() - lostAt > OFFLINE_AFTER_MS;
		bar.show({ is: isLong ? "offline" : "behind", since: lostAt });
		await pause(backoff(attempt));
	}
}

/** What stays while the list changes. */
function frame(): void {
	put(html`<div><form class="filters" role="search">
<label>Search<input type="search" name="words" autocomplete="off" placeholder="Title, directory or id"></label>
<label>Project<select name="project"></select></label>
<label class="check"><span><input type="checkbox" name="children"> Sub-sessions too</span></label>
<button type="button" name="out">Sign out</button>
</form><p class="count" role="status"></p><ol class="rows"></ol></div>`);
	const form = app?.querySelector("form");
	form?.addEventListener("submit", (event) => event.preventDefault());
	form?.addEventListener("input", () => {
		const told = new FormData(form);
		const text = (name: string) => String(told.get(name) ?? "");
		filter = { words: text("words"), project: text("project"), children: told.has("children") };
		show();
	});
	form?.querySelector("[name=out]")?.addEventListener("click", () => {
		key.forget();
		[shares, filter] = [[], NO_FILTER];
		signIn();
	});
}

function show(): void {
	const found = listed(shares, filter);
	const all = shares.filter(({ deleted }) => !deleted).length;
	const count = app?.querySelector(".count");
	const words = found.length === all ? counted(all, "session") : `${found.length} of ${counted(all, "session")}`;
	if (count && count.textContent !== words) count.textContent = words;
	fill(".rows", rows(found, Date.now()));
	const options = projects(shares).map(
		([directory, sessions]) => html`<option value="${directory}">${directory} (${sessions})</option>`,
	);
	fill("select", html`<select name="project"><option value="">All projects</option>${join(options)}</select>`);
	// An option keeps that it was the chosen one of another list.
	const select = app?.querySelector("select");
	if (select) select.value = filter.project;
}

function fill(selector: string, shown: Html): void {
	const [old, like] = [app?.querySelector(selector), elementOf(shown)];
	if (old && like) become(old, like);
}

signIn();
if (key.value !== undefined) void follow();
