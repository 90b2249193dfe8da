import { setTimeout as delay } from "node:timers/promises";
import { newHttpBatchRpcSession } from "capnweb";
import type { Status } from "../../src/cli/status-facts.ts";
import type { ShareRpc } from "../../src/protocol/rpc.ts";
import { openSqlite } from "../../src/sqlite/driver.ts";
import { eventually } from "../fixture/cli.ts";
import { type Difference, differenceOf, type Entities, sizeOf } from "./compare.ts";
import type { Stage } from "./stage.ts";

/** Between two looks, in ms: the machine has other things to do. */
const LOOK_MS = 100;
const LEVEL_MS_MAX = 60_000;

/** The demo's session and its share. */
export interface Subject {
	readonly stage: Stage;
	readonly sessionId: string;
	readonly slug: string;
	readonly url: string;
}

export async function statusOf(stage: Stage): Promise<Status> {
	return (await stage.command("status", "--json")).json<Status>();
}

/** How many ops the agent knows the share to have. */
export async function ackedCursor({ stage, sessionId }: Subject): Promise<number> {
	const { sessions } = await statusOf(stage);
	return sessions.find((session) => session.session_id === sessionId)?.cursor ?? 0;
}

/** How many ops the share has: whoever has the link may ask the server. */
export async function shareCursor({ stage, slug }: Subject): Promise<number> {
	const api = newHttpBatchRpcSession<ShareRpc>(`${stage.serverUrl}/rpc`);
	return (await api.viewShare(slug).redemption()).cursor;
}

/** Messages and parts as OpenCode tells them. */
export async function opencodeEntities({ stage, sessionId }: Subject): Promise<Entities> {
	const messages = await stage.opencode.messages(sessionId);
	return byId(messages.flatMap(({ info, parts }) => [info, ...parts]));
}

/** How the share differs from OpenCode in messages and parts. */
export async function shareDifference(subject: Subject): Promise<Difference> {
	const { stage, slug } = subject;
	const response = await fetch(`${stage.serverUrl}/api/share/${slug}/data`, { signal: AbortSignal.timeout(10_000) });
	const items = (await response.json()) as { type: string; data: { id: string } }[];
	const entities = items.filter(({ type }) => type === "message" || type === "part").map(({ data }) => data);
	return differenceOf(await opencodeEntities(subject), byId(entities));
}

/** The same for what OpenCode's own share has sent. */
export async function ownShareDifference(subject: Subject): Promise<Difference> {
	const stored = subject.stage.theirs.requests.filter((request) => request.answer === "stored");
	const items = stored.flatMap((request) => request.items);
	const entities = items.filter(({ type }) => type === "message" || type === "part").map(({ data }) => data);
	return differenceOf(await opencodeEntities(subject), byId(entities as { id: string }[]));
}

/** Waits until the share is what OpenCode has. Returns how long that took, in ms. */
export async function level(subject: Subject): Promise<number> {
	const startedAt = performance.now();
	const isLevel = async () => {
		if (sizeOf(await shareDifference(subject)) === 0) return true;
		await delay(LOOK_MS);
		return false;
	};
	await eventually("the share to be what OpenCode has", isLevel, { withinMs: LEVEL_MS_MAX });
	return Math.round(performance.now() - startedAt);
}

/** How many events OpenCode has logged for the session, and their size. */
export async function eventLog({ stage, sessionId }: Subject): Promise<{ events: number; bytes: number }> {
	const sqlite = await openSqlite(stage.opencode.databasePath, { readonly: true });
	try {
		const rows = sqlite.prepare<{ events: number; bytes: number }>(
			"SELECT count(*) AS events, sum(length(data)) AS bytes FROM event WHERE aggregate_id = ?",
		);
		return rows.get(sessionId) ?? { events: 0, bytes: 0 };
	} finally {
		sqlite.close();
	}
}

/** Later ones win. */
function byId(entities: readonly { readonly id: string }[]): Entities {
	return new Map(entities.map((entity) => [entity.id, entity]));
}
