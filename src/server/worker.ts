import { randomBytes } from "node:crypto";
import type { ExecutionContext, WebSocket as WorkerSocket } from "@cloudflare/workers-types";
import type { Hono } from "hono";
import listScript from "../../dist/page/list.txt";
import shareScript from "../../dist/page/share.txt";
import { systemClock } from "../model/clock.ts";
import { RATES } from "../protocol/rates.ts";
import { type Allowance, UNLIMITED } from "./allowance.ts";
import { type HttpContext, httpApp } from "./http.ts";
import { Limiter } from "./limiter.ts";
import { Redactor } from "./redact.ts";
import { Ears } from "./worker/ears.ts";
import { type Env, serverKeysOf } from "./worker/env.ts";
import { consoleLogger } from "./worker/logger.ts";
import { ObjectRules } from "./worker/object-rules.ts";
import { operate } from "./worker/operator.ts";
import { type SessionCaps, serveSession } from "./worker/session.ts";
import { Strangers } from "./worker/strangers.ts";

export { DirectoryObject } from "./worker/directory-object.ts";
export { ShareObject } from "./worker/share-object.ts";
export { WatchObject } from "./worker/watch-object.ts";

/** Well within what the platform allows one session, and so that a deployment's sessions do not pile up. */
const SESSION_MS = 15 * 60_000;
const SESSION_CALLS = 20_000;

/** Origins that an isolate remembers an app for; there are one or two. */
const APPS_MAX = 8;

/** Text of `npm run bundle:page`, which wrangler runs first. */
const SCRIPTS = { share: shareScript, list: listScript };

const strangers = new Strangers();
const redactor = new Redactor(consoleLogger, randomBytes);
/** What each client has taken lately, of this isolate. */
const limiter = new Limiter(RATES, systemClock);
const apps = new Map<string, Hono>();

/**
 * The share server on Cloudflare Workers: capnweb, HTTP and every check of what comes in here; each share in a Durable
 * Object of its own (worker/share-object.ts), which is called by value.
 */
export default {
	async fetch(request: Request, env: Env, context: ExecutionContext): Promise<Response> {
		if (serverKeysOf(env).length === 0) return new Response("SERVER_KEYS is not set.\n", { status: 500 });
		const url = new URL(request.url);
		const origin = env.PUBLIC_URL?.replace(/\/+$/, "") || url.origin;
		const isUpgrade = request.headers.get("upgrade")?.toLowerCase() === "websocket";
		if (isUpgrade)
			return url.pathname === "/rpc" ? upgraded(request, origin, env) : new Response(null, { status: 404 });
		if (url.pathname.startsWith("/operator/")) return operate(request, url.pathname, env);
		return appOf(origin, env).fetch(request, allowanceOf(request), context as never);
	},
};

function upgraded(request: Request, origin: string, env: Env): Response {
	const { 0: theirs, 1: ours } = new WebSocketPair();
	const [context, rules] = contextOf(origin, env, true);
	serveSession(ours, context, rules, allowanceOf(request), capsOf(env));
	return new Response(null, { status: 101, webSocket: theirs } as ResponseInit);
}

function appOf(origin: string, env: Env): Hono {
	const known = apps.get(origin);
	if (known) return known;
	if (apps.size >= APPS_MAX) apps.clear();
	const [context] = contextOf(origin, env, false);
	const perPost = () => contextOf(origin, env, true)[0];
	const app = httpApp({ ...context, allowanceOf: (allowance) => allowance as Allowance, perPost });
	apps.set(origin, app);
	return app;
}

/** What calls work on: those of one connection, or those of many requests. */
function contextOf(origin: string, env: Env, isOneConnection: boolean): [HttpContext, ObjectRules] {
	const url = (slug: string) => `${origin}/share/${slug}`;
	const rules = new ObjectRules(env, url, strangers, systemClock, isOneConnection);
	const hub = new Ears(env, systemClock);
	const onKnown = () => undefined;
	const version = env.VERSION ?? "unknown";
	return [
		{ rules, hub, clock: systemClock, redactor, logger: consoleLogger, version, scripts: SCRIPTS, url, onKnown },
		rules,
	];
}

/** By the address that the platform tells; without one, it is not the platform that asks. */
function allowanceOf({ headers }: Request): Allowance {
	const address = headers.get("cf-connecting-ip");
	return address === null ? UNLIMITED : limiter.of(address);
}

function capsOf({ SESSION_SECONDS, SESSION_CALLS: calls }: Env): SessionCaps {
	return { ms: Number(SESSION_SECONDS) * 1000 || SESSION_MS, calls: Number(calls) || SESSION_CALLS };
}

declare const WebSocketPair: new () => { 0: WorkerSocket; 1: WorkerSocket };
