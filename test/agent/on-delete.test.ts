import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { openOutbox } from "../../src/outbox/outbox.ts";
import { PATIENCE_MS } from "../e2e/life/share.ts";
import { World } from "../e2e/life/world.ts";
import { type Folder, OpencodeDatabase, temporaryFolder } from "../source/opencode-database.ts";

vi.setConfig({ testTimeout: PATIENCE_MS });

let folder: Folder;
let opencode: OpencodeDatabase;
let world: World;

beforeEach(async () => {
	folder = temporaryFolder();
	opencode = await OpencodeDatabase.open(join(folder.path, "opencode.db"));
	for (const id of ["ses_a", "ses_b"]) {
		opencode.session(id);
		opencode.message(id, `msg_${id}`, "said");
	}
	world = await World.beside(opencode.path, { onDelete: "delete" });
	await world.start();
	await world.untilEqual("ses_a", "ses_b");
	// Said at the end of a pass, which may have sent all of it before: without it, a deletion is a presumption.
	await world.until("the pass to end", () => world.agent.outbox.agent()?.opencode_identity != null);
});
afterEach(async () => {
	await world.close();
	opencode.sql.close();
	folder.remove();
});

const row = (id: string) => world.agent.outbox.session(id);
const secretOf = (id: string) => {
	const { share_id, secret } = world.agent.outbox.share(id) ?? {};
	return [share_id ?? "", secret ?? ""] as const;
};

it("deletes the share of a deleted session, and no other; what is said of it stays", async () => {
	const [a, b] = [secretOf("ses_a"), secretOf("ses_b")];
	opencode.deleteSession("ses_a");
	await world.until("the share to go", () => world.agent.outbox.share("ses_a") === undefined);
	expect(() => world.server.digests(...a)).toThrow(expect.objectContaining({ code: "revoked" }));
	expect(world.server.digests(...b).size).toBeGreaterThan(1);
	expect(row("ses_a")).toMatchObject({ source_state: "deleted", wanted: "auto", pending: 0 });
	expect(world.said(/its share is deleted too/)).toBe(true);
});

it("keeps the wish while the server is away and over a restart, also where the next agent would keep shares", async () => {
	const a = secretOf("ses_a");
	world.isReachable = false;
	await world.agent.stop();
	opencode.deleteSession("ses_a");
	await world.start();
	await world.until("the deletion", () => row("ses_a")?.wanted === "delete");
	expect(world.server.digests(...a).size).toBeGreaterThan(1);
	await world.agent.stop();
	world.isReachable = true;
	await world.start({ onDelete: "keep" });
	await world.until("the share to go", () => world.agent.outbox.share("ses_a") === undefined);
	expect(() => world.server.digests(...a)).toThrow(expect.objectContaining({ code: "revoked" }));
});

it("shares a session anew that comes back, even while its old share could not be deleted yet", async () => {
	const old = secretOf("ses_a");
	world.isReachable = false;
	await world.agent.stop();
	opencode.deleteSession("ses_a");
	await world.start();
	await world.until("the deletion", () => row("ses_a")?.wanted === "delete");
	opencode.session("ses_a", false);
	opencode.message("ses_a", "msg_back", "is back", false);
	world.isReachable = true;
	await world.until(
		"a new share",
		() => ![undefined, old[0]].includes(world.agent.outbox.share("ses_a")?.share_id ?? undefined),
	);
	await world.untilEqual("ses_a");
	expect(world.agent.outbox.generation("ses_a")).toBe(1);
	expect(() => world.server.digests(...old)).toThrow(expect.objectContaining({ code: "revoked" }));
});

it("keeps and marks the share where the deletion is only presumed: nobody knows which database was captured from", async () => {
	await world.agent.stop();
	opencode.deleteSession("ses_a");
	const outbox = await openOutbox(world.agent.outbox.path);
	outbox.say({ opencode_identity: null }, Date.now());
	outbox.close();
	await world.start();
	await world.until("the mark", () => row("ses_a")?.source_state === "deleted" && row("ses_a")?.pending === 0);
	expect([...(world.shareOf("ses_a")?.keys() ?? [])]).toContain("session_deleted");
	expect(row("ses_a")?.wanted).toBe("auto");
});
