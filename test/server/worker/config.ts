import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { z } from "zod";

const PATH = fileURLToPath(new URL("../../../deploy/cloudflare/wrangler.jsonc", import.meta.url));

/** What is deployed, as far as the tests run by it or hold it to something. */
const Config = z.looseObject({
	compatibility_date: z.iso.date(),
	compatibility_flags: z.array(z.string()),
	durable_objects: z.object({ bindings: z.array(z.object({ name: z.string(), class_name: z.string() })) }),
	migrations: z.array(z.object({ tag: z.string(), new_sqlite_classes: z.array(z.string()) })),
	limits: z.object({ cpu_ms: z.number(), subrequests: z.number() }),
	vars: z.record(z.string(), z.string()),
	secrets: z.object({ required: z.array(z.string()) }),
	send_metrics: z.literal(false),
});
export type WorkerConfig = z.infer<typeof Config>;

/** The configuration of the deployment. Its comments stand in lines of their own. */
export function workerConfig(): WorkerConfig {
	return Config.parse(JSON.parse(readFileSync(PATH, "utf8").replace(/^\s*\/\/.*$/gm, "")));
}
