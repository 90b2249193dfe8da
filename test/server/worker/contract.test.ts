import { afterAll, beforeAll } from "vitest";
import { type Client, connect } from "../client.ts";
import { opencodeContract } from "../contract/opencode.ts";
import { shareContract } from "../contract.ts";
import { startWorker, type WorkerHost } from "./host.ts";

let host: WorkerHost;
let client: Client;
beforeAll(async () => {
	host = await startWorker({ env: { OPENCODE_SHARE: "true" } });
	client = await connect(host.url);
});
afterAll(async () => {
	await client.close();
	await host.close();
});

// One for both: it costs a second to start.
shareContract("workerd", async () => ({ ...host, close: async () => undefined }));
opencodeContract(
	() => client,
	() => host,
);
