import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { secret } from "../record.ts";

test("all is well, but for what a process says, and the console", async () => {
	const told = process.env.PLANTED ?? "";
	secret("server key", told);
	const script = "console.log('a line\\nthe key is ' + process.env.PLANTED)";
	const { stdout } = await promisify(execFile)(process.execPath, ["-e", script]);
	expect(stdout).toContain("the key is");
	console.log(encodeURIComponent(told));
});
