import { describe, expect, onTestFinished, test } from "vitest";
import type { EntityState } from "../../src/agent/compare.ts";
import { shareDigests } from "../../src/agent/verify.ts";
import { Takeover, type TakeoverOptions } from "../../src/cli/restore-takeover.ts";
import { chooseTargets, listAll, wishOf } from "../../src/cli/restore-targets.ts";
import { systemClock } from "../../src/model/clock.ts";
import { createKeysOf } from "../../src/model/identity.ts";
import type { Outbox } from "../../src/outbox/outbox.ts";
import type { ShareListing } from "../../src/protocol/schema.ts";
import { capnwebTransport } from "../../src/transport/capnweb.ts";
import type { Connection } from "../../src/transport/transport.ts";
import { type Lab, messageDigests, openLab, SERVER_KEY } from "../agent/lab.ts";
import { secret } from "../evidence/record.ts";

const IDENTITY = "identity-of-the-other-machine-0123456789abc";
secret("identity key", IDENTITY);

/** Machine A with a share that is level, and a machine B with an outbox of its own on A's server. */
async function twoMachines(): Promise<{ a: Lab; b: Lab; connection: Connection; share: ShareListing }> {
	const a = await openLab();
	a.capture("ses_1", ["one", "two"]);
	a.start();
	await a.drained();
	await a.stop();
	const b = await openLab();
	b.proxy.retarget(Number(new URL(a.proxy.url).port));
	const connection = await capnwebTransport({ url: a.proxy.url, clock: systemClock }).connect(
		AbortSignal.timeout(10_000),
	);
	onTestFinished(() => connection.close());
	const [share] = await listAll(connection, SERVER_KEY);
	if (share === undefined) throw new Error("there is no share");
	return { a, b, connection, share };
}

function on(outbox: Outbox, connection: Connection, identity = IDENTITY): TakeoverOptions {
	const server = { id: "lab", key: () => SERVER_KEY };
	return { outbox, connection, server, createKey: createKeysOf(identity), now: Date.now };
}

function bodyOf(id: string, text: string): EntityState {
	return { type: "message", key: `message/${id}`, payload: JSON.stringify({ id, text }) };
}

