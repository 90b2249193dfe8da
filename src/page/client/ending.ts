/** Pixels from the end within which somebody reads along. */
const NEAR_PX = 120;

/** The end of the page: who reads along there is kept there, and who reads further up is told that there is more. */
export class Ending {
	readonly #button = document.createElement("button");

	constructor() {
		this.#button.type = "button";
		this.#button.className = "new-below";
		this.#button.textContent = "New below ↓";
		this.#button.hidden = true;
		this.#button.addEventListener("click", () => {
			document.getElementById("end")?.focus({ preventScroll: true });
			this.#toEnd();
		});
		document.body.append(this.#button);
		addEventListener("scroll", () => this.isAtEnd() && this.#seen(), { passive: true });
	}

	isAtEnd(): boolean {
		return innerHeight + scrollY >= document.documentElement.scrollHeight - NEAR_PX;
	}

	/** The page has changed; `wasAtEnd` before it did. */
	grown(wasAtEnd: boolean): void {
		if (wasAtEnd) this.#toEnd();
		else if (!this.isAtEnd()) this.#button.hidden = false;
	}

	#toEnd(): void {
		scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
		this.#seen();
	}

	#seen(): void {
		this.#button.hidden = true;
	}
}
