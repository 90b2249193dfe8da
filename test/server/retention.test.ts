import { expect, test } from "vitest";
import { type Clock, systemClock } from "../../src/model/clock.ts";
import { RETENTION_LOOK_MS } from "../../src/server/retention.ts";
import { messageDigests, openLab } from "../agent/lab.ts";
import { rowsOf } from "../outbox/fixture.ts";
import { connect, Viewer } from "./client.ts";

const DAY = 86_400_000;

/** A server's clock that a test sets forward, and whose looks for old shares it asks for. */
function ownedClock(): Clock & { ahead: number; look(): void } {
	let looked = Promise.withResolvers<void>();
	return {
		ahead: 0,
		now() {
			return Date.now() + this.ahead;
		},
		async sleep(ms, signal) {
			if (ms !== RETENTION_LOOK_MS) return systemClock.sleep(ms, signal);
			const stopped = new Promise<void>((resolve) => signal?.addEventListener("abort", () => resolve()));
			await Promise.race([looked.promise, stopped]);
			looked = Promise.withResolvers();
		},
		look: () => looked.resolve(),
	};
}

test("a share that was left alone for long is let go of; its agent is told when it comes, and makes none by itself", async () => {
	const clock = ownedClock();
	const lab = await openLab({ server: { clock, retainMs: 30 * DAY } });
	lab.capture("ses_old", ["old"]);
	lab.capture("ses_live", ["one"]);
	lab.start();
	await lab.drained();
	clock.ahead = 20 * DAY;
	lab.capture("ses_live", ["two"]);
	await lab.drained();
	const database = `${lab.dir}/share.db`;
	const gone = () => lab.log.filter(({ message }) => message.startsWith("A share was let go of"));
	clock.ahead = 31 * DAY;
	clock.look();
	await lab.until(() => gone().length > 0);
	const share_id = lab.outbox.share("ses_old")?.share_id;
	expect(gone().map(({ facts }) => facts.share_id)).toEqual([share_id]);
	expect(await lab.digests("ses_live")).toEqual(messageDigests(["one", "two"]));
	expect(await rowsOf(database, "SELECT method, share_id FROM audit WHERE event = 'deleted'")).toEqual([
		{ method: "expire", share_id },
	]);

	lab.capture("ses_old", ["new"]);
	await lab.until(() => lab.outbox.session("ses_old")?.parked_code === "expired");
	await lab.drained();
	expect(lab.outbox.session("ses_old")).toMatchObject({ parked_code: "expired", pending: 1 });
	expect(lab.log.some(({ facts }) => String(facts.err).includes("has let the share go"))).toBe(true);
	expect(await rowsOf(database, "SELECT count(*) AS n FROM share")).toEqual([{ n: 2 }]);
	// A person has another one made.
	lab.outbox.want("ses_old", "unshare");
	lab.wake();
	await lab.until(() => lab.outbox.share("ses_old") === undefined);
	await lab.stop();
});

test("others that were let go of with it are found when one is", async () => {
	const clock = ownedClock();
	const lab = await openLab({ server: { clock, retainMs: DAY } });
	for (const id of ["ses_1", "ses_2", "ses_3"]) lab.capture(id, ["text"]);
	lab.start();
	await lab.drained();
	clock.ahead = 2 * DAY;
	clock.look();
	await lab.until(() => lab.log.filter(({ message }) => message.startsWith("A share was")).length === 3);
	lab.capture("ses_2", ["more"]);
	const parked = () => ["ses_1", "ses_2", "ses_3"].map((id) => lab.outbox.session(id)?.parked_code);
	await lab.until(() => parked().every((code) => code === "expired"));
	await lab.stop();
});

test("who watches a share is told when it is let go of", async () => {
	const clock = ownedClock();
	const lab = await openLab({ server: { clock, retainMs: DAY } });
	lab.capture("ses_1", ["text"]);
	lab.start();
	await lab.drained();
	const viewer = new Viewer();
	const client = await connect(lab.proxy.url);
	await client.api.viewShare(lab.outbox.share("ses_1")?.slug ?? "").watch(viewer, 0);
	clock.ahead = 2 * DAY;
	clock.look();
	await viewer.until(() => viewer.endings.length > 0);
	expect(viewer.endings).toEqual(["revoked"]);
	await client.close();
});

test("an agent whose share is full stops and says so; it goes on by itself once there is room, and nothing is lost", async () => {
	const server = { quotas: { shareBytes: 5000, retryAfterMs: 50 } };
	const lab = await openLab({ server });
	const texts = Array.from({ length: 20 }, (_, n) => `${n} ${"x".repeat(500)}`);
	lab.capture("ses_full", texts);
	lab.capture("ses_small", ["small"]);
	lab.start();
	await lab.until(() => lab.outbox.session("ses_full")?.parked_code === "over_quota");
	await lab.drained();
	expect(await lab.digests("ses_small")).toEqual(messageDigests(["small"]));
	expect(lab.outbox.deadLetters()).toEqual([]);
	const refused = () => lab.log.filter(({ facts }) => facts.outcome === "over_quota").length;
	await lab.until(() => refused() > 1);
	expect(lab.outbox.session("ses_full")).toMatchObject({ parked_code: "over_quota", pending: 20 });

	await lab.stopServer();
	server.quotas.shareBytes = 100_000;
	await lab.startServer();
	await lab.until(() => lab.outbox.session("ses_full")?.pending === 0);
	expect(lab.outbox.session("ses_full")?.parked_code).toBeNull();
	expect(await lab.digests("ses_full")).toEqual(messageDigests(texts));
	await lab.stop();
});

test("an owner that may make no more shares is told so, and its other sessions go on", async () => {
	const server = { quotas: { ownerShares: 1, retryAfterMs: 50 } };
	const lab = await openLab({ server });
	lab.capture("ses_1", ["one"]);
	lab.start();
	await lab.drained();
	lab.capture("ses_2", ["two"]);
	await lab.until(() => lab.outbox.session("ses_2")?.parked_code === "over_quota");
	lab.capture("ses_1", ["more"]);
	await lab.drained();
	expect(await lab.digests("ses_1")).toEqual(messageDigests(["one", "more"]));
	// Room is made by the owner itself.
	lab.outbox.want("ses_1", "unshare");
	lab.wake();
	await lab.until(() => lab.outbox.session("ses_2")?.pending === 0);
	expect(lab.outbox.session("ses_2")?.parked_code).toBeNull();
	await lab.stop();
});
