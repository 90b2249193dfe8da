const NAME = "server-key";

/** The server key that a person has signed in with: in this page's memory, and in the tab's only where that is wished. */
export class Key {
	#value = sessionStorage.getItem(NAME) ?? undefined;

	get value(): string | undefined {
		return this.#value;
	}

	set(value: string, isKept: boolean): void {
		this.forget();
		if (value === "") return;
		this.#value = value;
		if (isKept) sessionStorage.setItem(NAME, value);
	}

	forget(): void {
		this.#value = undefined;
		sessionStorage.removeItem(NAME);
	}
}
