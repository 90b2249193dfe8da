import { AGENT } from "./list/agent.ts";
import { LIVE } from "./list/live.ts";
import { LOOPS } from "./list/loops.ts";
import { OUTBOX } from "./list/outbox.ts";
import { PAGE } from "./list/page.ts";
import { PLUGIN } from "./list/plugin.ts";
import { RESTORED } from "./list/restored.ts";
import { RULES } from "./list/rules.ts";
import { SERVER } from "./list/server.ts";
import { STORAGE } from "./list/storage.ts";
import { TRANSPORT } from "./list/transport.ts";
import type { Mutant } from "./mutant.ts";

export const MUTANTS: readonly Mutant[] = [
	...OUTBOX,
	...AGENT,
	...RESTORED,
	...LIVE,
	...RULES,
	...LOOPS,
	...TRANSPORT,
	...SERVER,
	...STORAGE,
	...PLUGIN,
	...PAGE,
];
