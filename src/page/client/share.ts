import type { Delta, WatchedOp } from "../../protocol/schema.ts";
import { html } from "../html.ts";
import { Ending } from "./ending.ts";
import { type Follower, Following } from "./follower.ts";
import { Screen } from "./screen.ts";
import { type State, StateBar } from "./state.ts";
import { pause } from "./wait.ts";
import { elementOf } from "./write.ts";

/** Between two looks of a reader at what has changed, in ms; longer where showing it takes long. */
const SHOW_MS = 60;

/** A page that shows a share goes on with it. */
class Page implements Follower {
	readonly #bar = new StateBar();
	readonly #ending = new Ending();
	readonly #screen = new Screen(() => void this.#reload());
	readonly #following: Following;
	#showing: Promise<void> | undefined;
	#costMs = 0;

	constructor(slug: string) {
		this.#following = new Following(slug, this);
		this.#screen.families.onChange(() => {
			this.#screen.head.children(this.#screen.families.children);
			void this.#show();
		});
		void this.#following.run();
	}

	get cursor(): number {
		return this.#screen.cursor;
	}

	async ops(ops: readonly WatchedOp[], cursor: number): Promise<void> {
		this.#screen.ops(ops, cursor);
		await this.#show();
	}

	delta(delta: Delta): void {
		this.#screen.delta(delta);
		void this.#show();
	}

	state(state: State): void {
		this.#bar.show(state);
		if (state.is === "revoked" || state.is === "deleted") this.#over(state.is);
	}

	async restart(): Promise<void> {
		await this.#load();
	}

	/** Shows what has changed, soon, and all that changes until then with it. */
	#show(): Promise<void> {
		this.#showing ??= pause(Math.max(SHOW_MS, 3 * this.#costMs)).then(() => {
			this.#showing = undefined;
			const started = performance.now();
			const wasAtEnd = this.#ending.isAtEnd();
			if (this.#screen.show()) this.#ending.grown(wasAtEnd);
			this.#costMs = performance.now() - started;
		});
		return this.#showing;
	}

	/** What an undo had taken back is not here any more; the server has it. */
	async #reload(): Promise<void> {
		await this.#load().catch(() => undefined);
		this.#following.again();
	}

	async #load(): Promise<void> {
		const response = await fetch(location.pathname, { headers: { accept: "text/html" }, cache: "no-store" });
		if (response.ok) this.#screen.replace(await response.text());
	}

	#over(how: "revoked" | "deleted"): void {
		const words =
			how === "deleted"
				? "This session was unshared and is gone from the server. What you see is what this page had loaded."
				: "The owner has taken this link back. What you see is what this page had loaded; nothing more will come.";
		const told = elementOf(html`<p class="gone" role="alert">${words}</p>`);
		if (told) document.getElementById("main")?.prepend(told);
	}
}

const slug = document.getElementById("main")?.dataset.slug;
if (slug !== undefined) new Page(slug);
