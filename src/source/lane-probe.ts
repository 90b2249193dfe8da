import { connect } from "node:net";
import { type Hello, helloIn, Lines } from "./lane-address.ts";

/** A listener on this machine answers in a millisecond; one that is stopped never does. In ms. */
const ANSWER_MS_MAX = 1000;

/** True when somebody listens at `address`, whoever it is; false when nobody does, as where a killed process left its socket. */
export function isAnswered(address: string): Promise<boolean> {
	return new Promise((resolve) => {
		const socket = connect(address);
		const over = (answered: boolean) => {
			socket.destroy();
			resolve(answered);
		};
		socket.once("connect", () => over(true));
		// Bun says ENOENT where nobody listens any more, Node ECONNREFUSED. Whoever is busy or forbids it is there.
		socket.once("error", ({ code }: NodeJS.ErrnoException) => over(code !== "ECONNREFUSED" && code !== "ENOENT"));
		socket.setTimeout(ANSWER_MS_MAX, () => over(true));
	});
}

/** What the agent that listens at `address` says of itself; undefined where nobody does, or somebody else. */
export function askedOfLane(address: string): Promise<Hello | undefined> {
	return new Promise((resolve) => {
		const socket = connect(address);
		const lines = new Lines();
		const over = (hello?: Hello) => {
			socket.destroy();
			resolve(hello);
		};
		socket.on("data", (chunk) => {
			const told = lines.push(Buffer.from(chunk));
			if (told === undefined || told.length > 0) over(helloIn(told?.[0] ?? ""));
		});
		socket.once("error", () => over());
		socket.once("close", () => over());
		socket.setTimeout(ANSWER_MS_MAX, () => over());
	});
}
