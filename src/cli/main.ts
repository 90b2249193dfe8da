#!/usr/bin/env node
/**
 * The oldest Node that works: better-sqlite3's prebuilt binary needs Node-API 10, and crashes the process without it
 * (measured on 22.12.0 and 22.13.1; 22.14.0 works). Keep in step with `engines` in package.json.
 */
const NODE_MIN = "22.14";
const NODE_API_MIN = 10;

// Nothing is imported before this: what an older runtime stumbles over would tell a person nothing.
const { bun, node, napi } = process.versions;
if (bun === undefined && (Number.parseInt(node, 10) < 22 || Number(napi) < NODE_API_MIN)) {
	process.stderr.write(`error: opencode-outbox needs Node ${NODE_MIN} or newer, or Bun; this is Node ${node}.\n`);
	process.exit(78);
}

/** A server has its machine to itself, and a look is over before its garbage matters: taking that out was 17 ms of it. */
const ROOMY = ["serve", "status"];
if (!ROOMY.includes(process.argv[2] ?? "")) (await import("./heap.ts")).keepHeapSmall();
const { runProgram } = await import("./program.ts");
await runProgram(process.argv.slice(2));