describe("a takeover", () => {
	test("lets the new machine go on where the share stands, and sends nothing twice", async () => {
		const { a, b, connection, share } = await twoMachines();
		const takeover = Takeover.of(share, on(b.outbox, connection));
		takeover?.hold();
		expect(b.outbox.session("ses_1")).toMatchObject({ wanted: "never", parked_code: "restoring" });
		const grant = await takeover?.claim();
		if (!takeover || !grant) throw new Error("there is nothing to take over");
		takeover.adopted(grant);
		secret("share secret", grant.secret);

		// What B has of it by then: what was restored, and one message more.
		b.truth.set("ses_1", [bodyOf("msg_0", "one"), bodyOf("msg_1", "two"), bodyOf("msg_2", "three")]);
		b.start();
		await b.drained();
		expect(b.outbox.session("ses_1")).toMatchObject({ parked_code: null, acked_cursor: 3 });
		expect(b.outbox.share("ses_1")?.share_id).toBe(share.share_id);
		expect((await listAll(connection, SERVER_KEY)).map(({ cursor }) => cursor)).toEqual([3]);
		expect(a.outbox.share("ses_1")?.secret).not.toBe(b.outbox.share("ses_1")?.secret);
	});

	test("parks the old machine with what happened, keeps its ops, and it makes no second share", async () => {
		const { a, b, connection, share } = await twoMachines();
		const takeover = Takeover.of(share, on(b.outbox, connection));
		takeover?.hold();
		await takeover?.claim();
		a.capture("ses_1", ["unsent", "unsent too"]);
		a.start();
		await a.until(() => a.outbox.session("ses_1")?.parked_code !== null);
		await a.drained();
		expect(a.outbox.session("ses_1")).toMatchObject({ parked_code: "claimed", pending: 2 });
		const parked = a.log.find(({ message }) => message === "a share needs attention");
		expect(parked?.facts.err).toMatch(/taken over by another machine at \d{4}-\d\d-\d\dT/);
		expect(await listAll(connection, SERVER_KEY)).toHaveLength(1);

		// Its person shares this copy by itself.
		await a.stop();
		a.outbox.forget("ses_1");
		a.outbox.want("ses_1", "share");
		const messages = ["one", "two", "unsent", "unsent too"];
		a.truth.set(
			"ses_1",
			messages.map((text, n) => bodyOf(`msg_${n}`, text)),
		);
		a.outbox.mustCompare("ses_1", "a test wants it");
		a.start();
		await a.until(() => a.outbox.share("ses_1")?.share_id != null);
		await a.drained();
		expect(await a.digests("ses_1")).toEqual(messageDigests(messages));
		expect(await listAll(connection, SERVER_KEY)).toHaveLength(2);
	});

	test("parks an old machine that has lost its outbox too, instead of being refused for its key", async () => {
		const { a, b, connection, share } = await twoMachines();
		await Takeover.of(share, on(b.outbox, connection))?.claim();
		a.outbox.forget("ses_1");
		await a.reopen();
		a.outbox.want("ses_1", "share");
		const generation = a.outbox.generation("ses_1");
		a.outbox.adopt({ ...nothingGranted("ses_1"), generation: generation - 1 }, Date.now());
		a.outbox.giveUp("ses_1");
		a.outbox.want("ses_1", "share");
		a.start();
		await a.until(() => a.outbox.session("ses_1")?.parked_code !== null);
		expect(a.outbox.session("ses_1")?.parked_code).toBe("claimed");
		expect(a.outbox.agent()?.server_state).not.toBe("refused");

		function nothingGranted(session_id: string) {
			const create_key = createKeysOf("identity-of-the-tests-0123456789abcdefghij")("lab", session_id, 0);
			const { share_id, slug, url } = share;
			return { session_id, server_url: "lab", create_key, secret: "s".repeat(43), share_id, slug, url };
		}
	});

	test("is safe to repeat from wherever it was killed, with one share in the end", async () => {
		const { b, connection, share } = await twoMachines();
		const again = () => Takeover.of(share, on(b.outbox, connection));
		again()?.hold();
		const first = await again()?.claim();
		await b.reopen();
		const second = await again()?.claim();
		expect(second).toEqual(first);
		if (second) again()?.adopted(second);
		expect(again()).toBeUndefined();
		expect(b.outbox.session("ses_1")).toMatchObject({ wanted: "share", parked_code: null });
		expect((await listAll(connection, SERVER_KEY)).map(({ share_id }) => share_id)).toEqual([share.share_id]);
	});

	test("by a machine that had the share before takes a create key that was not replaced yet", async () => {
		const { a, b, connection, share } = await twoMachines();
		const first = await Takeover.of(share, on(b.outbox, connection))?.claim();
		a.start();
		a.capture("ses_1", ["unsent"]);
		await a.until(() => a.outbox.session("ses_1")?.parked_code === "claimed");
		await a.stop();
		const back = Takeover.of(share, on(a.outbox, connection, "identity-of-the-tests-0123456789abcdefghij"));
		const grant = await back?.claim();
		expect(grant?.capability_epoch).toBeGreaterThan(first?.capability_epoch ?? 0);
		expect(a.outbox.generation("ses_1")).toBe(1);
		// A machine whose outbox is gone finds the key that is good by trying.
		const c = await openLab();
		const lost = await Takeover.of(share, on(c.outbox, connection))?.claim();
		expect(lost?.capability_epoch).toBeGreaterThan(grant?.capability_epoch ?? 0);
		expect(c.outbox.generation("ses_1")).toBe(1);
	});

	test("is refused where the session has another share, and for a share that is gone", async () => {
		const { a, b, connection, share } = await twoMachines();
		b.outbox.ask("ses_1", "lab", "k".repeat(43), 1);
		expect(() => Takeover.of(share, on(b.outbox, connection))).toThrow(/a share of its own here/);
		await (await a.redeem("ses_1")).deleteShare();
		const c = await openLab();
		await expect(Takeover.of(share, on(c.outbox, connection))?.claim()).rejects.toMatchObject({
			code: "no_such_share",
		});
	});

	test("adopts what no table holds, so that verify finds nothing that is too much", async () => {
		const { a, b, connection, share } = await twoMachines();
		a.append("ses_1", [{ op_id: "diff", type: "session_diff", key: "session_diff", payload: '[{"file":"a"}]' }]);
		a.start();
		await a.drained();
		const takeover = Takeover.of(share, on(b.outbox, connection));
		const grant = await takeover?.claim();
		if (grant) takeover?.adopted(grant);
		b.truth.set("ses_1", [bodyOf("msg_0", "one"), bodyOf("msg_1", "two")]);
		b.start();
		await b.drained();
		const { secret = "" } = grant ?? {};
		const held = await connection.redeem(share.share_id, secret);
		expect(b.outbox.capturedDigests("ses_1")).toEqual(await shareDigests(held));
		expect(b.outbox.isCaptured("ses_1", "session_diff")).toBe(true);
	});
});

