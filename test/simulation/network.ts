import { EventEmitter } from "node:events";
import type { WebSocket } from "ws";
import type { Fetch } from "../../src/transport/http-batch.ts";
import type { Dice } from "../fixture/random.ts";
import type { Timeline } from "./timeline.ts";

/** What answers at the far end; undefined while nothing listens. */
export interface Host {
	/** Takes a WebSocket, already open. */
	accept(socket: WebSocket): void;
	/** Answers an HTTP batch. */
	post(body: string): Promise<string>;
}

/** What is wrong with the network as a whole, for every machine. */
export interface Weather {
	/** Of each message, in ms. */
	latencyMs: readonly [from: number, to: number];
	/** Upgrades are answered by a proxy, with 403. */
	refusesUpgrades: boolean;
	/** Nothing gets through, and nobody tells. */
	swallows: boolean;
	/** A captive portal or a broken proxy answers every POST with this status. */
	httpStatus: number;
	/** How many of the next POSTs arrive twice, the second time up to two minutes later. */
	doubles: number;
	/** How many of the next POSTs do their work and lose their answer, and how many never arrive. */
	losesAnswers: number;
	losesPosts: number;
}

const FAIR: Weather = {
	latencyMs: [0, 10],
	refusesUpgrades: false,
	swallows: false,
	httpStatus: 200,
	doubles: 0,
	losesAnswers: 0,
	losesPosts: 0,
};

/** The network between machines and one server, in memory, on virtual time. */
export class Network {
	readonly weather: Weather = { ...FAIR };
	readonly #timeline: Timeline;
	readonly #dice: Dice;
	readonly #open = new Set<Connection>();
	#host: Host | undefined;

	constructor(timeline: Timeline, dice: Dice) {
		this.#timeline = timeline;
		this.#dice = dice;
	}

