import { Buffer } from "node:buffer";
import type { Context, Hono } from "hono";
import * as z from "zod";
import type { Logger } from "../model/logger.ts";
import { SYNC_DEPTH_MAX, SYNC_VALUES_MAX } from "../protocol/limits.ts";
import { depthOf, valuesIn } from "../protocol/nesting.ts";
import { refusalOf, ShareRefusal } from "../protocol/refusal.ts";
import { CreateShareRequest, Secret, Slug } from "../protocol/schema.ts";
import { type Allowance, UNLIMITED } from "./allowance.ts";
import { itemOf, type SyncItem } from "./opencode-item.ts";
import { NOBODY, type SyncAck } from "./opencode-shares.ts";
import { parse } from "./parse.ts";
import { andThen, type Eventual, type Notices, type Rules } from "./rules.ts";
import { refused } from "./status.ts";

export interface OpencodeHttpContext {
	readonly rules: Rules;
	readonly hub: Notices;
	readonly logger: Logger;
	readonly onKnown: (env: unknown) => void;
	readonly allowanceOf?: ((env: unknown) => Allowance) | undefined;
	/** Reads a request's body and answers with what is made of it, or with why it was not read. */
	readonly withBody: (c: Context, use: (body: string) => Promise<Response>) => Promise<Response>;
}

const Create = z.object({ sessionID: CreateShareRequest.shape.session_id });
const Delete = z.object({ secret: Secret });
const Sync = z.object({ secret: Secret, data: z.array(z.unknown()) });

/** Rejected items that an answer names; there may be as many as there are values in a body. */
const TOLD_MAX = 100;

/**
 * The calls of OpenCode's own share, as it makes them (config `enterprise.url`). A share's id is its slug there, so that
 * what is said to it and what people open is one address; `GET /api/share/:slug/data` is everybody's.
 */
export function opencodeRoutes(app: Hono, context: OpencodeHttpContext): void {
	const { rules, hub, onKnown, allowanceOf } = context;
	const allowance = (c: Context) => allowanceOf?.(c.env) ?? UNLIMITED;
	/** The first piece of a sync is empty: it shows the secret. Each of the others appends. */
	const paced = <T>(c: Context, sync: () => Eventual<T>, items: readonly SyncItem[]): Eventual<T> => {
		if (items.length === 0) return allowance(c).show(sync);
		allowance(c).append(
			NOBODY,
			items.reduce((sum, item) => sum + Buffer.byteLength(item.payload), 0),
		);
		return sync();
	};
	app.post("/api/share", (c) =>
		answer(c, context, async (json) => {
			const { sessionID } = parse(Create, json, "body");
			allowance(c).create(NOBODY);
			const { slug, url, secret } = await allowance(c).show(() => rules.opencode.create(sessionID));
			return { id: slug, url, secret };
		}),
	);
	app.post("/api/share/:slug/sync", (c) =>
		answer(c, context, async (json) => {
			const slug = slugOf(c);
			const { secret, data } = parse(Sync, json, "body");
			return sync(context, data, (items) =>
				andThen(
					paced(c, () => rules.opencode.sync(slug, secret, items), items),
					(ack) => {
						onKnown(c.env);
						if (ack.applied > 0) hub.changed(ack.share_id);
						return ack;
					},
				),
			);
		}),
	);
	app.delete("/api/share/:slug", (c) =>
		answer(c, context, async (json) => {
			const slug = slugOf(c);
			const { secret } = parse(Delete, json, "body");
			hub.ended(await allowance(c).show(() => rules.opencode.delete(slug, secret)));
			return {};
		}),
	);
}

/**
 * Applies what a sync says, in pieces of a batch's size (in characters), each key once: so that no commit is long and
 * others have their turn. What a crash cuts off in between is not undone; told again, it makes the rest.
 */
async function sync({ rules, logger }: OpencodeHttpContext, data: readonly unknown[], apply: Apply) {
	const rejected: { key: string | null; code: string; reason: string }[] = [];
	const told = { cursor: 0, applied: 0, unchanged: 0 };
	const take = async (piece: readonly SyncItem[]) => {
		const ack = await apply(piece);
		told.cursor = ack.cursor;
		told.applied += ack.applied;
		told.unchanged += ack.unchanged;
		rejected.push(...ack.rejected);
		return ack.share_id;
	};
	// Before any of it is worked on: is it the share's own client?
	const share_id = await take([]);
	let piece = new Map<string, SyncItem>();
	let chars = 0;
	for (const value of data) {
		const item = itemOf(value);
		if (!("key" in item)) {
			rejected.push({ key: null, ...item });
			continue;
		}
		if (
			piece.size >= rules.limits.ops_per_batch ||
			(piece.size > 0 && chars + item.payload.length > rules.limits.batch_bytes)
		) {
			await take([...piece.values()]);
			[piece, chars] = [new Map(), 0];
			await new Promise((resolve) => setImmediate(resolve));
		}
		chars += item.payload.length;
		piece.set(item.key, item);
	}
	if (piece.size > 0) await take([...piece.values()]);
	const { length } = rejected;
	if (length > 0) {
		const [first] = rejected;
		logger.warn({ share_id, rejected: length, first }, "OpenCode's own share told what cannot be taken.");
	}
	return { ...told, rejected: rejected.slice(0, TOLD_MAX) };
}

type Apply = (items: readonly SyncItem[]) => Eventual<SyncAck>;

/** Answers with JSON, refusals too. */
function answer(
	c: Context,
	{ withBody }: OpencodeHttpContext,
	act: (json: unknown) => Promise<object>,
): Promise<Response> | Response {
	// A web page may send any other type to a server on loopback without asking it first.
	if (!/^application\/json\s*(;|$)/i.test(c.req.header("content-type") ?? ""))
		return c.json({ error: "invalid_request", message: "content-type: expected application/json" }, 415);
	return withBody(c, async (body) => {
		try {
			return c.json(await act(jsonOf(body)));
		} catch (error) {
			const refusal = refusalOf(error);
			if (!refusal) throw error;
			return refused(c, refusal);
		}
	});
}

/** Code invalid_request. */
function jsonOf(body: string): unknown {
	if (depthOf(body) > SYNC_DEPTH_MAX) throw flawed(`it nests deeper than ${SYNC_DEPTH_MAX}`);
	if (valuesIn(body) > SYNC_VALUES_MAX) throw flawed(`it has more than ${SYNC_VALUES_MAX} values`);
	try {
		return JSON.parse(body);
	} catch {
		throw flawed("it is not JSON");
	}
}

function flawed(what: string): ShareRefusal {
	return new ShareRefusal("invalid_request", `body: ${what}`);
}

/** Code not_found for what can be no share's. */
function slugOf(c: Context): string {
	const slug = Slug.safeParse(c.req.param("slug"));
	if (!slug.success) throw new ShareRefusal("not_found", "There is no such share.");
	return slug.data;
}
