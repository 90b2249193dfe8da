import { relative } from "node:path";
import { expect } from "vitest";
import { inTestFile, isRecording } from "./record.ts";
import { tapProcess } from "./taps.ts";

/** Runs before each test file, in a process that others run in too. */
if (isRecording()) {
	inTestFile(relative(process.cwd(), expect.getState().testPath ?? ""));
	tapProcess();
}
