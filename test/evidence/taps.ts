import type { ChildProcess } from "node:child_process";
import { subscribe } from "node:diagnostics_channel";
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import type { Readable } from "node:stream";
import { line, output } from "./record.ts";

/** The password of an OpenCode server has its own variable, as OpenCode wants it; nothing else may be there. */
const IN_THE_ENVIRONMENT = ["password"] as const;
const LABEL_CHARS_MAX = 120;
const BODY_CHARS_MAX = 1 << 20;

let isTapped = false;

/** Both taps, once, however many test files this process runs. */
export function tapProcess(): void {
	if (isTapped) return;
	isTapped = true;
	tapChildren();
	tapFetch();
}

/**
 * Records what every process says that this one starts, and its command line and environment as the system tells them.
 *
 * By Node's own channel, so that no test and no fixture can forget to. Not seen: `spawnSync` and `execFileSync`, which
 * nothing of ours is started with.
 */
export function tapChildren(): void {
	subscribe("child_process", (message) => {
		const child = (message as { process: ChildProcess }).process;
		child.once("spawn", () => {
			const name = child.spawnargs.map((arg) => basename(arg)).join(" ");
			const label = name.length > LABEL_CHARS_MAX ? `${name.slice(0, LABEL_CHARS_MAX)}…` : name;
			line("command lines", `${child.spawnargs.join(" ")} ${procOf(child, "cmdline")}`);
			const environment = procOf(child, "environ");
			// A step of GitHub Actions gets a secret by no other way; the script takes it out before it starts anything.
			const allowed = name === "sh start.sh" ? [...IN_THE_ENVIRONMENT, "server key" as const] : IN_THE_ENVIRONMENT;
			if (environment !== "") output(`environment of ${label}`, allowed).add(environment);
			tap(child.stdout, `stdout of ${label}`);
			tap(child.stderr, `stderr of ${label}`);
		});
	});
}

/** What Linux tells of a process to everybody on the machine; empty elsewhere, and when it has ended. */
function procOf(child: ChildProcess, file: "cmdline" | "environ"): string {
	try {
		return readFileSync(`/proc/${child.pid}/${file}`, "utf8").replaceAll("\0", "\n");
	} catch {
		return "";
	}
}

/** Sees the bytes before any listener does, and whether or not there is one; the stream flows as it would. */
function tap(stream: Readable | null, label: string): void {
	if (stream === null) return;
	let said: ReturnType<typeof output> | undefined;
	const push = stream.push.bind(stream);
	stream.push = (chunk: unknown, encoding?: BufferEncoding) => {
		if (chunk !== null && chunk !== undefined) {
			said ??= output(label);
			said.add(chunk as Uint8Array);
		}
		return push(chunk, encoding);
	};
}

interface FetchRequest {
	readonly origin: string;
	readonly path: string;
}

/**
 * Records what `fetch` of this process was answered, and the addresses it asked.
 *
 * Of capnweb's answers only the rejections: a grant is told on the wire, and nowhere else. So is that of OpenCode's own
 * share.
 */
function tapFetch(): void {
	const bodies = new WeakMap<FetchRequest, string>();
	subscribe("undici:request:create", (message) => {
		const { request } = message as { request: FetchRequest };
		bodies.set(request, "");
		line("addresses asked", `${request.origin}${request.path}`);
	});
	subscribe("undici:request:bodyChunkReceived", (message) => {
		const { request, chunk } = message as { request: FetchRequest; chunk: Uint8Array };
		const body = bodies.get(request) ?? "";
		if (body.length < BODY_CHARS_MAX) bodies.set(request, body + Buffer.from(chunk).toString());
	});
	subscribe("undici:request:trailers", (message) => {
		const { request } = message as { request: FetchRequest };
		const body = bodies.get(request) ?? "";
		if (request.path.endsWith("/rpc")) for (const frame of body.split("\n")) rejection(frame);
		else if (body !== "" && !isGrant(request.path, body)) line("HTTP bodies", body);
	});
}

function isGrant(path: string, body: string): boolean {
	return path === "/api/share" && /^\{"id":"[\w-]+","url":"[^"]+","secret":"[\w-]{43}"\}$/.test(body);
}

/** Records a frame of capnweb that rejects a call: an error as it goes over the wire. */
export function rejection(frame: string): void {
	if (/^\["(?:reject|abort)"/.test(frame)) line("rejections on the wire", frame);
}
