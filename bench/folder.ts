import { join } from "node:path";
import type { Context } from "./figure.ts";

let files = 0;

/** A path in the bench's folder that nothing has yet. */
export function fresh({ folder }: Context): string {
	return join(folder, `${files++}.db`);
}
