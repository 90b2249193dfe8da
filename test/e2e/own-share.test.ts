import { afterAll, beforeAll, expect, it } from "vitest";
import { openSqlite } from "../../src/sqlite/driver.ts";
import { eventually } from "../fixture/cli.ts";
import { IS_LONG } from "../fixture/extent.ts";
import { exportSession, importInto, type Opencode } from "../fixture/opencode.ts";
import { Lab, type Server } from "./lab.ts";

const lab = new Lab();
let server: Server;
let opencode: Opencode;

const serve = (port = 0) => lab.server("server", port, "--opencode-share", "on");

beforeAll(async () => {
	server = await serve();
	opencode = await lab.opencode("opencode", { config: { share: "auto", enterprise: { url: server.url } }, git: true });
});
afterAll(() => lab.close());

interface Item {
	readonly type: string;
	readonly data: Readonly<Record<string, unknown>>;
}

async function itemsAt(url: string): Promise<Item[]> {
	const response = await fetch(`${url.replace("/share/", "/api/share/")}/data`);
	return response.ok ? ((await response.json()) as Item[]) : [];
}

/** What OpenCode has of a session, as the share tells it. */
async function itemsOf(id: string): Promise<Item[]> {
	const messages = await opencode.messages(id);
	return [
		{ type: "session", data: await opencode.session(id) },
		...messages.map(({ info }) => ({ type: "message", data: info })),
		...messages.flatMap(({ parts }) => parts.map((data) => ({ type: "part", data }))),
	];
}

/** The share has what OpenCode has: messages and parts equal, by id; the session by its title. */
async function untilEqual(id: string, url: string): Promise<void> {
	const named = (items: readonly Item[]) =>
		Object.fromEntries(
			items
				.filter(({ type }) => ["session", "message", "part"].includes(type))
				.map(({ type, data }) => [`${type} ${data.id}`, type === "session" ? data.title : data]),
		);
	const pair = async () => [named(await itemsAt(url)), named(await itemsOf(id))];
	const isEqual = async () => {
		const [there, here] = await pair();
		return JSON.stringify(sorted(there)) === JSON.stringify(sorted(here));
	};
	await eventually(`the share of ${id} to be equal`, isEqual, { also: pair });
}

function sorted(value: unknown): unknown {
	if (Array.isArray(value)) return value.map(sorted);
	if (typeof value !== "object" || value === null) return value;
	return Object.fromEntries(
		Object.entries(value)
			.toSorted(([a], [b]) => (a < b ? -1 : 1))
			.map(([name, member]) => [name, sorted(member)]),
	);
}

/** What OpenCode itself keeps of its share of a session; its secret is one that nothing may tell. */
async function keptOf(id: string): Promise<{ url: string; secret: string } | undefined> {
	const sqlite = await openSqlite(opencode.databasePath, { readonly: true });
	const rows = sqlite.prepare<{ url: string; secret: string }>(
		"SELECT url, secret FROM session_share WHERE session_id = ?",
	);
	const kept = rows.get(id);
	sqlite.close();
	if (kept) lab.secret(kept.secret);
	return kept;
}

async function linkOf(id: string): Promise<string> {
	await eventually("OpenCode to share the session", async () => (await keptOf(id)) !== undefined);
	return (await keptOf(id))?.url ?? "";
}

// Left out of `npm test` for the time it takes; see extent.ts.
it.skipIf(!IS_LONG)(
	"a session that OpenCode shares by itself arrives, outlives the server, is imported again, and goes when it is unshared",
	async () => {
		const { id } = await opencode.createSession();
		const url = await linkOf(id);
		expect(url).toMatch(`${server.url}/share/`);
		await opencode.prompt(id, "say: hello to those who have the link");
		await opencode.prompt(id, "run: echo a tool; echo another line");
		await opencode.rename(id, "Shared by OpenCode alone");
		await untilEqual(id, url);
		expect((await fetch(url)).status).toBe(200);

		const before = await itemsAt(url);
		await server.process.kill();
		server = await serve(server.port);
		expect(await itemsAt(url)).toEqual(before);
		await opencode.prompt(id, "say: after the server's restart");
		await untilEqual(id, url);
		const items = await itemsAt(url);
		expect(new Set(items.map(({ type, data }) => `${type} ${data.id}`)).size).toBe(items.length);

		const copy = await importInto(lab.path("imported"), url);
		expect(copy.sessionId).toBe(id);
		const [there, here] = [await exportSession(copy, id), await exportSession(opencode, id)];
		expect(there.messages).toEqual(here.messages);
		expect(there.info).toMatchObject({ id, title: "Shared by OpenCode alone" });

		await opencode.call("DELETE", `/session/${id}/share`);
		for (const link of [url, `${url.replace("/share/", "/api/share/")}/data`])
			expect((await fetch(link)).status).toBe(410);
		expect(await keptOf(id)).toBeUndefined();

		await opencode.call("POST", `/session/${id}/share`);
		const again = await linkOf(id);
		expect(again).not.toBe(url);
		await untilEqual(id, again);
		await opencode.deleteSession(id);
		await eventually("the share to go with its session", async () => (await fetch(again)).status === 410);
	},
	300_000,
);

it.skipIf(!IS_LONG)("leaves no secret in any output, and no file that others can read", () => lab.expectNothingTold());
