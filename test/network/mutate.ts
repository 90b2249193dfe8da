import { RpcTarget } from "capnweb";

/** One way in which an answer is wrong. */
export interface Mutation {
	/** Where, and what was done to it. */
	readonly name: string;
	of(answer: unknown): unknown;
}

/** A member to hang a mutation on: the names that lead to it from the answer. */
type Path = readonly (string | number)[];

class Stub extends RpcTarget {}

/** What stands in the place of anything. */
const IN_PLACE: [string, () => unknown][] = [
	["missing", () => undefined],
	["null", () => null],
	["true", () => true],
	["a number", () => 7],
	["a negative number", () => -1],
	["a fraction", () => 0.5],
	["NaN", () => Number.NaN],
	["Infinity", () => Number.POSITIVE_INFINITY],
	["huge", () => 2 ** 53],
	["a bigint", () => 3n],
	["an empty text", () => ""],
	["another text", () => "another-text-another-text-another-text"],
	["a long text", () => "x".repeat(5000)],
	["an object", () => ({})],
	["a magic object", () => JSON.parse('{"__proto__":{"length":1}}')],
	["an empty list", () => []],
	["a list of lists", () => [[[1]]]],
	["a list without end", () => Array(5000).fill("evt")],
	["a date", () => new Date(0)],
	["bytes", () => new Uint8Array(8)],
	["an error", () => new Error("not_found")],
	["a stub", () => new Stub()],
	["a function", () => () => 1],
];

/** Every answer that differs from `sample` in one place. */
export function mutationsOf(sample: unknown, foreignId: string): Mutation[] {
	const list: Mutation[] = [];
	const at = (path: Path, what: string, make: (member: unknown) => unknown) =>
		list.push({ name: `${path.join(".") || "all of it"} is ${what}`, of: (answer) => replaced(answer, path, make) });
	for (const path of pathsOf(sample)) {
		for (const [what, make] of IN_PLACE) at(path, what, make);
		const member = memberAt(sample, path);
		if (typeof member === "number")
			for (const by of [-1, 1, 1000]) at(path, `off by ${by}`, (value) => Number(value) + by);
		if (typeof member === "string") {
			at(path, "another's id", () => foreignId);
			at(path, "its first half", (value) => String(value).slice(0, String(value).length / 2));
		}
		if (Array.isArray(member)) {
			const change = (what: string, make: (value: unknown[]) => unknown[]) =>
				at(path, what, (value) => make([...(value as unknown[])]));
			change("turned round", (value) => value.reverse());
			change("without its first", (value) => value.slice(1));
			change("without its last", (value) => value.slice(0, -1));
			change("said twice", (value) => [...value, ...value]);
			change("with its first again", (value) => [...value, value[0]]);
			change("with another's id", (value) => [...value, foreignId]);
			change("with another's id in place of its first", (value) => [foreignId, ...value.slice(1)]);
			change("with a hole", (value) => [undefined, ...value]);
		} else if (typeof member === "object" && member !== null)
			at(path, "with a member too many", (value) => ({ ...(value as object), also: 1 }));
	}
	return list;
}

/** Acks in which the lists, each as the honest server made it, have changed places. */
export const SWAPPED: Mutation[] = [
	["applied is said to be duplicates", (ack: Ack) => ({ ...ack, applied: [], duplicates: ack.applied })],
	["applied is said to be rejected", (ack: Ack) => ({ ...ack, applied: [], rejected: ack.applied.map(rejection) })],
	[
		"the last is said to be rejected",
		(ack: Ack) =>
			split(
				ack,
				(ids) => ids.slice(0, -1),
				(ids) => ids.slice(-1),
			),
	],
	[
		"the first is said to be rejected",
		(ack: Ack) =>
			split(
				ack,
				(ids) => ids.slice(1),
				(ids) => ids.slice(0, 1),
			),
	],
	["all are applied and rejected", (ack: Ack) => ({ ...ack, rejected: ack.applied.map(rejection) })],
	["nothing is said of any", (ack: Ack) => ({ ...ack, applied: [] })],
].map(([name, of]) => ({ name: name as string, of: of as (answer: unknown) => unknown }));

interface Ack {
	readonly cursor: number;
	readonly applied: readonly string[];
}

const rejection = (op_id: string) => ({ op_id, code: "cursor_gap", reason: "so it says" });

function split(ack: Ack, applied: (ids: readonly string[]) => readonly string[], rejected: typeof applied): unknown {
	return { ...ack, applied: applied(ack.applied), rejected: rejected(ack.applied).map(rejection) };
}

function pathsOf(value: unknown, path: Path = []): Path[] {
	if (typeof value !== "object" || value === null) return [path];
	return [path, ...Object.entries(value).flatMap(([name, member]) => pathsOf(member, [...path, name]))];
}

function memberAt(value: unknown, path: Path): unknown {
	return path.reduce((member, name) => (member as Record<string | number, unknown>)[name], value);
}

function replaced(value: unknown, path: Path, make: (member: unknown) => unknown): unknown {
	const [name, ...rest] = path;
	if (name === undefined) return make(value);
	// An answer that differs from the sample in shape has nothing there to change.
	if (typeof value !== "object" || value === null) return make(value);
	const copy = (Array.isArray(value) ? [...value] : { ...value }) as Record<string | number, unknown>;
	const member = replaced(copy[name], rest, make);
	if (member === undefined && !Array.isArray(value)) delete copy[name];
	else copy[name] = member;
	return copy;
}
