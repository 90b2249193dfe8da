import { describe, expect, test } from "vitest";
import { LIMITS, MESSAGE_BYTES_MAX, MESSAGE_DEPTH_MAX } from "../../src/protocol/limits.ts";
import { flawOfMessage } from "../../src/protocol/message.ts";
import { processorMs } from "../fixture/processor.ts";

const call = (argument: string) => `["push",["pipeline",0,["viewShare"],[${argument}]]]`;

/** Of the processor, not of the clock; parsing what is refused here took 2500. */
const CPU_MS_MAX = 100;

/** Judges a message as it comes from a socket: flat, not a rope of pieces. */
function judged(rope: string): { flaw: string | undefined; cpuMs: number } {
	const message = Buffer.from(rope, "latin1").toString("latin1");
	let flaw: string | undefined;
	const cpuMs = processorMs(() => {
		flaw = flawOfMessage(message, "client");
	});
	return { flaw, cpuMs };
}

describe("before anything parses it, a message", () => {
	test.each([
		["a pipe", '["pipe"]'],
		["a stream", '["stream",["pipeline",1,["write"],["x"]]]'],
		["a pushed value", '["push",[[1,2,3]]]'],
		["a pushed map", '["push",["remap",1,[],[],[1]]]'],
		["an object", '{"a":1}'],
		["text", "garbage"],
		["nothing", ""],
		["a frame of bytes", new ArrayBuffer(8)],
	])("that is %s is refused", (_, message) => {
		expect(flawOfMessage(message, "client")).toBeDefined();
	});

	test.each([
		["plainly", '["remap",1,[],[],[1]]'],
		["with blanks", '[ \n"remap",1,[],[],[1]]'],
		["with escapes", '["r\\u0065map",1,[],[],[1]]'],
		["with nothing but escapes", '["\\u0072\\u0065\\u006d\\u0061\\u0070",1,[],[],[1]]'],
	])("that maps is refused, written %s", (_, argument) => {
		expect(flawOfMessage(call(argument), "client")).toBe("it has a remap");
	});

	test("that bears a promise is refused", () => {
		expect(flawOfMessage(call('["promise",-1]'), "client")).toBe("it has a promise");
	});

	test("that speaks of a remap is none", () => {
		expect(flawOfMessage(call('{"payload":"remap","other":"[\\"remap\\"]"}'), "client")).toBeUndefined();
		expect(flawOfMessage(call('"x","remap"'), "client")).toBeUndefined();
	});

	test("that a server sends to an agent calls nothing", () => {
		expect(flawOfMessage(call("1"), "server")).toBeDefined();
		expect(flawOfMessage('["resolve",1,{"cursor":1}]', "server")).toBeUndefined();
	});

	test.each([
		["lists", "["],
		["objects", '{"a":'],
	])("that nests in %s is refused at once, however long it is", (_, open) => {
		const message = call(open.repeat(MESSAGE_BYTES_MAX / open.length));
		const { flaw, cpuMs } = judged(message);
		expect(flaw).toBe(`it nests deeper than ${MESSAGE_DEPTH_MAX}`);
		expect(cpuMs).toBeLessThan(CPU_MS_MAX);
	});

	test.each(["[],", "{},", "1,", '"",'])("of millions of values (%s) is refused at once", (value) => {
		const message = call(`${value.repeat(MESSAGE_BYTES_MAX / value.length - 100)}1`);
		const { flaw, cpuMs } = judged(message);
		expect(flaw).toMatch(/^it has more than \d+ values$/);
		expect(cpuMs).toBeLessThan(CPU_MS_MAX);
	});

	test("of the largest op and of the fullest batch passes", () => {
		const largest = JSON.stringify({ payload: JSON.stringify({ text: '"'.repeat(LIMITS.op_bytes / 2) }) });
		expect(flawOfMessage(call(largest), "client")).toBeUndefined();
		const op = { op_id: "o", batch_id: "b", seq: 1, expected_cursor: 1, capability_epoch: 1, depends_on: "o" };
		const ops = Array.from({ length: LIMITS.ops_per_batch }, () => ({ ...op, type: "part", key: "k", payload: "{}" }));
		expect(flawOfMessage(call(JSON.stringify({ batch_id: "b", ops: [ops] })), "client")).toBeUndefined();
	});
});
