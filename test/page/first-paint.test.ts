import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { batchOf, type Client, connect, type Draft, makeShare, openShare } from "../server/client.ts";
import { OTHER_SERVER_KEY } from "../server/contract/host.ts";
import { type NodeHost, startHost } from "../server/host.ts";
import { assistant, draft, everything, said, session, user } from "./payloads.ts";

let host: NodeHost;
let client: Client;
beforeAll(async () => {
	host = await startHost({ opencodeShare: true });
	client = await connect(host.url);
});
afterAll(async () => {
	await client.close();
	await host.close();
});

async function shared(drafts: readonly Draft[]) {
	const { grant, share } = await openShare(client);
	for (let at = 0; at < drafts.length; at += 400) await share.appendOps(batchOf(at, drafts.slice(at, at + 400)));
	return { grant, share, html: await htmlAt(grant.url) };
}

async function htmlAt(url: string): Promise<string> {
	return (await fetch(url)).text();
}

/** Keys of what a page shows, in its order. */
const keysIn = (html: string) => [...html.matchAll(/data-key="([^"]*)"/g)].map(([, key]) => key);

describe("the page of a share, without its script", () => {
	it("shows every message and part, the first included, in the session's order", async () => {
		const { html } = await shared([
			// As the ids of OpenCode are, whose clock began anew between these two.
			said("msg_0001", "prt_2", "the answer, second line"),
			assistant("msg_0001", { time: { created: 2000, completed: 3000 } }),
			said("msg_0001", "prt_1", "the answer, first line"),
			user("msg_ffff", { time: { created: 1000 } }),
			said("msg_ffff", "prt_9", "the question"),
			session(),
		]);
		expect(keysIn(html)).toEqual([
			"message/msg_ffff",
			"part/msg_ffff/prt_9",
			"message/msg_0001",
			"part/msg_0001/prt_1",
			"part/msg_0001/prt_2",
		]);
	});

	it("tells the title, where, how much and how to go on with it", async () => {
		const { html, grant } = await shared(everything());
		expect(html).toContain("<title>Make the importer faster</title>");
		expect(html).toContain("/home/a/notes");
		expect(html).toMatch(/<dt>Cost<\/dt><dd>\$0\.0246<\/dd>/);
		expect(html).toContain(`opencode import ${grant.url}`);
		expect(html).toContain("Todo list: 1 of 2 done");
		expect(html).toContain("2 files changed in this session");
	});

	it("leaves out what an undo has taken back, and says how much", async () => {
		const drafts = [
			user("msg_1"),
			said("msg_1", "prt_1", "kept"),
			user("msg_2"),
			said("msg_2", "prt_2", "undone"),
			assistant("msg_3"),
			said("msg_3", "prt_3", "undone too"),
		];
		const { html } = await shared([...drafts, session({ revert: { messageID: "msg_2" } })]);
		expect(keysIn(html)).toEqual(["message/msg_1", "part/msg_1/prt_1"]);
		expect(html).not.toContain("undone too");
		expect(html).toContain("2 messages undone and not shown.");
		const half = await shared([
			...drafts,
			said("msg_2", "prt_1", "half"),
			session({ revert: { messageID: "msg_2", partID: "prt_2" } }),
		]);
		expect(keysIn(half.html)).toEqual(["message/msg_1", "part/msg_1/prt_1", "message/msg_2", "part/msg_2/prt_1"]);
	});

	it("shows parts whose message has not come yet", async () => {
		const { html } = await shared([user("msg_1"), said("msg_2", "prt_1", "early")]);
		expect(keysIn(html)).toEqual(["message/msg_1", "message/msg_2", "part/msg_2/prt_1"]);
	});

	it("of an empty share, or one of strange payloads, is a page", async () => {
		expect((await shared([{ type: "message_removed", key: "message/msg_1", payload: "{}" }])).html).toContain(
			"An OpenCode session",
		);
		const strange = [
			"null",
			"7",
			'"text"',
			"[]",
			'{"time":{"created":"yesterday"},"role":["user"],"cost":"much","tokens":7}',
		];
		const drafts = strange.flatMap((payload, n): Draft[] => [
			{ type: "message", key: `message/msg_${n}`, payload },
			{ type: "part", key: `part/msg_${n}/prt_${n}`, payload },
		]);
		const heads = (["session", "todo", "session_diff", "model"] as const).map(
			(key): Draft => ({ type: key, key, payload: "[[7]]" }),
		);
		const { html } = await shared([...drafts, ...heads]);
		expect(html).toContain("</html>");
		expect(keysIn(html).filter((key) => key?.startsWith("message/")).length).toBe(strange.length);
	});

	it("escapes the title, and says when the session was deleted in OpenCode", async () => {
		const { html } = await shared([
			session({ title: "</title><script>alert(1)</script>" }),
			draft("session_deleted", "session_deleted", {}),
		]);
		expect(html).toContain("&lt;/title&gt;&lt;script&gt;");
		expect(html.match(/<script/g)?.length ?? 0).toBeLessThan(2);
		expect(html).toContain("deleted the session");
	});

	it("is whole for a session of 5,000 parts, and breaks off when the share goes meanwhile", async () => {
		const messages = Array.from({ length: 20 }, (_, n) => `msg_${String(n).padStart(4, "0")}`);
		const drafts = messages.flatMap((id) => [
			user(id),
			...Array.from({ length: 250 }, (_, n) => said(id, `prt_${String(n).padStart(3, "0")}`, `word ${n} `.repeat(10))),
		]);
		const { html, share, grant } = await shared(drafts);
		expect(keysIn(html).length).toBe(drafts.length);
		expect(keysIn(html)[0]).toBe("message/msg_0000");
		expect(html.trimEnd().endsWith("</html>")).toBe(true);

		const reader = (await fetch(grant.url)).body?.getReader();
		await reader?.read();
		await share.deleteShare();
		const drain = async () => {
			while (reader && !(await reader.read()).done);
		};
		await expect(drain()).rejects.toThrow();
	}, 60_000);
});