describe("what is restored", () => {
	const listing = (session_id: string, over: Partial<ShareListing> = {}): ShareListing => {
		const slug = `slug-of-${session_id}`.padEnd(16, "-");
		return {
			...{ share_id: `shr_${session_id}${slug}`, session_id, slug, url: `https://public/share/${slug}`, cursor: 1 },
			...{ created_at: 1, deleted: false, session_deleted: false, parent_id: null, title: "t", directory: "/d" },
			...{ updated_at: 1, ...over },
		};
	};
	const chosen = (...args: Parameters<typeof chooseTargets>) =>
		chooseTargets(...args).map(({ listing }) => listing?.session_id);

	test("with all is every session that lives, parents first, whatever their order and circles", () => {
		const shares = [
			listing("ses_grandchild", { parent_id: "ses_child" }),
			listing("ses_child", { parent_id: "ses_root" }),
			listing("ses_deleted", { deleted: true }),
			listing("ses_marked", { session_deleted: true }),
			listing("ses_of_marked", { parent_id: "ses_marked" }),
			listing("ses_root"),
			listing("ses_x", { parent_id: "ses_y" }),
			listing("ses_y", { parent_id: "ses_x" }),
		];
		expect(chosen(undefined, shares, "http://s")).toEqual([
			...["ses_root", "ses_child", "ses_grandchild", "ses_of_marked", "ses_x", "ses_y"],
		]);
	});

	test("by its id or link brings its children, also when it was deleted in OpenCode", () => {
		const root = listing("ses_root", { session_deleted: true });
		const shares = [listing("ses_child", { parent_id: "ses_root" }), root, listing("ses_other")];
		expect(chosen({ sessionId: "ses_root" }, shares, "http://s")).toEqual(["ses_root", "ses_child"]);
		expect(chosen({ link: root.url }, shares, "http://s")).toEqual(["ses_root", "ses_child"]);
		expect(() => chosen({ sessionId: "ses_none" }, shares, "http://s")).toThrow(/no share of ses_none/);
	});

	test("of a session with several shares is the one that was touched last, or the one that the link names", () => {
		const old = listing("ses_1", { slug: "an-old-share-of-it", url: "https://public/share/an-old-share-of-it" });
		const latest = listing("ses_1", { updated_at: 2 });
		const [target, more] = chooseTargets({ sessionId: "ses_1" }, [latest, old], "http://s");
		expect(target).toMatchObject({ slug: latest.slug, data: `http://s/api/share/${latest.slug}/data` });
		expect(target?.notes).toEqual([expect.stringContaining(old.url)]);
		expect(more).toBeUndefined();
		expect(chooseTargets({ link: old.url }, [latest, old], "http://s")[0]?.slug).toBe(old.slug);
	});

	test("is named by a link or an id, and nothing else", () => {
		expect(wishOf("ses_1f4a")).toEqual({ sessionId: "ses_1f4a" });
		expect(wishOf("https://h/base/share/0123456789abcdef/")).toEqual({
			link: "https://h/base/share/0123456789abcdef/",
		});
		for (const wrong of ["", "ses_", "msg_1", "https://h/share/short", "ftp://h/share/0123456789abcdef", "file:///etc"])
			expect(() => wishOf(wrong)).toThrow(/neither/);
	});
});
