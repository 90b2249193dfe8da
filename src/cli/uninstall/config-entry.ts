import { isDeepStrictEqual } from "node:util";
import { type Node, parseJsonc, without } from "./jsonc.ts";

/** OpenCode's configuration without the plugin. */
export interface Removed {
	readonly text: string;
	/** What was named, as it was written. */
	readonly entries: readonly string[];
}

/** The plugins that a configuration names, as they are written; undefined where it is none. */
export function namedPlugins(text: string): string[] | undefined {
	const root = parseJsonc(text);
	return root && itemsOf(root).flatMap(({ value }) => specOf(value) ?? []);
}

/**
 * Takes the plugin out of a configuration and leaves every other byte, but for the list of plugins where it becomes empty:
 * OpenCode makes it when it adds the first one.
 *
 * @returns undefined where the text is no configuration, or cannot be changed without changing what else it says.
 */
export function withoutPlugin(text: string, isOurs: (spec: string) => boolean): Removed | undefined {
	const entries: string[] = [];
	for (let now = text; ; ) {
		const root = parseJsonc(now);
		if (root === undefined) return undefined;
		const items = itemsOf(root);
		const index = items.findIndex(({ value }) => isOurs(specOf(value) ?? ""));
		const item = items[index];
		if (item === undefined) return { text: now, entries };
		entries.push(specOf(item.value) ?? "");
		const next = remove(now, root, index);
		if (!isDeepStrictEqual(said(parseJsonc(next)?.value ?? {}), said(root.value, index))) return undefined;
		now = next;
	}
}

function remove(text: string, root: Node, index: number): string {
	const members = root.members ?? [];
	const at = members.findIndex(({ key }) => key === "plugin");
	const member = members[at];
	if (member?.node.items === undefined) return text;
	const { start, end, items } = member.node;
	const shorter = without(text, { start: start + 1, end: end - 1 }, items, index);
	const left = shorter.slice(member.start, member.end - (text.length - shorter.length));
	// With a comment in it, it is somebody's.
	if (!/^"plugin"\s*:\s*\[\s*\]$/.test(left)) return shorter;
	return without(text, { start: root.start + 1, end: root.end - 1 }, members, at);
}

/** What a configuration says, but for its plugins at `index`; an empty list of them is none. */
function said(value: unknown, index = -1): object {
	const { plugin, ...rest } = value as { plugin?: unknown[] };
	const left = (plugin ?? []).filter((_, at) => at !== index);
	return left.length === 0 ? rest : { ...rest, plugin: left };
}

function itemsOf({ members = [] }: Node): readonly Node[] {
	return members.find(({ key }) => key === "plugin")?.node.items ?? [];
}

/** A plugin is named by a text, or by a list of that and its options. */
function specOf(value: unknown): string | undefined {
	const spec: unknown = Array.isArray(value) ? value[0] : value;
	return typeof spec === "string" ? spec : undefined;
}
