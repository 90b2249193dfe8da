import { keys, messageKeyOf } from "../../model/op.ts";
import { ShareView } from "../../protocol/live.ts";
import type { Delta, WatchedOp } from "../../protocol/schema.ts";
import { type Json, parsed, record } from "../json.ts";
import { frame, orderOf } from "../message.ts";
import { part } from "../part.ts";
import { type Cut, titleOf, undoneFrom } from "../session.ts";
import { Families } from "./families.ts";
import { Head } from "./head.ts";
import { become, documentOf, elementOf } from "./write.ts";

/** Where a message belongs is not known before the message itself has come; until then it stands last. */
type Article = HTMLElement;

/**
 * The session as this page shows it. Begins as the server has written it, and is told all that changes from its cursor on.
 *
 * Only what changed is written anew, one message or part at a time.
 */
export class Screen {
	readonly head = new Head();
	readonly families: Families;
	#view = new ShareView();
	readonly #articles = new Map<string, Article>();
	readonly #parts = new Map<string, HTMLElement>();
	/** Entities that are to be shown again. */
	readonly #changed = new Set<string>();
	readonly #onDeaf: () => void;
	#cut: Cut | undefined;

	/** @param onDeaf called when this page cannot tell by itself what is to be shown: an undo was taken back. */
	constructor(onDeaf: () => void) {
		this.#onDeaf = onDeaf;
		this.families = new Families((key) => this.#changed.add(key));
		this.#begin();
	}

	get cursor(): number {
		return this.#view.cursor;
	}

	ops(ops: readonly WatchedOp[], cursor: number): void {
		for (const op of ops) {
			// What a message's removal takes along is not told by itself.
			if (op.payload === null && this.#articles.has(op.key)) this.#removeMessage(op.key);
			this.#changed.add(op.key);
		}
		this.#view.ops(ops, cursor);
	}

	delta(delta: Delta): void {
		this.#view.delta(delta);
		this.#changed.add(delta.key);
	}

	/** Shows what has changed; true where anything did. */
	show(): boolean {
		const changed = [...this.#changed];
		this.#changed.clear();
		// The session first: it tells what is undone.
		changed.sort((a, b) => Number(b === keys.session) - Number(a === keys.session));
		for (const key of changed) this.#showEntity(key, this.#view.entity(key));
		this.head.sumUp();
		return changed.length > 0;
	}

	/** Puts the page that the server writes now in this one's place. */
	replace(html: string): void {
		const next = documentOf(html).getElementById("main");
		const now = document.getElementById("main");
		if (next === null || now === null) return;
		now.replaceWith(next);
		this.#begin();
	}

	#begin(): void {
		const main = document.getElementById("main");
		const told = main?.dataset ?? {};
		this.#view = new ShareView();
		this.#articles.clear();
		this.#parts.clear();
		this.#changed.clear();
		const seeds: WatchedOp[] = [];
		for (const element of main?.querySelectorAll<HTMLElement>("[data-key]") ?? []) {
			const { key = "", stored } = element.dataset;
			(key.startsWith("message/") ? this.#articles : this.#parts).set(key, element);
			if (stored !== undefined) seeds.push({ position: 0, type: "part", key, payload: stored });
		}
		this.#view.ops(seeds, Number(told.cursor ?? 0));
		this.#cut = told.cut ? { order: told.cut, part: told.cutPart || undefined } : undefined;
		this.families.begin(record(parsed(told.children ?? "")));
		this.head.begin(main, this.#articles.values());
	}

	#showEntity(key: string, value: Json | undefined): void {
		if (key.startsWith("message/")) this.#showMessage(key, value);
		else if (key.startsWith("part/")) this.#showPart(key, value);
		else if (key === keys.session && value !== undefined) this.#showSession(value);
		else if (key === keys.todo || key === keys.sessionDiff) this.head.list(key, value);
		else if (key === keys.sessionDeleted) this.head.deleted(value !== undefined);
	}

	#showSession(session: Json): void {
		// Said again, it is not deleted any more.
		this.head.deleted(this.#view.entity(keys.sessionDeleted) !== undefined);
		this.head.session(session);
		document.title = titleOf(session);
		const cut = undoneFrom(session);
		if (cut === undefined) {
			if (this.#cut !== undefined) this.#onDeaf();
			return;
		}
		const key = keys.message(cut.messageId);
		const partKey = cut.partId === undefined ? undefined : keys.part(cut.messageId, cut.partId);
		if (this.#cut?.order.endsWith(` ${key}`) && this.#cut.part === partKey) return;
		const first = this.#articles.get(key);
		if (first === undefined) {
			if (this.#cut !== undefined) this.#onDeaf();
			return;
		}
		this.#cut = { order: first.dataset.order ?? "", part: partKey };
		let count = 0;
		for (const [key, article] of [...this.#articles]) {
			const order = article.dataset.order ?? "";
			if (order < this.#cut.order) continue;
			count++;
			if (order > this.#cut.order || partKey === undefined) this.#removeMessage(key);
		}
		for (const [key, element] of [...this.#parts])
			if (this.#isUndone(key)) {
				element.remove();
				this.#parts.delete(key);
			}
		this.head.undone(count);
	}

	#showMessage(key: string, value: Json | undefined): void {
		if (value === undefined) {
			this.#removeMessage(key);
			return;
		}
		const order = orderOf(key, value);
		if (this.#cut !== undefined && (order > this.#cut.order || (order === this.#cut.order && !this.#cut.part))) return;
		const { open, close } = frame(key, value);
		const like = elementOf({ html: open.html + close.html });
		if (like === undefined) return;
		const old = this.#articles.get(key);
		if (old === undefined) {
			this.#place(key, like);
			return;
		}
		const hasMoved = old.dataset.order !== order;
		const parts = old.querySelector(":scope > .parts");
		const place = like.querySelector(":scope > .parts");
		// Its parts are shown by themselves.
		if (parts !== null && place !== null) place.replaceWith(parts.cloneNode(false));
		const [newHeader, newFooter] = [like.firstElementChild, like.lastElementChild];
		for (const { name, value: told } of like.attributes) old.setAttribute(name, told);
		if (newHeader && old.firstElementChild) become(old.firstElementChild, newHeader);
		if (newFooter && old.lastElementChild) become(old.lastElementChild, newFooter);
		if (hasMoved) this.#place(key, old);
		this.head.took(key, old);
	}

	#showPart(key: string, value: Json | undefined): void {
		const old = this.#parts.get(key);
		const html = value === undefined || this.#isUndone(key) ? undefined : part(key, value, this.families);
		const like = html && elementOf(html);
		if (like === undefined) {
			old?.remove();
			this.#parts.delete(key);
			return;
		}
		this.families.look(key, value);
		if (old !== undefined) {
			become(old, like);
			return;
		}
		const article = this.#articleOf(key);
		if (article === undefined) return;
		const place = article.querySelector(":scope > .parts");
		// Most often the last one.
		let before = place?.lastElementChild ?? null;
		while (before !== null && ((before as HTMLElement).dataset.key ?? "") > key) before = before.previousElementSibling;
		if (before === null) place?.prepend(like);
		else before.after(like);
		this.#parts.set(key, like);
	}

	/** The message of a part; an empty one while it has not come itself. Undefined where it is undone. */
	#articleOf(partKey: string): Article | undefined {
		const key = messageKeyOf(partKey) ?? "";
		if (this.#articles.has(key)) return this.#articles.get(key);
		const value = this.#view.entity(key) ?? {};
		if (this.#cut !== undefined && orderOf(key, value) > this.#cut.order) return undefined;
		const { open, close } = frame(key, value);
		const article = elementOf({ html: open.html + close.html });
		if (article !== undefined) this.#place(key, article);
		return article;
	}

	#isUndone(partKey: string): boolean {
		const { order = "", part: first } = this.#cut ?? {};
		if (first === undefined || messageKeyOf(partKey) !== messageKeyOf(first)) return false;
		return partKey >= first && order !== "";
	}

	/** Puts a message where its order says; most often at the end. */
	#place(key: string, article: Article): void {
		const list = document.getElementById("messages");
		const order = article.dataset.order ?? "";
		let before = list?.lastElementChild ?? null;
		while (before !== null && (before === article || ((before as Article).dataset.order ?? "") > order))
			before = before.previousElementSibling;
		if (before === null) list?.prepend(article);
		else before.after(article);
		this.#articles.set(key, article);
		this.head.took(key, article);
	}

	#removeMessage(key: string): void {
		const article = this.#articles.get(key);
		for (const element of article?.querySelectorAll<HTMLElement>("[data-key]") ?? [])
			this.#parts.delete(element.dataset.key ?? "");
		article?.remove();
		this.#articles.delete(key);
		this.head.took(key, undefined);
	}
}
