/** Entities by id: a session, its messages, their parts. */
export type Entities = ReadonlyMap<string, unknown>;

/** How `actual` differs from `expected`, by ids. */
export interface Difference {
	readonly missing: readonly string[];
	readonly different: readonly string[];
	readonly extra: readonly string[];
}

export function differenceOf(expected: Entities, actual: Entities): Difference {
	const ids = [...expected.keys()];
	return {
		missing: ids.filter((id) => !actual.has(id)),
		different: ids.filter((id) => actual.has(id) && canonical(actual.get(id)) !== canonical(expected.get(id))),
		extra: [...actual.keys()].filter((id) => !expected.has(id)),
	};
}

export function sizeOf({ missing, different, extra }: Difference): number {
	return missing.length + different.length + extra.length;
}

/** One line per difference, with the members that differ. */
export function linesOf({ missing, different, extra }: Difference, expected: Entities, actual: Entities): string[] {
	return [
		...missing.map((id) => `missing: ${id}`),
		...different.map((id) => `different: ${id} (${members(expected.get(id), actual.get(id)).join(", ")})`),
		...extra.map((id) => `only there: ${id}`),
	];
}

function members(a: unknown, b: unknown): string[] {
	const names = new Set([...Object.keys(Object(a)), ...Object.keys(Object(b))]);
	return [...names].filter((name) => canonical(Object(a)[name]) !== canonical(Object(b)[name]));
}

/** JSON with the members of every object in order: OpenCode writes them in any. */
function canonical(value: unknown): string | undefined {
	return JSON.stringify(value, (_, member: unknown) =>
		typeof member === "object" && member !== null && !Array.isArray(member)
			? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1)))
			: member,
	);
}

/** "1 part", "3 parts". */
export function count(number: number, one: string, many = `${one}s`): string {
	return `${number} ${number === 1 ? one : many}`;
}
