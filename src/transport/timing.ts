/** How long the transport waits for what. All in ms. */
export const TIMING = {
	/**
	 * One call, from sending to its answer, on top of the time its bytes need (SLOWEST_LINK_BYTES_PER_MS). Far above any
	 * commit, short enough that a person still waits for `flush`.
	 */
	callMs: 30_000,
	/** Reaching the server: TCP, TLS, upgrade and the first pong; or the first HTTP answer. */
	handshakeMs: 10_000,
	/** Between two pings, and for a pong. Idle connections are dropped silently after 60 s by many proxies. */
	heartbeatMs: 15_000,
	/** How long a refused upgrade is remembered, so that not every reconnect pays for it again. */
	upgradeRetryMs: 600_000,
} as const;
export type Timing = { readonly [Name in keyof typeof TIMING]: number };
