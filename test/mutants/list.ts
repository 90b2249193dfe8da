import { AGENT } from "./list/agent.ts";
import { LOOPS } from "./list/loops.ts";
import { OUTBOX } from "./list/outbox.ts";
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
	...RULES,
	...LOOPS,
	...TRANSPORT,
	...SERVER,
	...STORAGE,
];
