import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const ROOT = fileURLToPath(new URL("..", import.meta.url)).replace(/\/$/, "");

/** Every file that is, or is about to be, in the repository. */
const FILES = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], { cwd: ROOT })
	.toString()
	.split("\n")
	.filter((path) => path !== "" && existsSync(join(ROOT, path)));
const SOURCES = FILES.filter((path) => /^src\/.*\.ts$/.test(path));

/**
 * The floors: imports point down only, and two neighbours on one floor do not know each other. `server` stands beside the
 * client's floors, on the first three alone; the two files at the top are the doors of the package.
 */
const FLOORS: Readonly<Record<string, number>> = {
	model: 0,
	metrics: 1,
	page: 2,
	protocol: 1,
	redaction: 1,
	sqlite: 1,
	outbox: 2,
	source: 2,
	transport: 2,
	agent: 3,
	restore: 3,
	cli: 4,
	plugin: 5,
	"index.ts": 6,
	"plugin.ts": 6,
};
const BELOW_THE_SERVER = ["model", "protocol", "sqlite", "page"];
/** Where the client meets the server: the embedded one, `serve`, and the public names. */
const STARTS_A_SERVER = ["src/agent/server-link.ts", "src/cli/serve.ts", "src/index.ts"];
/** Where a server's file is copied, while it runs or not. */
const COPIES_ITS_FILE = ["src/cli/backup.ts", "src/cli/restore-server.ts"];

interface Import {
	readonly file: string;
	readonly specifier: string;
}

const IMPORTS: readonly Import[] = SOURCES.flatMap((file) => importsOf(file, text(file)));

function text(path: string): string {
	return readFileSync(join(ROOT, path), "utf8");
}

/** What a file imports, statically and dynamically, types included. */
function importsOf(file: string, source: string): Import[] {
	const found = source.matchAll(/(?:^(?:import|export)\b[^;"'`]*?|\bimport\()\s*["']([^"']+)["']/gm);
	return [...found].map(([, specifier = ""]) => ({ file, specifier }));
}

/** The folder of src in which a path lies; the file itself at the top. */
function place(path: string): string {
	return relative("src", path).split("/")[0] ?? "";
}

function inner(): { from: string; to: string; file: string; target: string }[] {
	return IMPORTS.filter(({ specifier }) => specifier.startsWith(".") && specifier.endsWith(".ts")).map(
		({ file, specifier }) => {
			const target = relative(ROOT, resolve(ROOT, dirname(file), specifier));
			return { from: place(file), to: place(target), file, target };
		},
	);
}

describe("the floors", () => {
	it("every folder of src stands on one", () => {
		const places = new Set(SOURCES.map(place));
		expect([...places].filter((name) => !(name in FLOORS) && name !== "server")).toEqual([]);
		expect(places.size).toBeGreaterThan(8);
	});

	it("imports point down only, and never to a neighbour", () => {
		const wrong = inner().filter(({ from, to, file, target }) => {
			if (from === to) return false;
			if (from === "server") return !BELOW_THE_SERVER.includes(to);
			if (to === "server" && target === "src/server/backup.ts") return !COPIES_ITS_FILE.includes(file);
			if (to === "server") return target !== "src/server/node.ts" || !STARTS_A_SERVER.includes(file);
			return (FLOORS[to] ?? Number.POSITIVE_INFINITY) >= (FLOORS[from] ?? -1);
		});
		expect(wrong.map(({ file, target }) => `${file} imports ${target}`)).toEqual([]);
	});

	it("this test sees what it judges", () => {
		expect(inner().length).toBeGreaterThan(200);
		expect(
			inner()
				.filter(({ to }) => to === "server")
				.map(({ file }) => file),
		).toEqual(expect.arrayContaining(STARTS_A_SERVER));
		const example =
			'import {\n\ta,\n} from "./a.ts";\nexport type { B } from "../b.ts";\nconst c = await import("./c.ts");';
		expect(importsOf("x", example).map(({ specifier }) => specifier)).toEqual(["./a.ts", "../b.ts", "./c.ts"]);
	});
});

describe("what a command loads before it does anything", () => {
	const LOADED = /^(?:import (?!type )[^;"]*|export \{[^}"]*\} from )"([^"]+)";/gm;

	/** What is loaded with a file, before anything is called: its static imports, and theirs. */
	function loadedWith(file: string, loaded = new Set<string>()): Set<string> {
		if (loaded.has(file)) return loaded;
		loaded.add(file);
		for (const [, specifier = ""] of text(file).matchAll(LOADED)) {
			if (specifier.startsWith(".")) loadedWith(relative(ROOT, resolve(ROOT, dirname(file), specifier)), loaded);
			else loaded.add(specifier);
		}
		return loaded;
	}

	it("`status` is answered within 100 ms, of which a schema library, an ORM or node:crypto would take its share", () => {
		const loaded = ["src/cli/program.ts", "src/cli/status.ts"].flatMap((file) => [...loadedWith(file)]);
		expect(loaded).toContain("src/sqlite/driver.ts");
		const packages = new Set(loaded.filter((name) => !name.endsWith(".ts") && !name.startsWith("node:")));
		expect([...packages]).toEqual(["citty"]);
		expect(loaded).not.toContain("node:crypto");
	});

	it.each(["run", "flush", "share", "unshare", "verify", "restore"])(
		"`%s` loads no share server, of which it needs none where another one is set",
		(name) => {
			const loaded = loadedWith(`src/cli/${name}.ts`);
			expect(loaded).toContain("src/transport/websocket.ts");
			expect([...loaded].filter((file) => file.startsWith("src/server/") || /hono/.test(file))).toEqual([]);
		},
	);
});