	/** Connections that both sides believe in, or one of them. */
	get connections(): Connection[] {
		return [...this.#open];
	}

	/** Another host answers from now on, or none; what was connected to the one before is gone. */
	serve(host: Host | undefined): void {
		this.#host = host;
		for (const connection of this.connections) connection.cut();
	}

	heal(): void {
		Object.assign(this.weather, FAIR);
		for (const connection of this.connections) connection.cut();
	}

	/** One machine's way out, for as long as `isAlive`. */
	dial(isAlive: () => boolean, onDial: (connection: Connection) => void): (url: string) => WebSocket {
		return () => {
			const connection = new Connection(
				this.#timeline,
				() => this.#latency(),
				() => this.#open.delete(connection),
				isAlive,
			);
			this.#open.add(connection);
			onDial(connection);
			this.#timeline.in(this.#latency(), () => this.#shakeHands(connection));
			return connection.client as unknown as WebSocket;
		};
	}

	fetch(isAlive: () => boolean): Fetch {
		return async (_url, init) => {
			const { weather } = this;
			const never = new Promise<never>((_, reject) => {
				init.signal?.addEventListener("abort", () => reject(new Error("the request was abandoned")), { once: true });
			});
			never.catch(() => undefined);
			const pause = () => Promise.race([never, this.#pass(this.#latency())]);
			if (!isAlive() || weather.swallows) return never;
			await pause();
			if (weather.httpStatus !== 200) return answer(weather.httpStatus, "<html>Sign in</html>");
			if (this.#host === undefined) throw failed("ECONNREFUSED");
			const body = String(init.body ?? "");
			if (body !== "" && weather.losesPosts > 0) {
				weather.losesPosts--;
				return never;
			}
			if (body !== "" && weather.doubles > 0) {
				weather.doubles--;
				this.#timeline.in(this.#dice.span(5, 120_000), () => void this.#host?.post(body).catch(() => undefined));
			}
			const host = this.#host;
			const text = await this.#timeline.during(() => host.post(body));
			if (body !== "" && weather.losesAnswers > 0) {
				weather.losesAnswers--;
				throw failed("ECONNRESET");
			}
			await pause();
			if (host !== this.#host) throw failed("ECONNRESET");
			return answer(200, text);
		};
	}

	#shakeHands(connection: Connection): void {
		const { refusesUpgrades, swallows } = this.weather;
		if (swallows) return;
		const host = this.#host;
		if (host === undefined) connection.refuse(Object.assign(new Error("refused"), { code: "ECONNREFUSED" }));
		else if (refusesUpgrades) connection.refuse(new Error("Unexpected server response: 403"));
		else connection.establish((socket) => host.accept(socket));
	}

	#latency(): number {
		const [from, to] = this.weather.latencyMs;
		return from + this.#dice.next() * (to - from);
	}

	#pass(ms: number): Promise<void> {
		return new Promise((resolve) => void this.#timeline.in(ms, resolve));
	}
}

type Frame =
	| { readonly kind: "text"; readonly text: string }
	| { readonly kind: "ping" }
	| { readonly kind: "pong" }
	| { readonly kind: "close"; readonly code: number; readonly reason: string };

/** One WebSocket: two ends, and a line of frames in each direction. */
export class Connection {
	readonly client: End;
	readonly server: End;
	readonly toServer: Line;
	readonly toClient: Line;
	readonly #onGone: () => void;

	constructor(timeline: Timeline, latency: () => number, onGone: () => void, isAlive: () => boolean) {
		this.#onGone = onGone;
		this.client = new End((frame) => {
			if (isAlive()) this.toServer.put(frame);
		});
		this.server = new End((frame) => this.toClient.put(frame));
		const cut = () => this.cut();
		this.toServer = new Line(timeline, latency, this.server, cut, () => true);
		this.toClient = new Line(timeline, latency, this.client, cut, isAlive);
		this.client.onTerminate = onGone;
	}

	establish(accept: (socket: WebSocket) => void): void {
		if (this.client.readyState !== CONNECTING) return;
		this.server.open();
		accept(this.server as unknown as WebSocket);
		this.client.open();
	}

	refuse(error: Error): void {
		this.client.fail(error);
		this.#onGone();
	}

	/** Both sides see a reset; what was under way is lost. */
	cut(): void {
		this.#onGone();
		for (const line of [this.toServer, this.toClient]) line.drop();
		this.client.lose();
		this.server.lose();
	}

	/** The client's machine has died: what it sent still arrives, then the server sees it go. */
	abandon(): void {
		this.#onGone();
		this.toClient.drop();
		this.toServer.put({ kind: "close", code: 1006, reason: "" });
	}
}

/** One direction of a connection: frames arrive in order, some time after they were sent, or not at all. */
export class Line {
	/** The next text is lost, and the connection with it. */
	losesNext = false;
	readonly #timeline: Timeline;
	readonly #latency: () => number;
	readonly #end: End;
	readonly #cut: () => void;
	readonly #hears: () => boolean;
	#frames: Frame[] = [];
	#stalledUntil = 0;
	#underWay = false;

	constructor(timeline: Timeline, latency: () => number, end: End, cut: () => void, hears: () => boolean) {
		this.#timeline = timeline;
		this.#latency = latency;
		this.#end = end;
		this.#cut = cut;
		this.#hears = hears;
	}

	put(frame: Frame): void {
		this.#frames.push(frame);
		if (!this.#underWay) this.#deliverIn(this.#latency());
	}

	/** Nothing arrives for `ms`, as at a stopped process; then all of it, however late. */
	stall(ms: number): void {
		this.#stalledUntil = this.#timeline.now + ms;
	}

	drop(): void {
		this.#frames = [];
	}

	#deliverIn(ms: number): void {
		this.#underWay = true;
		this.#timeline.in(ms, () => {
			this.#underWay = false;
			const left = this.#stalledUntil - this.#timeline.now;
			if (left > 0) {
				if (left < Number.POSITIVE_INFINITY) this.#deliverIn(left);
				return;
			}
			const frames = this.#frames;
			this.#frames = [];
			for (const frame of frames) {
				if (!this.#hears()) return;
				if (frame.kind === "text" && this.losesNext) return this.#cut();
				this.#end.receive(frame);
			}
		});
	}
}

const [CONNECTING, OPEN, CLOSED] = [0, 1, 3];

/** One end of a WebSocket, with as much of ws as capnweb and the transport use. */
export class End extends EventEmitter {
	readonly OPEN = OPEN;
	readyState: number = CONNECTING;
	binaryType = "arraybuffer";
	readonly bufferedAmount = 0;
	onTerminate: () => void = () => undefined;
	readonly #send: (frame: Frame) => void;
	readonly #listeners = new Map<string, ((event: object) => void)[]>();

	constructor(send: (frame: Frame) => void) {
		super();
		this.#send = send;
	}

	addEventListener(type: string, listener: (event: object) => void): void {
		this.#listeners.set(type, [...(this.#listeners.get(type) ?? []), listener]);
	}

	open(): void {
		this.readyState = OPEN;
		this.emit("open");
		this.#tell("open", {});
	}

	send(text: string, onWritten: () => void = () => undefined): void {
		if (this.readyState === OPEN) this.#send({ kind: "text", text });
		queueMicrotask(onWritten);
	}

	ping(): void {
		if (this.readyState === OPEN) this.#send({ kind: "ping" });
	}

	close(code = 1005, reason = ""): void {
		if (this.readyState === CLOSED) return;
		if (this.readyState === OPEN) this.#send({ kind: "close", code, reason });
		this.#closed(code, reason);
	}

	terminate(): void {
		if (this.readyState === OPEN) this.#send({ kind: "close", code: 1006, reason: "" });
		if (this.readyState !== CLOSED) this.#closed(1006, "");
		this.onTerminate();
	}

	receive(frame: Frame): void {
		if (this.readyState !== OPEN) return;
		if (frame.kind === "text") {
			this.emit("message", frame.text);
			this.#tell("message", { data: frame.text });
		} else if (frame.kind === "ping") this.#send({ kind: "pong" });
		else if (frame.kind === "pong") this.emit("pong");
		else this.#closed(frame.code, frame.reason);
	}

	/** The connection is gone without a word. */
	lose(): void {
		if (this.readyState !== CLOSED) this.#closed(1006, "");
	}

	fail(error: Error): void {
		if (this.readyState === CLOSED) return;
		this.readyState = CLOSED;
		this.emit("error", error);
		this.#tell("error", { error });
		this.emit("close", 1006, "");
		this.#tell("close", { code: 1006, reason: "" });
	}

	#closed(code: number, reason: string): void {
		this.readyState = CLOSED;
		this.emit("close", code, reason);
		this.#tell("close", { code, reason });
	}

	#tell(type: string, event: object): void {
		for (const listener of this.#listeners.get(type) ?? []) listener(event);
	}
}

function failed(code: string): Error {
	return new TypeError("fetch failed", { cause: Object.assign(new Error(code), { code }) });
}

/** As much of a Response as the transport reads. */
function answer(status: number, text: string): Response {
	const body = [new TextEncoder().encode(text)];
	return { status, body: Object.assign(body, { cancel: async () => undefined }) } as unknown as Response;
}
