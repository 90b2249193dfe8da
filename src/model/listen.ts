import { once } from "node:events";
import type { AddressInfo, Server } from "node:net";
import type { Clock } from "./clock.ts";

/**
 * How long a taken port is tried again, in ms: the kernel frees what a killed process had one after the other, so its
 * heir has the lock while the port is still taken. And how often.
 */
const PORT_MS = 1000;
const PORT_PAUSE_MS = 20;

/**
 * Listens, and waits a moment for a port that a killed process had.
 *
 * @returns the port; any free one for 0.
 * @throws the system's error, with its `code`: EADDRINUSE when something else has the port for good.
 */
export async function listen(server: Server, host: string, port: number, clock: Clock): Promise<number> {
	for (let waitedMs = 0; ; waitedMs += PORT_PAUSE_MS) {
		const error: unknown = await once(server.listen(port, host), "listening").then(
			() => undefined,
			(thrown: unknown) => thrown,
		);
		if (error === undefined) return (server.address() as AddressInfo).port;
		if ((error as { code?: unknown }).code !== "EADDRINUSE" || waitedMs >= PORT_MS) throw error;
		await clock.sleep(PORT_PAUSE_MS);
	}
}
