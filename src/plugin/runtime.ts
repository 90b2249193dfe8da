import { execFile } from "node:child_process";

/** What an agent can run on. */
export interface Runtime {
	readonly name: "node" | "bun";
	readonly command: string;
	readonly env: Readonly<Record<string, string>>;
}

/** The oldest that the SQLite binding works with; as in cli/main.ts. */
const NODE_MAJOR_MIN = 22;
const NODE_API_MIN = 10;
/** A version manager's shim takes half a second, on a machine with other work twenty times that; nobody waits for it. */
const ASK_MS_MAX = 20_000;

/**
 * What can run an agent here, the best first: the Node on the PATH, then OpenCode's own embedded Bun, which is always
 * there (`BUN_BE_BUN` makes the program of OpenCode a plain Bun).
 *
 * @param cwd no project's folder: what lies there must not configure it.
 */
export async function runtimes(env: Readonly<Record<string, string>>, cwd: string): Promise<Runtime[]> {
	const node = await nodeOnPath(env, cwd);
	const bun = process.versions.bun === undefined ? [] : [bunOfOpencode()];
	return node === undefined ? bun : [{ name: "node", command: node, env: {} }, ...bun];
}

function bunOfOpencode(): Runtime {
	return { name: "bun", command: process.execPath, env: { BUN_BE_BUN: "1" } };
}

/** The path of a Node that is new enough; undefined when there is none. */
function nodeOnPath(env: Readonly<Record<string, string>>, cwd: string): Promise<string | undefined> {
	const ask = "const v=process.versions;[v.bun?'':process.execPath,v.node,v.napi].join('\\n')";
	return new Promise((resolve) => {
		const options = { env, cwd, timeout: ASK_MS_MAX, windowsHide: true };
		execFile("node", ["-p", ask], options, (error, stdout) => {
			const [path, version, api] = String(stdout).split("\n");
			const isFit = Number.parseInt(version ?? "", 10) >= NODE_MAJOR_MIN && Number(api) >= NODE_API_MIN;
			resolve(error === null && isFit && path ? path : undefined);
		}).on("error", () => resolve(undefined));
	});
}
