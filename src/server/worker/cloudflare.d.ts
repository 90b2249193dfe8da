/** What of the Workers runtime has no package to import it from. */
declare module "cloudflare:workers" {
	import type { DurableObjectState } from "@cloudflare/workers-types";

	export abstract class DurableObject<Env = unknown> {
		protected readonly ctx: DurableObjectState;
		protected readonly env: Env;
		constructor(ctx: DurableObjectState, env: Env);
	}
}

/** Bundled as text by wrangler and esbuild alike. */
declare module "*.txt" {
	const text: string;
	export default text;
}
declare module "*.sql" {
	const text: string;
	export default text;
}
