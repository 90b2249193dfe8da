import fc from "fast-check";
import { createKey } from "../client.ts";

/** Names that mean something to JavaScript. */
export const MAGIC = [
	"__proto__",
	"constructor",
	"prototype",
	"toString",
	"hasOwnProperty",
	"valueOf",
	"then",
	"toJSON",
];

/** Everything that capnweb writes as a list with a tag, right and wrong. */
export const SPECIALS = [
	'["date",0]',
	'["bigint","1"]',
	`["bigint","${"9".repeat(20_000)}"]`,
	'["bytes","AAAA"]',
	'["undefined"]',
	'["nan"]',
	'["inf"]',
	'["error","Error","x"]',
	'["error","ShareRefusal","x",null,{"code":"not_found"}]',
	'["export",1]',
	'["export",-1]',
	'["export",1.5]',
	'["promise",-2]',
	'["import",0]',
	'["pipeline",0]',
	'["pipeline",0,["redeemShare"],[]]',
	'["pipeline",0,["__proto__","constructor"],[]]',
	'["writable",1]',
	'["readable",1]',
	'["headers",[["a","b"]]]',
	'["request","http://127.0.0.1:1/",{}]',
	'["response",null,{}]',
	'["blob","text/plain",["readable",1]]',
	'["remap",0,[],[],[1]]',
	'["nothing"]',
	"[[]]",
	"[]",
];

/** A call on the main object, and the wish for its answer. */
export function call(method: string, ...args: string[]): string {
	return `["push",["pipeline",0,["${method}"],[${args.join(",")}]]]\n["pull",1]`;
}

/** Messages as a client sends them, to be spoiled. */
const HONEST = [
	`["push",["pipeline",0,["createShare"],["key",{"session_id":"s","create_key":"${createKey()}"}]]]`,
	'["push",["pipeline",0,["redeemShare"],["shr_1","ssssssssssssssssssssssssssssssssssss"]]]',
	'["push",["pipeline",1,["appendOps"],[{"batch_id":"b","ops":[[{"op_id":"o","seq":0,"payload":"{}"}]],"source_watermark":null}]]]',
	'["pull",1]',
	'["release",1,1]',
	'["resolve",-1,1]',
	'["reject",-1,["error","Error","x"]]',
	'["abort",["error","Error","x"]]',
	'["pipe"]',
	'["stream",["pipeline",1,["write"],["x"]]]',
];

const bytes = fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array).toString("latin1"));
const json = fc.json({ maxDepth: 4 });
const spoiled = fc
	.tuple(fc.constantFrom(...HONEST), fc.nat(), fc.nat(20), fc.oneof(bytes, fc.constantFrom(...SPECIALS, ...MAGIC)))
	.map(([message, at, cut, text]) => {
		const index = at % (message.length + 1);
		return message.slice(0, index) + text + message.slice(index + cut);
	});
const special = fc
	.tuple(fc.constantFrom("createShare", "redeemShare", "viewShare", ...MAGIC), fc.constantFrom(...SPECIALS))
	.map(([method, argument]) => call(method, argument, argument).split("\n")[0] ?? "");

/** Any number of messages of nonsense, the same for the same seed. */
export function garbage(seed: number, count: number): string[] {
	return fc.sample(fc.oneof(bytes, json, spoiled, special, fc.constantFrom(...HONEST)), { seed, numRuns: count });
}
