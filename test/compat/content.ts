import { expect } from "vitest";
import { differenceOf, type Entities, linesOf } from "../demo/compare.ts";
import type { Machine } from "../e2e/lab.ts";
import { exportSession, type OpencodeHome } from "../fixture/opencode.ts";

/** What the share tells whoever has the link is what `opencode export` tells: the session, every message, every part. */
export async function expectExported(machine: Machine, home: OpencodeHome, sessionId: string): Promise<void> {
	const { info, messages } = await exportSession(home, sessionId);
	const exported = byId([info, ...messages.flatMap((message) => [message.info, ...message.parts])]);
	const shared = await sharedEntities(machine, sessionId);
	expect(linesOf(differenceOf(exported, shared), exported, shared)).toEqual([]);
	expect(exported.size).toBeGreaterThan(2);
}

async function sharedEntities(machine: Machine, sessionId: string): Promise<Entities> {
	const [share] = await machine.rows<{ url: string }>("SELECT url FROM share WHERE session_id = ?", sessionId);
	const response = await fetch(`${share?.url.replace("/share/", "/api/share/")}/data`);
	const items = (await response.json()) as { type: string; data: unknown }[];
	return byId(items.filter(({ type }) => /^(session|message|part)$/.test(type)).map(({ data }) => data));
}

function byId(entities: readonly unknown[]): Entities {
	return new Map(entities.map((entity) => [(entity as { id: string }).id, entity]));
}
