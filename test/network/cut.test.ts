import { expect, test } from "vitest";
import { type Sweep, sweep } from "./cut.ts";
import { stride } from "./extent.ts";

/** Replies are always cut behind every byte, requests behind every one of `npm run test:network`. */
const REQUEST_STRIDE = stride(29);

test.each([
	["websocket", "to_client", 1],
	["http-batch", "to_client", 1],
	["websocket", "to_server", REQUEST_STRIDE],
	["http-batch", "to_server", REQUEST_STRIDE],
] as const)(
	"over %s, a conversation cut %s behind every byte has one effect and costs one more redemption at most",
	async (kind, direction, every) => {
		const result = await sweep(kind, direction, every);
		console.log(`cut: ${kind} ${direction}, every ${every}. byte: ${said(result)}`);
		expect(result.runs * every).toBeGreaterThan(result.bytes * 0.9);
	},
	600_000,
);

function said(result: Sweep): string {
	return [
		`${result.runs} cuts in ${result.bytes} bytes`,
		`at worst +${result.worstRedemptions} redemption, +${result.worstAppends} batches (${result.runsWithAppends} runs)`,
		`+${result.worstConnections} connections`,
		`${result.elapsedMs} ms`,
	].join(", ");
}
