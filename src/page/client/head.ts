import { keys } from "../../model/op.ts";
import { type Json, parsed } from "../json.ts";
import { type Piece, piece, type SessionFacts } from "../session.ts";
import { NONE_SPENT, type Spent, spentBy, sum } from "../spent.ts";
import type { Child } from "../tool.ts";
import { become, elementOf } from "./write.ts";

const NOTHING_KNOWN: SessionFacts = {
	session: undefined,
	todos: undefined,
	diff: undefined,
	isDeletedAtSource: false,
	children: new Map(),
	spent: NONE_SPENT,
	undone: 0,
	url: "",
};

/** What stands above the messages: a piece is written anew when what it tells of changes. */
export class Head {
	#facts = NOTHING_KNOWN;
	#isSummed = true;
	readonly #spent = new Map<string, Spent>();

	begin(main: HTMLElement | null, articles: Iterable<HTMLElement>): void {
		const { undone, deleted } = main?.dataset ?? {};
		this.#facts = { ...NOTHING_KNOWN, undone: Number(undone ?? 0), isDeletedAtSource: deleted !== undefined };
		this.#spent.clear();
		for (const article of articles) this.took(article.dataset.key ?? "", article);
		this.#isSummed = true;
	}

	session(session: Json): void {
		this.#tell({ session }, "title", "facts");
	}

	list(key: string, value: unknown): void {
		if (key === keys.todo) this.#tell({ todos: value }, "todos");
		else this.#tell({ diff: value }, "diff");
	}

	deleted(isDeletedAtSource: boolean): void {
		if (isDeletedAtSource !== this.#facts.isDeletedAtSource) this.#tell({ isDeletedAtSource }, "notice");
	}

	undone(undone: number): void {
		this.#tell({ undone }, "notice");
	}

	children(children: ReadonlyMap<string, Child>): void {
		this.#tell({ children }, "children");
	}

	/** What a message took, as its article tells; undefined once it is gone. To be summed up, once for many of them. */
	took(key: string, article: HTMLElement | undefined): void {
		this.#isSummed = false;
		const told = article?.dataset.spent;
		if (told === undefined) this.#spent.delete(key);
		else this.#spent.set(key, spentBy(spentMessage(parsed(told))));
	}

	sumUp(): void {
		if (this.#isSummed) return;
		this.#isSummed = true;
		this.#tell({ spent: [...this.#spent.values()].reduce(sum, NONE_SPENT) }, "totals");
	}

	#tell(news: Partial<SessionFacts>, ...pieces: Piece[]): void {
		this.#facts = { ...this.#facts, ...news };
		for (const name of pieces) {
			const old = document.querySelector(`[data-piece="${name}"]`);
			const like = elementOf(piece(name, this.#facts));
			if (old && like) become(old, like);
		}
	}
}

/** What an article tells, in the words of a message. */
function spentMessage(told: unknown): unknown {
	const { cost, tokens } = told as Spent;
	const { input, output, reasoning, cacheRead, cacheWrite } = tokens;
	return { cost, tokens: { input, output, reasoning, cache: { read: cacheRead, write: cacheWrite } } };
}