describe("the sources", () => {
	it("every relative import ends in .ts, or is a migration, and leads to a file", () => {
		const wrong = FILES.filter((path) => /^(src|test)\/.*\.ts$/.test(path))
			.flatMap((file) => importsOf(file, text(file)))
			.filter(({ specifier }) => specifier !== "../../package.json")
			.filter(({ specifier }) => /^\.{1,2}\//.test(specifier))
			// What the build makes is not there before it.
			.filter(({ specifier }) => !/\/dist\/page\/\w+\.txt$/.test(specifier))
			.filter(
				({ file, specifier }) =>
					!/\.(?:ts|sql)$/.test(specifier) || !existsSync(resolve(ROOT, dirname(file), specifier)),
			)
			.filter(({ file }) => file !== "test/architecture.test.ts");
		expect(wrong).toEqual([]);
	});

	it("no file is over 300 lines", () => {
		const long = SOURCES.map((path) => ({ path, lines: text(path).split("\n").length - 1 }));
		expect(long.filter(({ lines }) => lines > 300)).toEqual([]);
	});

	it("nothing is cast to any, and no error of the compiler is silenced", () => {
		const silenced = /\bas any\b|<any>\(|@ts-(?:ignore|expect-error|nocheck)/;
		expect(SOURCES.filter((path) => silenced.test(text(path)))).toEqual([]);
	});
});

describe("the repository", () => {
	it("names no absolute path of the machine that it was written on", () => {
		// A clone in the folder for temporary files is told apart by its own name alone.
		const here = [dirname(ROOT), homedir()].filter((path) => path.length > 2 && path !== realpathSync(tmpdir()));
		const isOfAMachine = (source: string) =>
			here.find((path) => source.includes(`${path}/`)) ?? /\/(?:home|Users)\/(?!a\/)[\w.-]+\//.exec(source)?.[0];
		const wrong = FILES.filter((path) => path !== "test/architecture.test.ts").flatMap((path) => {
			const found = isOfAMachine(text(path));
			return found === undefined ? [] : [`${path}: ${found}`];
		});
		expect(wrong).toEqual([]);
	});
});
