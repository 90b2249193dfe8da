import { closeSync, mkdirSync, openSync, readSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { OutboxError } from "../../../src/model/errors.ts";
import { asStorageError } from "../../../src/sqlite/errors.ts";
import { FAULTS, type Fault, KINDS, type Kind } from "../../fixture/fault-shim.ts";
import { check, cycle, nothingTold } from "../cycle.ts";

// Runs below the fault shim. argv: kind, fault, and "every" with the step from one N to the next; or for a kill "at" with N
// and where to write down what the cycle was told.
// Says one JSON line at the end: {trials, last, codes} or {failure}; `{done: true}` when N is beyond the last call.

const [kind, fault, mode, number, toldPath] = process.argv.slice(2) as [Kind, Fault, "every" | "at", string, string?];
const folder = process.env.FAULT_DIR ?? "";
const control = openSync(process.env.FAULT_CONTROL ?? "", "r+");

function arm(which: number, n: number): void {
	writeSync(control, Buffer.from(Int32Array.of(which, n, FAULTS.indexOf(fault), 0, 0).buffer), 0, 20, 0);
}

function hasHit(): boolean {
	const state = Buffer.alloc(20);
	readSync(control, state, 0, 20, 0);
	return state.readInt32LE(12) === 1;
}

const codes: Record<string, number> = {};

async function trial(n: number): Promise<boolean> {
	const place = join(folder, `${n}`);
	mkdirSync(place, { recursive: true });
	const path = join(place, "outbox.db");
	const told = nothingTold();
	const note = () => {
		if (toldPath !== undefined) writeFileSync(toldPath, JSON.stringify(told));
	};
	note();
	arm(KINDS.indexOf(kind), n);
	let ended = "unnoticed";
	try {
		await cycle(path, told, note);
	} catch (thrown) {
		const error = asStorageError(thrown, path);
		if (!(error instanceof OutboxError)) throw error;
		if (error.message.includes("\n") || !error.message.includes(path)) throw new Error(`unclear: ${error.message}`);
		ended = error.code;
	}
	const hit = hasHit();
	arm(-1, 0);
	if (!hit && ended !== "unnoticed") throw new Error(`it failed without a fault: ${ended}`);
	if (hit) codes[ended] = (codes[ended] ?? 0) + 1;
	await check(path, told);
	rmSync(place, { recursive: true, force: true });
	return hit;
}

try {
	if (mode === "at") {
		await trial(Number(number));
		console.log(JSON.stringify({ done: true }));
	} else {
		let [n, trials] = [1, 0];
		const run = () =>
			trial(n).catch((error: unknown) => {
				throw new Error(`${kind} number ${n}, ${fault}: ${error instanceof Error ? error.message : error}`);
			});
		for (; await run(); n += Number(number)) trials++;
		console.log(JSON.stringify({ trials, last: n - Number(number), codes }));
	}
} catch (error) {
	console.log(JSON.stringify({ failure: error instanceof Error ? error.message : String(error) }));
} finally {
	closeSync(control);
}
