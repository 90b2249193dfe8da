import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { listed, NO_FILTER, projects, rows } from "../../src/page/listing.ts";
import { ListingPage, type ShareListing } from "../../src/protocol/schema.ts";
import { batchOf, type Client, connect, openShare, SERVER_KEY } from "../server/client.ts";
import { type NodeHost, startHost } from "../server/host.ts";
import { assistant, said, session } from "./payloads.ts";

const HOUR = 3_600_000;
const NOW = Date.UTC(2026, 0, 5, 12);

function share(n: number, over: Partial<ShareListing> = {}): ShareListing {
	return {
		share_id: `shr_${n}`,
		session_id: `ses_${n}`,
		slug: `a-slug-of-this-one-${n}`,
		url: `https://share.example/share/a-slug-of-this-one-${n}`,
		cursor: 10,
		created_at: NOW - 48 * HOUR,
		deleted: false,
		session_deleted: false,
		parent_id: null,
		title: `Session ${n}`,
		directory: "/home/a/notes",
		updated_at: NOW - n * HOUR,
		...over,
	};
}

const ids = (shares: readonly ShareListing[]) => shares.map(({ session_id }) => session_id);

describe("the list of sessions", () => {
	const all = [
		share(1),
		share(2, { directory: "/home/a/other", changed_at: NOW - 1000 }),
		share(3, { title: null, directory: null }),
		share(4, { parent_id: "ses_1", title: "Look for loops" }),
		share(5, { deleted: true }),
	];

	it("has what changed last first, and neither what is deleted nor, unless asked, sub-sessions", () => {
		expect(ids(listed(all, NO_FILTER))).toEqual(["ses_2", "ses_1", "ses_3"]);
		expect(ids(listed(all, { ...NO_FILTER, children: true }))).toEqual(["ses_2", "ses_1", "ses_3", "ses_4"]);
	});

	it("is searched by every word in title, directory and id, and by project", () => {
		expect(ids(listed(all, { ...NO_FILTER, words: "NOTES session" }))).toEqual(["ses_1"]);
		expect(ids(listed(all, { ...NO_FILTER, words: "ses_3" }))).toEqual(["ses_3"]);
		expect(ids(listed(all, { ...NO_FILTER, project: "/home/a/other" }))).toEqual(["ses_2"]);
		expect(projects(all)).toEqual([
			["/home/a/notes", 1],
			["/home/a/other", 1],
		]);
	});

	it("tells what is active now, how long ago else, and how much there is", () => {
		const html = rows(
			listed([share(1, { entities: 12_300 }), share(2, { changed_at: NOW - 1000 })], NO_FILTER),
			NOW,
		).html;
		expect(html).toContain("active now");
		expect(html).toContain("1 h ago");
		expect(html).toContain("12.3K messages and parts");
	});

	it("is text whatever a session is called", () => {
		const html = rows([share(1, { title: "<script>alert(1)</script>\u202e", directory: '"><img src=x>' })], NOW).html;
		expect(html).not.toMatch(/<(?:script|img)/);
		expect(html).toContain("⟨U+202E⟩");
	});
});

describe("a server's listing", () => {
	let host: NodeHost;
	let client: Client;
	beforeAll(async () => {
		host = await startHost();
		client = await connect(host.url);
	});
	afterAll(async () => {
		await client.close();
		await host.close();
	});

	it("tells size and last change to who asks for them, and to nobody else: older clients would not take them", async () => {
		const before = Date.now();
		const { grant, share } = await openShare(client);
		const ours = async (facts?: boolean) => {
			const page = ListingPage.parse(await client.api.listShares(SERVER_KEY, undefined, facts));
			return page.shares.find(({ share_id }) => share_id === grant.share_id);
		};
		expect(await ours(true)).toMatchObject({ entities: 0, changed_at: null });
		await share.appendOps(batchOf(0, [session(), assistant("msg_1"), said("msg_1", "prt_1", "hi")]));
		const told = await ours(true);
		expect(told?.entities).toBe(3);
		expect(told?.changed_at).toBeGreaterThanOrEqual(before);
		expect(Object.keys((await ours()) ?? {})).not.toEqual(expect.arrayContaining(["entities"]));
		expect(Object.keys((await ours()) ?? {})).not.toEqual(expect.arrayContaining(["changed_at"]));
	});
});
