import type { Mutant } from "../mutant.ts";

const RENDER = "page/render.test.ts";
const FIRST_PAINT = "page/first-paint.test.ts";

/** A page that shows what it should not, or not what it should. */
export const PAGE: readonly Mutant[] = [
	{
		name: "page-lets-html-in",
		guarantee: "G8",
		does: "Puts what a session says into the page as it is.",
		file: "page/html.ts",
		find: 'if (typeof value === "string") return escaped(value);',
		replace: 'if (typeof value === "string") return value;',
		caughtBy: [RENDER],
	},
	{
		name: "page-links-anywhere",
		guarantee: "G8",
		does: "Lets a link of a session run a script.",
		file: "page/markdown.ts",
		find: "reader.validateLink = (url) => LINKS.test(url.trim());",
		replace: "reader.validateLink = () => true;",
		caughtBy: [RENDER],
	},
	{
		name: "page-hides-overrides",
		guarantee: "G8",
		does: "Leaves what markdown spells of unseen characters unseen.",
		file: "page/markdown.ts",
		find: "trusted(shown(reader.render(source)))",
		replace: "trusted(reader.render(shown(source)))",
		caughtBy: [RENDER],
	},
	{
		name: "page-lists-strangers-children",
		guarantee: "G8",
		does: "Tells whoever guesses a session's id the links of its sub-sessions, where nobody owns them.",
		file: "server/viewing.ts",
		find: "ne(share.owner, NOBODY),",
		replace: "",
		caughtBy: [FIRST_PAINT],
	},
	{
		name: "page-lists-claimed-children",
		guarantee: "G8",
		does: "Links every session of the owner as a sub-session.",
		file: "server/viewing.ts",
		find: 'eq(member("$.parentID"), sql.placeholder("parent_id")),',
		replace: "",
		caughtBy: [FIRST_PAINT],
	},
	{
		name: "page-shows-the-undone",
		guarantee: "G4",
		does: "Shows what an undo has taken back.",
		file: "server/page.ts",
		find: "all.slice(0, partId === undefined ? at : at + 1)",
		replace: "all.slice(0)",
		caughtBy: [FIRST_PAINT],
	},
	{
		name: "page-skips-a-page-of-parts",
		guarantee: "G1",
		does: "Shows the first parts of a message only.",
		file: "server/page.ts",
		find: "if (last === undefined) break;",
		replace: "break;",
		caughtBy: [FIRST_PAINT],
	},
];
