import type { Socket } from "node:net";

/** Sockets at once, of all kinds. A process may open 1024 files by default, and SQLite wants some of them. */
const SOCKETS_MAX = 900;

/**
 * The sockets of one server.
 *
 * When there are too many, the oldest stranger goes: a flood of idle sockets pushes out its own, and nobody who has
 * redeemed a share.
 */
export class Doors {
	readonly #open = new Set<Socket>();
	/** By their peer's name, which a socket shares with the TLS socket over it. */
	readonly #strangers = new Map<string, Socket>();

	enter(socket: Socket): void {
		const name = nameOf(socket);
		this.#open.add(socket);
		this.#strangers.set(name, socket);
		socket.once("close", () => {
			this.#open.delete(socket);
			if (this.#strangers.get(name) === socket) this.#strangers.delete(name);
		});
		if (this.#open.size <= SOCKETS_MAX) return;
		const [[oldestName, oldest] = [name, socket]] = this.#strangers;
		this.#strangers.delete(oldestName);
		oldest.destroy();
	}

	/** Whoever is on this socket has shown a key or a secret. */
	known(socket: Socket): void {
		this.#strangers.delete(nameOf(socket));
	}

	/** Ends all that are open, those too that have not said anything yet. */
	shut(): void {
		for (const socket of this.#open) socket.destroy();
	}
}

function nameOf({ remoteAddress, remotePort }: Socket): string {
	return `${remoteAddress} ${remotePort}`;
}
