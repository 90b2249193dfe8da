type Path = readonly (string | number)[];

/** Members of OpenCode's entities whose text is an id, a type or another name that a reader goes by. */
const STRUCTURAL: ReadonlySet<string> = new Set([
	...[
		"id",
		"sessionID",
		"messageID",
		"partID",
		"parentID",
		"projectID",
		"workspaceID",
		"callID",
		"providerID",
		"modelID",
	],
	...["type", "role", "status", "priority", "mime", "tool", "snapshot", "hash", "version", "slug", "mode", "agent"],
	...["finish", "reason", "variant", "permission", "action", "kind"],
]);
/** Members below which everything is somebody's content, whatever its members are called. */
const CONTENT: ReadonlySet<string> = new Set(["input", "output", "metadata", "raw", "data", "structured"]);
/** An id as OpenCode makes them: nothing else is of that form. */
const OPENCODE_ID = /^(?:ses|msg|prt|evt|per|que|wrk|usr|pty)_[0-9a-f]{12}[0-9A-Za-z]{14}$/;

/** True for a text that no rule may change, since an entity is found or read by it. */
export function isStructural(path: Path, text: string): boolean {
	if (OPENCODE_ID.test(text)) return true;
	const names = path.filter((step) => typeof step === "string");
	return STRUCTURAL.has(names.at(-1) ?? "") && !names.some((name) => CONTENT.has(name));
}

/** A copy of a JSON value with every text put through `change`; numbers, names of members and structure stay. */
export function mapTexts(value: unknown, change: (text: string, path: Path) => string, path: Path = []): unknown {
	if (typeof value === "string") return change(value, path);
	if (Array.isArray(value)) return value.map((item, n) => mapTexts(item, change, [...path, n]));
	if (typeof value !== "object" || value === null) return value;
	// fromEntries defines own members, so a member called __proto__ stays data.
	return Object.fromEntries(
		Object.entries(value).map(([name, member]) => [name, mapTexts(member, change, [...path, name])]),
	);
}
