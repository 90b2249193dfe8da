import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const pathOf = (file: string) => fileURLToPath(new URL(file, import.meta.url));

/** The Worker in one module, as wrangler would bundle it; or the one whose objects a test can look into. */
export async function bundledWorker(isProbed: boolean): Promise<string> {
	const { outputFiles } = await build({
		entryPoints: [pathOf(isProbed ? "./probed.ts" : "../../../src/server/worker.ts")],
		bundle: true,
		write: false,
		format: "esm",
		target: "es2024",
		conditions: ["workerd", "worker", "import"],
		external: ["cloudflare:*", "node:*"],
		loader: { ".sql": "text", ".txt": "text" },
		logLevel: "warning",
	});
	const [bundle] = outputFiles;
	if (!bundle) throw new Error("esbuild made nothing");
	return bundle.text;
}
