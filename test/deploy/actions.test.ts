import { registerHooks } from "node:module";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { deployed } from "./files.ts";

// GitHub's parser imports JSON as bundlers take it: without the attribute that Node wants.
registerHooks({
	load: (url, context, next) =>
		next(url, url.endsWith(".json") ? { ...context, importAttributes: { type: "json" } } : context),
});
const { NoOperationTraceWriter, parseWorkflow } = await import("@actions/workflow-parser");
const { parseAction } = await import("@actions/workflow-parser/actions/action-parser");

type Parse = typeof parseAction | typeof parseWorkflow;

/** What GitHub's own parser says against a file. */
function complaints(parser: Parse, content: string): string[] {
	const { context } = parser({ name: "file.yml", content }, new NoOperationTraceWriter());
	return context.errors.getErrors().map((error) => error.message);
}

test("action.yml and the example workflow are what GitHub's parser allows", () => {
	const [action, workflow] = [deployed("github-actions", "action.yml"), deployed("github-actions", "example.yml")];
	expect(complaints(parseAction, action)).toEqual([]);
	expect(complaints(parseWorkflow, workflow)).toEqual([]);
	expect(complaints(parseAction, action.replace("using:", "usng:"))).not.toEqual([]);
	expect(complaints(parseWorkflow, workflow.replace("runs-on:", "runs-onn:"))).not.toEqual([]);
});

test("the example gives the action only inputs that it has, and finishes whatever happened", () => {
	const action = parse(deployed("github-actions", "action.yml"));
	const { steps } = parse(deployed("github-actions", "example.yml")).jobs.opencode;
	const uses = steps.filter((step: { uses?: string }) => step.uses === "./deploy/github-actions");
	for (const { with: given } of uses)
		expect(Object.keys(action.inputs)).toEqual(expect.arrayContaining(Object.keys(given)));
	expect(uses.map((step: { if?: string; with: { phase: string } }) => [step.with.phase, step.if])).toEqual([
		["start", undefined],
		["finish", "always()"],
	]);
});

test("no input gets into a script as text: GitHub would run what it says", () => {
	for (const file of ["action.yml", "example.yml"]) {
		const parsed = parse(deployed("github-actions", file));
		const steps: { run?: string }[] = parsed.runs?.steps ?? parsed.jobs.opencode.steps;
		for (const { run = "" } of steps) expect(run).not.toContain("${{");
	}
});
