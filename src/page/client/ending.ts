/** Pixels from the end within which somebody reads along. */
const NEAR_PX = 120;

/** On the way to the end. */
const FRAMES_MAX = 60;

/** The end of the page: who reads along there is kept there, and who reads further up is told that there is more. */
export class Ending {
	readonly #button = document.createElement("button");

	constructor() {
		this.#button.type = "button";
		this.#button.className = "new-below";
		this.#button.textContent = "New below ↓";
		this.#button.hidden = true;
		const go = (event: Event) => {
			event.preventDefault();
			document.getElementById("end")?.focus({ preventScroll: true });
			void this.#goToEnd();
		};
		this.#button.addEventListener("click", go);
		document.querySelector(".to-end")?.addEventListener("click", go);
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

	/** What was never seen has a height that is guessed, so the end moves while one comes near it. */
	async #goToEnd(): Promise<void> {
		for (let frames = 0, still = 0; frames < FRAMES_MAX && still < 3; frames++) {
			const height = document.documentElement.scrollHeight;
			this.#toEnd();
			await new Promise(requestAnimationFrame);
			still = height === document.documentElement.scrollHeight && this.isAtEnd() ? still + 1 : 0;
		}
	}

	#toEnd(): void {
		scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
		this.#seen();
	}

	#seen(): void {
		this.#button.hidden = true;
	}
}
