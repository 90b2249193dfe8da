import { expect, test } from "vitest";
import { type Sweep, sweep } from "./cut.ts";
import { stride } from "./extent.ts";

/** A WebSocket's replies are always cut behind every byte, the others behind every one of `npm run test:network`. */
const [HTTP_REPLY_STRIDE, REQUEST_STRIDE] = [stride(7), stride(29)];

test.each([
	["websocket", "to_client", 1],
	["http-batch", "to_client", HTTP_REPLY_STRIDE],
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
