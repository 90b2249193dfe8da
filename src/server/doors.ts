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
	readonly #strangers = new Set<Socket>();
	#open = 0;

	enter(socket: Socket): void {
		this.#open++;
		this.#strangers.add(socket);
		socket.once("close", () => {
			this.#open--;
			this.#strangers.delete(socket);
		});
		if (this.#open <= SOCKETS_MAX) return;
		const [oldest = socket] = this.#strangers;
		this.#strangers.delete(oldest);
		oldest.destroy();
	}

	/** Whoever is on this socket has shown a key or a secret. */
	known(socket: Socket): void {
		this.#strangers.delete(socket);
	}
}