describe("a sub-session", () => {
	const task = (child: string) =>
		draft("part", "part/msg_1/prt_1", {
			type: "tool",
			tool: "task",
			state: { status: "completed", metadata: { sessionId: child } },
		});

	async function family(child: { session_id: string; parentID: string; key?: string }) {
		const parent = await makeShare(client.api, `ses_parent_${child.session_id}`);
		const held = await client.api.redeemShare(parent.share_id, parent.secret);
		await held.appendOps(batchOf(0, [assistant("msg_1"), task(child.session_id)]));
		const request = {
			session_id: child.session_id,
			create_key: `create-key-of-${child.session_id}-${"0123456789abcdef".repeat(2)}`,
		};
		const own =
			child.key === undefined
				? await makeShare(client.api, child.session_id)
				: await client.api.createShare(child.key, request);
		const writes = await client.api.redeemShare(own.share_id, own.secret);
		await writes.appendOps(
			batchOf(0, [session({ id: child.session_id, parentID: child.parentID, title: "Other <loops>" })]),
		);
		return { parent, own, writes, html: await htmlAt(parent.url) };
	}

	it("is linked for whoever views the session above it, and not the other way round", async () => {
		const { html, own, parent, writes } = await family({ session_id: "ses_a", parentID: "ses_parent_ses_a" });
		expect(html).toContain(`<a href="/share/${own.slug}">Open the sub-session`);
		expect(html).toContain("Other &lt;loops&gt;");
		const told = await fetch(`${host.url}/api/share/${parent.slug}/children`);
		expect(await told.json()).toEqual({ ses_a: { path: `/share/${own.slug}`, title: "Other <loops>" } });
		expect(await htmlAt(own.url)).not.toContain(parent.slug);
		await writes.deleteShare();
		expect(await htmlAt(parent.url)).not.toContain(own.slug);
	});

	it("is not linked where it does not name the session above it itself", async () => {
		const { html, own } = await family({ session_id: "ses_b", parentID: "ses_of_somebody" });
		expect(html).not.toContain(own.slug);
	});

	it("is not linked where another owner has it", async () => {
		const { html, own } = await family({ session_id: "ses_c", parentID: "ses_parent_ses_c", key: OTHER_SERVER_KEY });
		expect(html).not.toContain(own.slug);
	});

	it("is not linked where its share has no owner: anybody can have made the one above", async () => {
		const make = async (sessionID: string, data: object) => {
			const post = (path: string, body: object) =>
				fetch(host.url + path, {
					method: "POST",
					headers: { "content-type": "application/json" },
					body: JSON.stringify(body),
				});
			const grant = (await (await post("/api/share", { sessionID })).json()) as { id: string; secret: string };
			const sync = await post(`/api/share/${grant.id}/sync`, {
				secret: grant.secret,
				data: [{ type: "session", data }],
			});
			expect(sync.status).toBe(200);
			return grant.id;
		};
		const victim = await make("ses_victim", { id: "ses_victim", parentID: "ses_above", title: "Mine alone" });
		const guess = await make("ses_above", { id: "ses_above", title: "Whose child is it?" });
		expect(await htmlAt(`${host.url}/share/${guess}`)).not.toContain(victim);
	});
});

describe("what a page may do", () => {
	it("is run its own server's script, and nothing else", async () => {
		const { grant } = await shared([session()]);
		for (const path of ["/", `/share/${grant.slug}`]) {
			const { headers, body } = await fetch(host.url + path);
			await body?.cancel();
			const policy = headers.get("content-security-policy")?.split("; ");
			expect(policy).toEqual(
				expect.arrayContaining([
					"default-src 'none'",
					"script-src 'self'",
					"style-src 'self'",
					"img-src data:",
					"form-action 'none'",
					"frame-ancestors 'none'",
					"require-trusted-types-for 'script'",
				]),
			);
			expect(policy?.join()).not.toMatch(/unsafe|https?:|\*/);
		}
	});

	it("its style has a name for each content, and is kept", async () => {
		const { html } = await shared([session()]);
		const [, path = ""] = /<link rel="stylesheet" href="(\/assets\/[^"]+)"/.exec(html) ?? [];
		const { headers, status } = await fetch(host.url + path);
		expect([status, headers.get("content-type"), headers.get("cache-control")]).toEqual([
			200,
			"text/css; charset=utf-8",
			"public, max-age=31536000, immutable",
		]);
		expect(html).not.toMatch(/<style| style=| on\w+=/);
		expect((await fetch(`${host.url}/assets/..%2f..%2fpackage.json`)).status).toBe(404);
	});

	it("a person whose link shows nothing is told why, in a page", async () => {
		const { grant, share } = await shared([session()]);
		const ask = async (slug: string) => {
			const response = await fetch(`${host.url}/share/${slug}`, { headers: { accept: "text/html" } });
			return [response.status, /data-lost="(\w+)"/.exec(await response.text())?.[1]];
		};
		const next = await share.revokeCapability({ rotate_secret: false, rotate_slug: true });
		expect(await ask(grant.slug)).toEqual([410, "revoked"]);
		const again = await client.api.redeemShare(next.share_id, next.secret);
		await again.deleteShare();
		expect(await ask(next.slug)).toEqual([410, "deleted"]);
		expect(await ask("a-slug-nobody-has-01")).toEqual([404, "not_found"]);
	});
});
