#!/usr/bin/env node
/** The oldest Node that the package supports; keep in step with `engines` in package.json. */
const NODE_MIN = [22, 12] as const;

// Nothing is imported before this: what an older runtime stumbles over would tell a person nothing.
const { bun, node } = process.versions;
const [major = 0, minor = 0] = node.split(".").map(Number);
if (bun === undefined && (major < NODE_MIN[0] || (major === NODE_MIN[0] && minor < NODE_MIN[1]))) {
	process.stderr.write(
		`error: opencode-outbox needs Node ${NODE_MIN.join(".")} or newer, or Bun; this is Node ${node}.\n`,
	);
	process.exit(78);
}

const { runProgram } = await import("./program.ts");
await runProgram(process.argv.slice(2));
