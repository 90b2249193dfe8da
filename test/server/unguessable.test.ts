import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { firstSecret } from "../../src/model/identity.ts";
import { CreateShareRequest, RevokeRequest } from "../../src/protocol/schema.ts";
import { newShareId, newSlug } from "../../src/server/credential.ts";
import { ShareRules } from "../../src/server/share.ts";
import { rotation, SERVER_KEY } from "./client.ts";
import { startRules } from "./rules.ts";

const SOURCES = fileURLToPath(new URL("../../src", import.meta.url));
const IDS = 10_000;
/** Six standard deviations of IDS fair coins: one bit in a billion is off by more. */
const BIT_DEVIATION_MAX = 6 * Math.sqrt(IDS / 4);

/** Each file of src, or of a folder of it, with its code: comments left out. */
function sources(folder = ""): { file: string; code: string }[] {
	return readdirSync(join(SOURCES, folder), { recursive: true, encoding: "utf8" })
		.filter((name) => name.endsWith(".ts"))
		.map((name) => join(folder, name))
		.map((file) => ({ file, code: withoutComments(readFileSync(join(SOURCES, file), "utf8")) }));
}

function withoutComments(code: string): string {
	return code.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
}

describe("what grants something", () => {
	const makers: [name: string, make: (index: number) => string, form: RegExp, bits: number][] = [
		["a share's id", () => newShareId(randomBytes), /^shr_[A-Za-z0-9_-]{24}$/, 144],
		["a slug", () => newSlug(randomBytes), /^[A-Za-z0-9_-]{24}$/, 144],
		// Keys that differ in one bit give secrets that have nothing in common.
		["a first secret", (index) => firstSecret(`k${index}`.padEnd(43, "-"), "shr_1"), /^[A-Za-z0-9_-]{43}$/, 256],
	];

	test.each(makers)("%s is as long and as random as it says, over 10,000 of them", (_, make, form, bits) => {
		const ids = Array.from({ length: IDS }, (_value, index) => make(index));
		expect(ids.filter((id) => !form.test(id))).toEqual([]);
		expect(new Set(ids).size).toBe(IDS);
		const ones = new Array<number>(bits).fill(0);
		for (const id of ids) {
			const bytes = Buffer.from(id.replace(/^shr_/, ""), "base64url");
			for (let bit = 0; bit < bits; bit++) ones[bit] = (ones[bit] ?? 0) + (((bytes[bit >>> 3] ?? 0) >>> (bit & 7)) & 1);
		}
		expect(ones.filter((count) => Math.abs(count - IDS / 2) > BIT_DEVIATION_MAX)).toEqual([]);
	});

	test("a secret depends on the create key and on the share, each alone", () => {
		const [key, other] = ["k".repeat(43), `${"k".repeat(42)}l`];
		const secrets = [firstSecret(key, "shr_1"), firstSecret(key, "shr_2"), firstSecret(other, "shr_1")];
		expect(new Set(secrets).size).toBe(3);
		expect(firstSecret(key, "shr_1")).toBe(secrets[0]);
	});

	test("a create key and a secret to rotate to are taken only if they can be what they should", () => {
		const { next_secret } = rotation();
		const isKey = (create_key: string) => CreateShareRequest.safeParse({ session_id: "s", create_key }).success;
		const isNext = (secret: string) =>
			RevokeRequest.safeParse({ rotate_secret: true, next_secret: secret, rotate_slug: false }).success;
		expect([next_secret.slice(0, 32), next_secret.slice(0, 31), "x".repeat(201)].map(isKey)).toEqual([
			true,
			false,
			false,
		]);
		const others = [next_secret.slice(1), `${next_secret.slice(1)}.`, "x".repeat(201)];
		expect([next_secret, ...others].map(isNext)).toEqual([true, false, false, false]);
	});
});

