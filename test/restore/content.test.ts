import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { Collector, fetchShare } from "../../src/restore/content.ts";
import { Elements } from "../../src/restore/elements.ts";
import { EXPORT, exportOf, ITEMS, type Item, message, part, session } from "./items.ts";

const LIMITS = { chars: 10_000, depth: 20 };

/** A server on loopback that answers with whatever `answer` writes. */
async function serving(answer: (response: ServerResponse, request: IncomingMessage) => void): Promise<string> {
	const server = createServer((request, response) => answer(response, request));
	server.listen(0, "127.0.0.1");
	await once(server, "listening");
	onTestFinished(async () => {
		server.closeAllConnections();
		await new Promise((resolve) => server.close(resolve));
	});
	return `http://127.0.0.1:${(server.address() as AddressInfo).port}/api/share/a-slug-of-a-share-1/data`;
}

async function refusalOf(url: string): Promise<{ code: string; message: string }> {
	const error = await fetchShare(url, new AbortController().signal).then(
		() => undefined,
		(thrown) => thrown,
	);
	return { code: error?.code, message: String(error?.message) };
}

const saying = (text: string | Uint8Array) => serving((response) => void response.end(text));
const sayingItems = (...items: Item[]) => saying(exportOf(items));

describe("a share that is fetched", () => {
	test("is put together whole, messages by their ids and parts below them", async () => {
		const content = await fetchShare(await saying(EXPORT), new AbortController().signal);
		expect(content.session_id).toBe("ses_1");
		expect(content.entities.map(({ key }) => key)).toEqual([
			"message/msg_1",
			"part/msg_1/prt_1",
			"part/msg_1/prt_2",
			"message/msg_2",
			"part/msg_2/prt_3",
		]);
		expect(content).toMatchObject({ todos: 2, diffs: 1, session: { value: { title: "A title" } } });
	});

	test("is refused when it is cut off, after whatever byte", () => {
		const whole = new TextEncoder().encode(EXPORT);
		for (let end = 0; end < whole.length; end++) {
			const elements = new Elements(LIMITS);
			const collect = () => {
				const collector = new Collector();
				const decoder = new TextDecoder("utf-8", { fatal: true });
				for (const text of elements.push(decoder.decode(whole.subarray(0, end), { stream: true }))) collector.add(text);
				decoder.decode();
				elements.end();
			};
			expect(collect, `cut after ${end} bytes`).toThrow();
		}
	});

	test("is refused when the connection ends before it does, and that is said", async () => {
		const url = await serving((response) => {
			response.writeHead(200, { "content-length": EXPORT.length });
			response.write(EXPORT.slice(0, 100), () => response.destroy());
		});
		expect(await refusalOf(url)).toMatchObject({ code: "bad_share", message: expect.stringContaining("cut off") });
		const chunked = await serving((response) => void response.write(EXPORT, () => response.destroy()));
		expect(await refusalOf(chunked)).toMatchObject({ code: "bad_share" });
	});

	test("is refused when it is no session of OpenCode's, and what is wrong is said", async () => {
		const foreign: [string | Uint8Array, RegExp][] = [
			["", /empty/],
			["<html>", /no JSON array/],
			['{"type":"session"}', /no JSON array/],
			["[1]", /no JSON array/],
			["[[]]", /no JSON array/],
			["[]", /no session/],
			[`${EXPORT}x`, /no JSON array/],
			[EXPORT.replace('"A title"', '"A ti\ntle"'), /control character/i],
			[Uint8Array.of(0x5b, 0x7b, 0xff, 0x7d, 0x5d), /valid/],
			[exportOf([message("msg_1"), part("prt_1", "msg_1")]), /no session/],
			[exportOf([session(), session()]), /twice/],
			[exportOf([session(), message("msg_1"), message("msg_1")]), /twice/],
			[
				exportOf([session(), message("msg_1"), message("msg_2"), part("prt_1", "msg_1"), part("prt_1", "msg_2")]),
				/twice/,
			],
			[exportOf([session(), part("prt_1", "msg_1")]), /no such message/],
			[exportOf([session(), message("msg_1", { sessionID: "ses_2" })]), /another session/],
			[exportOf([session(), message("msg_1"), part("prt_1", "msg_1", { sessionID: "ses_2" })]), /another session/],
			[exportOf([session({ id: "../../etc/passwd" })]), /no id/],
			[exportOf([session({ id: undefined })]), /no id/],
			[exportOf([session(), message("msg_1; rm -rf")]), /no id/],
			[exportOf([session(), message("msg_1"), part("__proto__", "msg_1")]), /no id/],
			[exportOf([{ type: "message", data: null }, session()]), /no object/],
		];
		for (const [text, what] of foreign) {
			const { code, message: said } = await refusalOf(await saying(text));
			expect(code, said).toBe("bad_share");
			expect(said).toMatch(what);
		}
	});

	test("costs a hostile server's client neither memory nor a stack", async () => {
		const deep = await saying(`[{"type":"session","data":${"[".repeat(100_000)}`);
		expect(await refusalOf(deep)).toMatchObject({ message: expect.stringContaining("nests deeper") });
		const endless = await serving((response) => {
			response.write('[{"type":"session","data":"');
			const more = () => {
				while (response.write("x".repeat(1024 * 1024)));
			};
			response.on("drain", more);
			more();
		});
		expect(await refusalOf(endless)).toMatchObject({ message: expect.stringContaining("longer than") });
		const silent = new AbortController();
		const never = fetchShare(await serving(() => silent.abort()), silent.signal);
		await expect(never).rejects.toMatchObject({ code: "unreachable" });
	});

	test("that is not there is told from one that cannot be had, and no redirect is followed", async () => {
		const status = (code: number) => serving((response) => void response.writeHead(code, { location: "/x" }).end("{}"));
		expect(await refusalOf(await status(404))).toMatchObject({ code: "no_such_share" });
		expect(await refusalOf(await status(410))).toMatchObject({ code: "no_such_share" });
		expect(await refusalOf(await status(500))).toMatchObject({ code: "unreachable" });
		expect(await refusalOf(await status(302))).toMatchObject({ code: "unreachable" });
		expect(await refusalOf("http://127.0.0.1:9/api/share/a-slug-of-a-share-1/data")).toMatchObject({
			code: "unreachable",
			message: expect.stringContaining("http://127.0.0.1:9/share/a-slug"),
		});
	});

	test("ignores types that it does not know", async () => {
		const more = { type: "of_a_later_version", data: { id: 1 } } as unknown as Item;
		const content = await fetchShare(await sayingItems(...ITEMS, more), new AbortController().signal);
		expect(content.entities).toHaveLength(5);
	});
});

test("an array is taken apart as JSON.parse reads it, in whatever pieces it comes", () => {
	const objects = fc.array(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 })), { maxLength: 5 });
	fc.assert(
		fc.property(objects, fc.constantFrom(undefined, 1, "\t"), fc.integer({ min: 1, max: 7 }), (value, space, size) => {
			const text = JSON.stringify(value, null, space);
			const elements = new Elements(LIMITS);
			const found: string[] = [];
			for (let at = 0; at < text.length; at += size) found.push(...elements.push(text.slice(at, at + size)));
			elements.end();
			expect(found.map((one) => JSON.parse(one))).toEqual(JSON.parse(text));
		}),
	);
});
