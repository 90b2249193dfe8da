import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

/** One version of OpenCode's binary, unpacked once and kept: 60 MB to load, 180 MB on the disk. */
const CACHE = fileURLToPath(new URL("../../node_modules/.cache/opencode/", import.meta.url));
/** 60 MB on a slow line, in ms. */
const DOWNLOAD_MS_MAX = 600_000;

/** What `npm view NAME@VERSION dist.integrity` said when the version was first run here. By package name, then version. */
const INTEGRITY: Readonly<Record<string, Readonly<Record<string, string>>>> = {
	"opencode-linux-x64": {
		"1.1.65": "sha512-4YVnpvq2QmU/rYcE5DkvMAUP+StgWEFaNqzJhJjDH8wfKv/5oE7WEMs60RwbszKkGZUzHCp/V+Ldp0YYwhQhEA==",
		"1.2.27": "sha512-B9xaBkgeWcPinJ0ltNXcLsRgRbGjzxytL14vsj0WYD4pSdcQMdC0T3lkvTbqFh/wyIXCgf1EYMzP7jukPwcb0Q==",
		"1.3.2": "sha512-/+OtuHr2O0/QKpBrZBnutr0ZLe+LmOx003Z99b21BgG9wsVo7gFuNpfLPVXnqcEY6D5DuWl4aEJW4+w+K0urYw==",
		"1.14.48": "sha512-WLAABtQD2Zr1+7zfGRcNYdAKYtr2EuMY6RwjoNRAqHzQslOlItZhDpwdqg03YFe0zrQhg0IlK6iGuplF1ertdw==",
		"1.15.13": "sha512-gZrioSPE/aWPAZlaipWEN7GEhAzNEQAogikvbcvVP78nabzkzzl4UKBXemf1YzLG9nRWiWvvWX7uC2hcZGQ1iQ==",
		"1.17.18": "sha512-8BmT22yp7pCXXu/HvAMaJsNNd6xhmlUrGs5YZSfU0neZfkSZg+Dkf9IGsuOugOtL0x2erDg2/6rRBpcJAGmTrA==",
	},
};

/** The version that is installed as a devDependency; it needs no download. */
export const INSTALLED = "1.18.33";

const PACKAGE = `opencode-${process.platform}-${process.arch}`;

/** Why a version cannot be run on this platform; undefined when it can. */
export function whyNot(version: string): string | undefined {
	if (version === INSTALLED || INTEGRITY[PACKAGE]?.[version] !== undefined) return undefined;
	return `no digest of ${PACKAGE}@${version} is known, so it is not run on this platform`;
}

/**
 * The path of a version's binary, loaded when it is not there yet; undefined for the installed one.
 *
 * What was loaded is believed only when it has the digest that is written above, and gets its name only when it is whole.
 *
 * @throws Error with what to do.
 */
export async function binaryOf(version: string): Promise<string | undefined> {
	if (version === INSTALLED) return undefined;
	const integrity = INTEGRITY[PACKAGE]?.[version];
	if (integrity === undefined) throw new Error(whyNot(version));
	const home = join(CACHE, `${PACKAGE}-${version}`);
	const binary = join(home, "package", "bin", "opencode");
	if (existsSync(binary)) return binary;
	await mkdir(CACHE, { recursive: true });
	const folder = await mkdtemp(join(CACHE, "loading-"));
	try {
		await load(`${PACKAGE}@${version}`, integrity, folder);
		// Another process may have been quicker.
		await rename(folder, home).catch((error: unknown) => existsSync(binary) || Promise.reject(error));
	} finally {
		await rm(folder, { recursive: true, force: true });
	}
	return binary;
}

async function load(spec: string, integrity: string, folder: string): Promise<void> {
	const run = promisify(execFile);
	const options = { cwd: folder, timeout: DOWNLOAD_MS_MAX };
	try {
		await run("npm", ["pack", "--silent", "--pack-destination", folder, spec], options);
	} catch (error) {
		const said = String((error as { stderr?: unknown }).stderr ?? error).trim();
		throw new Error(`${spec} could not be loaded: is the package registry reachable? ${said}`);
	}
	const [archive] = (await readdir(folder)).filter((name) => name.endsWith(".tgz"));
	if (archive === undefined) throw new Error(`npm pack ${spec} left no archive`);
	const path = join(folder, archive);
	const digest = createHash("sha512")
		.update(await readFile(path))
		.digest("base64");
	if (`sha512-${digest}` !== integrity)
		throw new Error(`${spec} is not what it was: its digest is sha512-${digest}, and not ${integrity}`);
	await run("tar", ["-xzf", path], options);
	await rm(path);
}
