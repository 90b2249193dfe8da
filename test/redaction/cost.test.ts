import { expect, test } from "vitest";
import { canonicalJson } from "../../src/model/json.ts";
import { Redactor } from "../../src/redaction/redactor.ts";

/** What a turn of an agent leaves: prose, code, tool output, a secret now and then. */
function payloads(bytes: number): string[] {
	const words =
		"const result = await fetch(url, { headers }); // see https://example.com/docs for the error in line 12".split(" ");
	const made: string[] = [];
	for (let [n, size] = [1, 0]; size < bytes; n++) {
		const text = Array.from({ length: 400 }, (_, i) => words[(n * 31 + i * 7) % words.length]).join(" ");
		const secret = n % 50 === 0 ? ` password=hunter2${n}` : "";
		const payload = canonicalJson({
			id: `prt_${n}`,
			type: "tool",
			state: { input: { command: "ls" }, output: text + secret },
		});
		size += payload.length;
		made.push(payload);
	}
	return made;
}

test("the cost of rules is told, and stays far above what OpenCode writes", () => {
	const all = payloads(4_000_000);
	const megabytes = all.reduce((sum, payload) => sum + payload.length, 0) / 1e6;
	const rulesets = {
		"one detector": { detectors: ["github-token"], patterns: [] },
		"all detectors": { detectors: ["all"], patterns: [] },
		"all and three patterns": {
			detectors: ["all"],
			patterns: ["ACME-\\d{6}", "(?i)customer [a-z]+", "\\b\\d{4}-\\d{4}\\b"],
		},
	};
	for (const [name, rules] of Object.entries(rulesets)) {
		const redactor = Redactor.of(rules) as Redactor;
		for (const payload of all.slice(0, 50)) redactor.payload(payload);
		const started = performance.now();
		for (const payload of all) redactor.payload(payload);
		const speed = megabytes / ((performance.now() - started) / 1000);
		console.log(`redaction, ${name}: ${speed.toFixed(1)} MB/s`);
		expect(speed).toBeGreaterThan(0.2);
	}
});
