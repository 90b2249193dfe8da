import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const MAIN = fileURLToPath(new URL("../../../src/server/worker.ts", import.meta.url));

/** The Worker in one module, as wrangler would bundle it. */
export async function bundledWorker(): Promise<string> {
	const { outputFiles } = await build({
		entryPoints: [MAIN],
		bundle: true,
		write: false,
		format: "esm",
		target: "es2024",
		conditions: ["workerd", "worker", "import"],
		external: ["cloudflare:*", "node:*"],
		loader: { ".sql": "text" },
		logLevel: "warning",
	});
	const [bundle] = outputFiles;
	if (!bundle) throw new Error("esbuild made nothing");
	return bundle.text;
}
