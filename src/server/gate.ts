import type { IncomingMessage } from "node:http";
import { isIP } from "node:net";
import { isLoopback, Networks, plainAddress } from "../model/address.ts";

export interface GateOptions {
	/** Whose word on a client is taken: networks of reverse proxies. Everybody who comes from there is one. */
	readonly trustedProxies: readonly string[];
	/** Whether this server itself speaks TLS. */
	readonly isTls: boolean;
	/** Whether only this machine reaches where it listens. */
	readonly isLocal: boolean;
	/** Where people reach it, if that is not where it listens. */
	readonly publicUrl?: string | undefined;
}

/** Who sends a request, as far as the host can tell. */
export interface Client {
	/** The client's own address, also behind a trusted proxy. */
	readonly address: string;
	/** What it sent was encrypted on its way to this machine, or to the proxy. */
	readonly isSecure: boolean;
	/** It is on this machine, and nobody has forwarded what it sent. */
	readonly isLocal: boolean;
}

/** Why a request goes no further. */
export interface Turned {
	readonly status: 403;
	readonly error: "tls_required" | "proxy_required" | "foreign_origin";
	readonly message: string;
}

/** Neither bears a secret nor tells one: a proxy's health check asks in the clear. */
const HARMLESS = "/health";

/**
 * Who may speak to the server at all, before anything that it says is looked at.
 *
 * A key, a secret and a slug must not cross a network in the clear, so what a trusted proxy forwards must have come to it
 * over TLS, and whoever goes around the proxy is sent away. A page of another site must not reach a server that only its
 * reader's machine or network reaches, so a browser's requests for /rpc must come from a page of this server.
 */
export class Gate {
	readonly #options: GateOptions;
	readonly #proxies: Networks;
	readonly #publicOrigin: string | undefined;

	constructor(options: GateOptions) {
		this.#options = options;
		this.#proxies = new Networks(options.trustedProxies);
		this.#publicOrigin = options.publicUrl === undefined ? undefined : new URL(options.publicUrl).origin;
	}

	/** Who sends it, whether it may or not. */
	clientOf(request: IncomingMessage): Client {
		const peer = plainAddress(request.socket.remoteAddress ?? "");
		if (!this.#proxies.has(peer)) return { address: peer, isSecure: this.#options.isTls, isLocal: isLoopback(peer) };
		const isSecure = lastOf(request, "x-forwarded-proto") === "https";
		return { address: this.#forwardedFor(request) ?? peer, isSecure, isLocal: false };
	}

	/** Undefined when it may pass. */
	turn(request: IncomingMessage): Turned | undefined {
		const path = request.url?.split("?")[0] ?? "";
		if (path === HARMLESS) return undefined;
		const { trustedProxies, isTls, isLocal } = this.#options;
		const peer = plainAddress(request.socket.remoteAddress ?? "");
		const isProxied = this.#proxies.has(peer);
		if (isProxied && !this.clientOf(request).isSecure)
			return turned("tls_required", "The proxy does not say that this came over TLS (X-Forwarded-Proto: https).");
		if (!isTls && !isLocal && trustedProxies.length > 0 && !isProxied && !isLoopback(peer))
			return turned("proxy_required", "This server is reached through its proxy, over TLS.");
		if (path === "/rpc" && !this.#isOwnOrigin(request, isProxied))
			return turned("foreign_origin", "A page of another origin does not call this server; see --public-url.");
		return undefined;
	}

	/**
	 * Whether a browser's page is this server's own. Who sends no Origin is no browser's page.
	 *
	 * The Host header alone proves nothing where a name may be pointed at this machine by anybody (DNS rebinding): it counts
	 * where it is an address, where a certificate stands for it, or where a trusted proxy answers to it.
	 */
	#isOwnOrigin(request: IncomingMessage, isProxied: boolean): boolean {
		const { origin } = request.headers;
		if (origin === undefined || origin === this.#publicOrigin) return true;
		const host = (isProxied ? lastOf(request, "x-forwarded-host") : undefined) ?? request.headers.host ?? "";
		const scheme = this.clientOf(request).isSecure ? "https" : "http";
		const own = `${scheme}://${host}`;
		if (!URL.canParse(own) || new URL(own).origin !== origin) return false;
		const { hostname } = new URL(own);
		return this.#options.isTls || isProxied || isLoopback(hostname) || isIP(hostname.replace(/^\[|\]$/g, "")) !== 0;
	}

	/** The last hop that no trusted proxy is: what stands before it anybody can have written. */
	#forwardedFor(request: IncomingMessage): string | undefined {
		const told = request.headers["x-forwarded-for"] ?? "";
		const hops = String(told).split(",").map(hopOf);
		const hop = hops.findLast((address) => !this.#proxies.has(address));
		return hop !== undefined && isIP(hop) !== 0 ? hop : undefined;
	}
}

function turned(error: Turned["error"], message: string): Turned {
	return { status: 403, error, message };
}

/** An address of X-Forwarded-For; some proxies write the port behind it. */
function hopOf(text: string): string {
	const [, six, four] = /^(?:\[([^\]]+)\](?::\d+)?|([\d.]+):\d+)$/.exec(text.trim()) ?? [];
	return plainAddress(six ?? four ?? text.trim());
}

/** The last of what a header lists: the nearest proxy's own word. */
function lastOf(request: IncomingMessage, name: string): string | undefined {
	const value = request.headers[name];
	return value === undefined ? undefined : String(value).split(",").at(-1)?.trim().toLowerCase();
}
