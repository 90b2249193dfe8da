import { counted } from "../amount.ts";

/**
 * What a page may say of itself:
 *
 *     live      it shows what the server has
 *     behind    there is more: it catches up, or has lost the server and looks for it again
 *     offline   the browser has no network, or the server has been away for OFFLINE_AFTER_MS
 *     revoked   its link opens nothing any more; final
 *     deleted   the share is deleted; final
 */
export type State =
	| { readonly is: "live" }
	| { readonly is: "behind"; readonly changes?: number; readonly since?: number }
	| { readonly is: "offline"; readonly since: number }
	| { readonly is: "revoked" | "deleted" };

export const OFFLINE_AFTER_MS = 60_000;

/** The words in the page's bar. They are told politely to who does not see them, and how long it lasts is not. */
export class StateBar {
	readonly #element = document.getElementById("state");
	readonly #words = this.#element?.querySelector(".words") ?? document.createElement("span");
	readonly #since = document.createElement("span");
	#state: State | undefined;
	#said = "";

	constructor() {
		this.#since.setAttribute("aria-hidden", "true");
		this.#element?.append(this.#since);
		setInterval(() => this.#tick(), 1000);
	}

	show(state: State): void {
		this.#state = state;
		this.#tick();
	}

	/** Says something that is no state. */
	say(words: string): void {
		this.#state = undefined;
		this.#said = words;
		this.#words.textContent = words;
		this.#since.textContent = "";
		this.#element?.setAttribute("data-state", "still");
	}

	#tick(): void {
		if (this.#state === undefined) return;
		const since = "since" in this.#state ? this.#state.since : undefined;
		this.#since.textContent = since === undefined ? "" : ` ${Math.max(0, Math.round((Date.now() - since) / 1000))} s`;
		const words = wordsOf(this.#state);
		// Said again, it would be told again.
		if (words === this.#said) return;
		this.#said = words;
		this.#words.textContent = words;
		this.#element?.setAttribute("data-state", this.#state.is);
	}
}

function wordsOf(state: State): string {
	switch (state.is) {
		case "live":
			return "Live";
		case "behind":
			if (state.changes !== undefined) return `Behind by ${counted(state.changes, "change")}`;
			return state.since === undefined ? "Connecting" : "Behind, reconnecting";
		case "offline":
			return "Offline";
		case "revoked":
			return "Link revoked";
		case "deleted":
			return "Not shared any more";
	}
}
