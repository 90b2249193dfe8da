import { afterAll, beforeAll, describe } from "vitest";
import { type Client, connect } from "./client.ts";
import { appendContract } from "./contract/append.ts";
import { capabilityContract } from "./contract/capability.ts";
import { claimContract } from "./contract/claim.ts";
import { entityContract } from "./contract/entity.ts";
import { grantContract } from "./contract/grant.ts";
import type { Host } from "./contract/host.ts";
import { pipelineContract } from "./contract/pipeline.ts";
import { rotationContract } from "./contract/rotation.ts";
import { watchContract } from "./contract/watch.ts";

/** The rules of a share server (design, section 3), as its clients see them. Every host must pass. */
export function shareContract(name: string, makeHost: () => Promise<Host>): void {
	describe(`the share contract on ${name}`, () => {
		let host: Host;
		let client: Client;
		beforeAll(async () => {
			host = await makeHost();
			client = await connect(host.url);
		});
		afterAll(async () => {
			await client.close();
			await host.close();
		});
		appendContract(
			() => client,
			() => host,
		);
		grantContract(
			() => client,
			() => host,
		);
		entityContract(
			() => client,
			() => host,
		);
		watchContract(() => client);
		capabilityContract(
			() => client,
			() => host,
		);
		rotationContract(
			() => client,
			() => host,
		);
		claimContract(
			() => client,
			() => host,
		);
		pipelineContract(() => host);
	});
}