describe("the server's randomness", () => {
	let rules: Awaited<ReturnType<typeof startRules>>;
	beforeAll(async () => {
		rules = await startRules({ sealedOps: 4, ledgerOps: 8 });
	});
	afterAll(() => rules.close());

	test("is the one that it is given: ids are its bytes, and nothing else goes into them", async () => {
		const drawn: string[] = [];
		const random = (size: number) => {
			const bytes = randomBytes(size);
			drawn.push(bytes.toString("base64url"));
			return bytes;
		};
		const options = { clock: { now: () => 1 }, serverKeys: [SERVER_KEY], url: (slug: string) => `http://x/${slug}` };
		const share = new ShareRules(await rules.sqlite.orm(), { ...options, random });
		const create_key = randomBytes(32).toString("base64url");
		const grant = share.createShare(SERVER_KEY, { session_id: "ses_1", create_key });
		expect([grant.share_id, grant.slug]).toEqual([`shr_${drawn[0]}`, drawn[1]]);
		expect(grant.secret).toBe(firstSecret(create_key, grant.share_id));
		const holder = share.redeemShare(grant.share_id, grant.secret);
		expect(share.revokeCapability(holder, rotation(true)).slug).toBe(drawn[2]);
		expect(drawn).toHaveLength(3);
	});

	test("is the operating system's, where nobody gives it another", () => {
		const [node] = sources("server").filter(({ file }) => file.endsWith("node.ts"));
		expect(node?.code).toMatch(/import \{ randomBytes \} from "node:crypto"/);
		expect(node?.code).toMatch(/random = randomBytes/);
	});
});

describe("the sources", () => {
	/**
	 * Waits may be guessed; an op's id grants nothing, and neither does the name under which a process holds a lease, or the
	 * one of a time in which somebody watches.
	 */
	const GUESSABLE: Readonly<Record<string, RegExp>> = {
		"cli/compose.ts": /^Math\.random$/,
		"source/stream.ts": /^Math\.random$/,
		"model/batch.ts": /^ulid$/,
		"agent/capture.ts": /^(ulid|monotonicFactory)$/,
		"agent/live.ts": /^(ulid|monotonicFactory)$/,
		"agent/redeemer.ts": /^(ulid|monotonicFactory)$/,
		"agent/works.ts": /^randomUUID$/,
		"page/client/wait.ts": /^Math\.random$/,
		"server/worker/watch-object.ts": /^randomUUID$/,
	};

	test("take what can be guessed for nothing but waits and the ids of ops", () => {
		const uses = sources().flatMap(({ file, code }) =>
			[...code.matchAll(/Math\.random|randomUUID|\bulid\b|monotonicFactory|pseudoRandomBytes/g)].map(([use]) => ({
				file,
				use,
			})),
		);
		expect(uses.filter(({ file, use }) => !GUESSABLE[file]?.test(use))).toEqual([]);
		expect(uses.length).toBeGreaterThan(5);
	});

	/** `=== null` and the like tell nothing of a secret. */
	const EARLY_EXIT =
		/\b[\w.]*(?:secret|hash|credential|owner|(?:server|create)_?key)\w*\s*[!=]={1,2}(?!=)(?!\s*(?:null|undefined)\b)|[!=]==?\s*[\w.]*(?:secret|hash|credential|owner|(?:server|create)_?key)\w*\b/i;

	test("compare no secret, and no hash of one, in a time that tells where they differ", () => {
		const wrong = sources("server").flatMap(({ file, code }) =>
			code.split("\n").flatMap((text) => (EARLY_EXIT.test(text) ? [`${file}: ${text.trim()}`] : [])),
		);
		expect(wrong).toEqual([]);
		for (const text of [
			"row.secret_hash === hash",
			"if (a !== serverKey)",
			"owner == before.owner",
			"x === create_key",
		])
			expect(EARLY_EXIT.test(text), text).toBe(true);
		const compared = sources("server").flatMap(({ code }) => [...code.matchAll(/sameHash\(/g)]);
		expect(compared.length).toBeGreaterThanOrEqual(5);
	});
});
