import { relative } from "node:path";
import { expect } from "vitest";
import { inTestFile, isRecording } from "./record.ts";
import { tapChildren, tapFetch } from "./taps.ts";

/** Runs before each test file, in its process. */
if (isRecording()) {
	inTestFile(relative(process.cwd(), expect.getState().testPath ?? ""));
	tapChildren();
	tapFetch();
}
