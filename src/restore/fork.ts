import { hash } from "node:crypto";
import { canonicalJson } from "../model/json.ts";
import { keys } from "../model/op.ts";
import type { Content, Entity } from "./content.ts";

/** Letters of the half of an id that does not tell the time. */
const RANDOM_CHARS = 14;
const ID = /^(ses|msg|prt)_([0-9a-f]{12})[A-Za-z0-9]*$/;

/**
 * A session under ids of its own, so that it stands beside the one it is a copy of.
 *
 * The half of an id that tells the time stays, since OpenCode orders by it; the other half follows from `salt` and the old
 * id, so that the same share gives the same copy. Ids are replaced wherever they stand as a whole text.
 *
 * @param salt names what is copied: the slug of the share that the copy begins with.
 * @param family the sessions that are copied along, under the same salt: references to them are to their copies.
 */
export function forkOf(content: Content, salt: string, family: Iterable<string>): Content {
	const ids = new Set([...family, content.session_id, ...content.entities.map(({ value }) => String(value.id))]);
	const renamed = new Map([...ids].map((id) => [id, forkedId(id, salt)]));
	const copyOf = ({ type, value }: Entity): Entity => {
		const copy = rename(value, renamed) as Record<string, unknown>;
		const key =
			type === "session"
				? keys.session
				: type === "message"
					? keys.message(String(copy.id))
					: keys.part(String(copy.messageID), String(copy.id));
		return { type, key, value: copy, payload: canonicalJson(copy) };
	};
	return {
		...content,
		session_id: renamed.get(content.session_id) ?? content.session_id,
		session: copyOf(content.session),
		entities: content.entities.map(copyOf),
	};
}

/** The id that a forked session, message or part gets. */
function forkedId(id: string, salt: string): string {
	const [, prefix = id.slice(0, 3), time = ""] = ID.exec(id) ?? [];
	const random = hash("sha256", `${salt} ${id}`, "hex").slice(0, RANDOM_CHARS);
	return `${prefix}_${time}${random}`;
}

function rename(value: unknown, ids: ReadonlyMap<string, string>): unknown {
	if (typeof value === "string") return ids.get(value) ?? value;
	if (Array.isArray(value)) return value.map((member) => rename(member, ids));
	if (typeof value !== "object" || value === null) return value;
	return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, rename(member, ids)]));
}
