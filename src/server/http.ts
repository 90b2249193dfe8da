import { RpcSession } from "capnweb";
import { type Context, Hono } from "hono";
import type { Logger } from "../model/logger.ts";
import { MESSAGE_BYTES_MAX, MESSAGE_DEPTH_MAX } from "../protocol/limits.ts";
import { refusalOf } from "../protocol/refusal.ts";
import { Slug } from "../protocol/schema.ts";
import { type Allowance, UNLIMITED } from "./allowance.ts";
import type { Scripts } from "./asset.ts";
import { Bodies } from "./bodies.ts";
import { Connection } from "./connection.ts";
import { exportStream } from "./export.ts";
import { opencodeRoutes } from "./opencode-http.ts";
import { type Lost, lostBy, PAGE_PATHS, pageRoutes } from "./page-http.ts";
import { PostTransport } from "./post.ts";
import type { Redactor } from "./redact.ts";
import { Api, type RpcContext } from "./rpc.ts";
import type { Holder } from "./share.ts";
import { refused } from "./status.ts";

export interface HttpContext extends RpcContext {
	readonly redactor: Redactor;
	readonly logger: Logger;
	readonly version: string;
	/** The scripts of the pages; without them the pages show what they can. */
	readonly scripts?: Scripts;
	/** Whether pages are compressed here; default false: the platform does it itself, or cannot. */
	readonly compresses?: boolean;
	/** The public link of a slug. */
	readonly url: (slug: string) => string;
	/** Called when the client of a request has shown a key or a secret; with what the host gave the request along. */
	readonly onKnown: (env: unknown) => void;
	/** What the client of a request may do of what costs; with what the host gave the request along. Default: anything. */
	readonly allowanceOf?: ((env: unknown) => Allowance) | undefined;
	/** What the calls of one POST work on, where that is not the same for all. */
	readonly perPost?: () => RpcContext;
}

/** What a session of capnweb may be sent. */
export const RPC_LIMITS = { maxMessageSize: MESSAGE_BYTES_MAX, maxDepth: MESSAGE_DEPTH_MAX };

const HEADERS = {
	"x-content-type-options": "nosniff",
	"referrer-policy": "no-referrer",
	"content-security-policy": "default-src 'none'; frame-ancestors 'none'",
	"cache-control": "no-store",
	"x-robots-tag": "noindex",
};

/** Everything that is asked over plain HTTP; no host's own API, so that every host can serve it. */
export function httpApp(context: HttpContext): Hono {
	const app = new Hono();
	const bodies = new Bodies(context.clock);

	app.use(async (c, next) => {
		await next();
		for (const [name, value] of Object.entries(HEADERS)) if (!c.res.headers.has(name)) c.header(name, value);
	});
	app.onError((error, c) => c.json({ error: context.redactor.ours(error).message }, 500));
	app.notFound((c) => c.json({ error: "not_found" }, 404));

	app.get("/health", (c) => c.json({ status: "ok", version: context.version }));
	app.get("/api/share/:slug/data", (c) =>
		withShare(c, context, async (holder) =>
			c.body(await exportStream(context.rules, holder, (error) => context.redactor.ours(error)), 200, {
				"content-type": "application/json; charset=utf-8",
			}),
		),
	);
	pageRoutes(app, {
		...context,
		scripts: context.scripts ?? {},
		compresses: context.compresses ?? false,
		withShare: (c, answer, lost) => withShare(c, context, answer, lost),
	});
	app.post("/rpc", (c) => withBody(c, bodies, (body) => answerBatch(c, context, body)));
	opencodeRoutes(app, { ...context, withBody: (c, use) => withBody(c, bodies, use) });

	const only = (allow: string, ...paths: string[]) => {
		for (const path of paths) app.all(path, (c) => c.json({ error: "method_not_allowed" }, 405, { allow }));
	};
	only("GET, HEAD", "/health", "/api/share/:slug/data", ...PAGE_PATHS);
	only("POST", "/rpc", "/api/share", "/api/share/:slug/sync");
	only("DELETE", "/api/share/:slug");
	return app;
}

/** Answers with what is made of a request's body; or, where it is not read to its end, with why. */
async function withBody(c: Context, bodies: Bodies, use: (body: string) => Promise<Response>): Promise<Response> {
	const answer = await bodies.read(c.req.raw, use);
	if (typeof answer !== "string") return answer;
	c.header("connection", "close");
	if (answer === "too_large") return c.json({ error: answer }, 413);
	if (answer === "too_slow") return c.json({ error: answer }, 408);
	// Nobody hears this; it is no defect of ours either.
	if (answer === "cut") return c.json({ error: "malformed" }, 400);
	return c.json({ error: answer }, 503, { "retry-after": "1" });
}

/** The capnweb batch of one POST. */
async function answerBatch(c: Context, context: HttpContext, body: string): Promise<Response> {
	const { redactor, logger, onKnown, allowanceOf } = context;
	try {
		const transport = new PostTransport(body);
		const connection = new Connection("post", redactor, () => onKnown(c.env), allowanceOf?.(c.env));
		const api = new Api(context.perPost?.() ?? context, connection);
		const session = new RpcSession(transport, api, { onSendError: redactor.sent, limits: RPC_LIMITS });
		await transport.allReceived;
		await session.drain();
		return c.body(transport.answer());
	} catch (error) {
		// It breaks the protocol: text that is no message of ours, too deep, too long. Nothing behind that was looked at.
		logger.debug({ err: error }, "A POST was no batch of calls.");
		return c.json({ error: "malformed" }, 400);
	}
}

/** Answers with a share that whoever has the link may view: 404 when there is none, 410 when it is gone. */
async function withShare(
	c: Context,
	{ rules, allowanceOf }: HttpContext,
	answer: (holder: Holder, slug: string) => Promise<Response>,
	lost?: (how: Lost) => Promise<Response>,
): Promise<Response> {
	const slug = Slug.safeParse(c.req.param("slug"));
	if (!slug.success) return lost?.("not_found") ?? c.json({ error: "not_found" }, 404);
	try {
		const allowance = allowanceOf?.(c.env) ?? UNLIMITED;
		return await answer(await allowance.show(() => rules.viewShare(slug.data)), slug.data);
	} catch (error) {
		const refusal = refusalOf(error);
		if (!refusal) throw error;
		const how = lostBy(refusal);
		return (how && lost?.(how)) ?? refused(c, refusal, { error: refusal.code });
	}
}
