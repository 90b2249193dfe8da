import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, expect, test } from "vitest";
import { compileShim, type Fault, KINDS, type Kind } from "../fixture/fault-shim.ts";
import { bundled } from "../fixture/script.ts";
import { check, type Told } from "./cycle.ts";
import { fastFolder } from "./machine.ts";

const CHILD = bundled(fileURLToPath(new URL("child/faults.ts", import.meta.url)));
/** From one N to the next: `npm run test:faults` leaves none out. A kill takes a process of its own. */
const STEP = Number(process.env.FAULT_STEP ?? 12);
const KILL_STEP = Number(process.env.KILL_STEP ?? 60);

const root = fastFolder();
afterAll(() => root.remove());
const shim = compileShim(root.path);
if ("reason" in shim) console.log(`skipped: ${shim.reason}`);

interface Said {
	readonly trials?: number;
	readonly last?: number;
	readonly codes?: Record<string, number>;
	readonly failure?: string;
	readonly done?: boolean;
}

let children = 0;

/** There are hundreds of writes in a cycle, and few of the others. */
function stepOf(kind: Kind): number {
	return kind === "write" ? STEP : Math.ceil(STEP / 6);
}

/** Runs a child below the shim in a folder of its own; undefined when it was killed. */
async function below(folder: string, ...args: string[]): Promise<Said | undefined> {
	if ("reason" in shim) throw new Error(shim.reason);
	mkdirSync(folder, { recursive: true });
	const control = join(root.path, `control-${children++}`);
	writeFileSync(control, Buffer.alloc(64, 0xff));
	const env = { ...process.env, LD_PRELOAD: shim.path, FAULT_DIR: folder, FAULT_CONTROL: control };
	try {
		const { stdout } = await promisify(execFile)(process.execPath, [CHILD, ...args], { env });
		return JSON.parse(stdout) as Said;
	} catch (error) {
		if ((error as { signal?: unknown }).signal === "SIGKILL") return undefined;
		throw error;
	}
}

const FAILING: readonly [Kind, readonly Fault[]][] = [
	["write", ["EIO", "ENOSPC", "torn"]],
	["sync", ["EIO"]],
	["truncate", ["EIO", "ENOSPC"]],
	["open", ["EIO", "ENOSPC"]],
	["unlink", ["EIO"]],
];

for (const [kind, faults] of FAILING)
	for (const fault of faults)
		test.skipIf("reason" in shim)(
			`whichever ${kind} fails (${fault}), the error is clear and nothing that was told is lost or told twice`,
			{ timeout: 600_000 },
			async () => {
				const said = await below(join(root.path, `${kind}-${fault}`), kind, fault, "every", String(stepOf(kind)));
				expect(said?.failure).toBeUndefined();
				expect(said?.trials).toBeGreaterThan(0);
				console.log(
					`${kind} ${fault}: ${said?.trials} trials, N = 1 to ${said?.last} by ${stepOf(kind)}, ended as ${JSON.stringify(said?.codes)}`,
				);
			},
		);

for (const [kind, fault] of [...KINDS.map((each) => [each, "killed"] as const), ["write", "torn and killed"] as const])
	test.skipIf("reason" in shim)(
		`whichever ${kind} a process is killed in (${fault}), nothing that was told is lost or told twice`,
		{ timeout: 1_800_000 },
		async () => {
			let kills = 0;
			const step = kind === "write" ? KILL_STEP : Math.ceil(KILL_STEP / 6);
			for (let n = 1; ; n += step) {
				const folder = join(root.path, `${kind}-${fault.replaceAll(" ", "-")}`);
				const toldPath = join(root.path, `told-${kind}-${n}`);
				const said = await below(folder, kind, fault, "at", String(n), toldPath);
				expect(said?.failure, `${kind} number ${n}`).toBeUndefined();
				if (said?.done) break;
				const told = JSON.parse(readFileSync(toldPath, "utf8")) as Told;
				await check(join(folder, `${n}`, "outbox.db"), told).catch((error: unknown) => {
					throw new Error(`${kind} number ${n}, ${fault}: ${error instanceof Error ? error.message : error}`);
				});
				kills++;
			}
			console.log(`${kind} ${fault}: ${kills} kills, N from 1 on by ${step}`);
			expect(kills).toBeGreaterThan(0);
		},
	);
