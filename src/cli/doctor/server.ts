import { ThrowAwayShare } from "../../agent/throw-away.ts";
import { isLoopback } from "../../model/address.ts";
import { systemClock } from "../../model/clock.ts";
import { messageOf, OutboxError } from "../../model/errors.ts";
import { refusalOf } from "../../protocol/refusal.ts";
import { capnwebTransport } from "../../transport/capnweb.ts";
import { serverVitals } from "../../transport/probe.ts";
import type { Connection } from "../../transport/transport.ts";
import { untrusted } from "../../transport/trust.ts";
import { pathsIn } from "../paths.ts";
import { readServerKey } from "../server-key.ts";
import { remoteServer, type Settings } from "../settings.ts";
import type { Finding } from "./examination.ts";
import type { AgentSeen } from "./outbox.ts";

/** From here on the two clocks are told to differ, in ms. */
const SKEW_MS = 60_000;

/** What to do where the server has no room. */
const ROOM = "Nothing is lost: what is shared already goes on. The server's owner sets its limits and quotas.";

/** A share server that answers. */
export interface Reached {
	readonly url: string;
	/** Undefined where nobody told which file holds it. */
	readonly keyFile: string | undefined;
	readonly connection: Connection;
}

/** The share server answers, as one of ours, over a WebSocket, with its clock right. */
export async function checkServer(
	settings: Settings,
	agent: AgentSeen | undefined,
	timeoutMs: number,
	signal: AbortSignal,
): Promise<Finding<Reached>> {
	const target = serverOf(settings, agent);
	if (target === undefined)
		return { verdict: "skip", found: "None is set (--server), and no agent runs that has one of its own." };
	const { url, keyFile } = target;
	const vitals = await serverVitals(url, signal).catch((error: unknown) => {
		signal.throwIfAborted();
		const fault = untrusted(url, error);
		if (fault) throw fault;
		const { cause } = error as { cause?: unknown };
		const why = cause instanceof Error ? messageOf(cause) : messageOf(error);
		throw new OutboxError("unreachable", `No share server at ${url}: ${why || "no answer"}.`);
	});
	const timing = { handshakeMs: timeoutMs / 2, callMs: timeoutMs };
	const connection = await capnwebTransport({ url, clock: systemClock, timing }).connect(signal);
	const { kind } = connection;
	const latency_ms = Math.round(vitals.latencyMs);
	const facts = { url, version: vitals.version, transport: kind, latency_ms, clock_skew_ms: vitals.skewMs };
	const found = `${url}, version ${vitals.version}: answers in ${latency_ms} ms, over ${kind}, ${clockText(vitals.skewMs)}.`;
	const remarks: [what: string, next: string][] = [];
	const used = agent?.status.agent.pid == null ? null : agent.status.server.url;
	if (used !== null && used !== url)
		remarks.push([`The agent that runs uses ${used}.`, "Set the same server for both, and restart the agent."]);
	if (isClear(url)) remarks.push(["The server key and the sessions go there in the clear.", "Use https://."]);
	if (isSkewed(vitals.skewMs))
		remarks.push(["The clocks differ.", "Set both by NTP: ages and audit times are wrong; nothing is lost by it."]);
	if (kind !== "websocket")
		remarks.push(["No WebSocket gets through.", "It works, but slower. Let the proxy pass upgrades on /rpc."]);
	const value = { url, keyFile, connection };
	if (remarks.length === 0) return { verdict: "ok", found, facts, value };
	const next = remarks.map(([, what]) => what).join(" ");
	return { verdict: "warn", found: [found, ...remarks.map(([what]) => what)].join(" "), next, facts, value };
}

function isSkewed(skewMs: number | null): boolean {
	return skewMs !== null && Math.abs(skewMs) > SKEW_MS;
}

function clockText(skewMs: number | null): string {
	if (skewMs === null) return "and tells no time";
	const seconds = Math.round(Math.abs(skewMs) / 1000);
	// The header that tells it has whole seconds.
	if (seconds <= 1) return "its clock as this one's";
	return `its clock ${seconds} s ${skewMs > 0 ? "ahead" : "behind"}`;
}

/** The server takes this key: it makes a share that is thrown away again. */
export async function checkServerKey({ url, keyFile, connection }: Reached): Promise<Finding<ThrowAwayShare>> {
	if (keyFile === undefined)
		return {
			verdict: "skip",
			found: `The agent that runs has the key of ${url}; here none is set (--server-key-file).`,
		};
	const key = readServerKey(keyFile);
	try {
		const value = await ThrowAwayShare.make(connection, key);
		return { verdict: "ok", found: `${url} accepts the key in ${keyFile}.`, facts: { key_file: keyFile }, value };
	} catch (error) {
		const { code, message } = refusalOf(error) ?? {};
		if (code === "busy" || code === "over_quota")
			return {
				verdict: "warn",
				found: `${url} accepts the key in ${keyFile}, but makes no share: ${message}`,
				next: ROOM,
			};
		if (code !== "denied") throw error;
		throw new OutboxError("denied", `${url} does not accept the key in ${keyFile}.`, {
			hint: "Put the key that the server's owner gave you into that file. A running agent reads it anew by itself.",
		});
	}
}

/** An op is applied, found by its digest, seen by its link, and gone when its share is deleted. */
export async function checkRoundTrip({ url }: Reached, share: ThrowAwayShare, signal: AbortSignal): Promise<Finding> {
	const startedAt = performance.now();
	const { slug, url: link } = share.grant;
	const here = `${url}/share/${slug}`;
	await share.write();
	const seen = await statusOf(here, signal);
	if (seen !== 200) throw new Error(`${url} answers ${seen} to the link of a share that it has`);
	const outside = link === here ? 200 : await statusOf(link, signal).catch(() => undefined);
	await share.delete();
	const after = await statusOf(here, signal);
	if (after !== 410) throw new Error(`${url} answers ${after} to the link of a share that was deleted`);
	const elapsed = Math.round(performance.now() - startedAt);
	const found = `An op was applied, looked up, seen by its link, and deleted, in ${elapsed} ms.`;
	if (outside === 200) return { verdict: "ok", found };
	const { origin } = new URL(link);
	const next = "Check the server's --public-url, or that this machine reaches it; syncing works all the same.";
	return { verdict: "warn", found: `${found} But its links begin with ${origin}, which did not show it here.`, next };
}

/** The server that is set; else the one of the agent that runs. `agent`: undefined where the outbox does not tell. */
function serverOf(
	settings: Settings,
	agent: AgentSeen | undefined,
): { url: string; keyFile: string | undefined } | undefined {
	const remote = remoteServer(settings);
	if (remote) return remote;
	const url = agent?.status.server.url ?? null;
	if (agent?.status.agent.pid == null || url === null) return undefined;
	return { url, keyFile: agent.hasOwnServer ? pathsIn(settings.dataDir).serverKey : undefined };
}

async function statusOf(url: string, signal: AbortSignal): Promise<number> {
	const response = await fetch(url, { signal, redirect: "manual" });
	await response.body?.cancel();
	return response.status;
}

function isClear(url: string): boolean {
	const { protocol, hostname } = new URL(url);
	return protocol === "http:" && !isLoopback(hostname);
}
