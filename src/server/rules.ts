import type { Delta } from "../protocol/schema.ts";
import type { OpencodeShares } from "./opencode-shares.ts";
import type { Holder, ShareRules } from "./share.ts";
import type { Viewing } from "./viewing.ts";
import type { Watcher } from "./watcher.ts";

/** A value, or a promise of one where another object has to be asked for it. */
export type Eventual<T> = T | Promise<T>;

type Asked<T> = {
	readonly [Name in keyof T]: T[Name] extends (...args: infer Args) => infer Answer
		? (...args: Args) => Eventual<Awaited<Answer>>
		: T[Name];
};

/** The rules as the calls of clients reach them: ShareRules itself, or the object of the share that has them. */
export type Rules = Asked<Omit<ShareRules, "opencode" | "settle" | "viewing" | "expire" | "fence" | "publishDelta">> & {
	/** The rules judge the holder; where shares' objects tell their watchers themselves, they tell them the delta. */
	publishDelta(holder: Holder, delta: Delta): Eventual<void>;
	readonly opencode: Asked<Pick<OpencodeShares, "create" | "sync" | "delete">>;
	readonly viewing: Asked<Pick<Viewing, keyof Viewing>>;
};

/** Who is told of changes: the Hub of one process, or, where the shares' objects tell it themselves, whoever asks those. */
export interface Notices {
	/** From the moment on that this returns, or resolves, the watcher is woken by every change; until it ends. */
	add(shareId: string, watcher: Watcher): Eventual<void>;
	changed(shareId: string): void;
	delta(shareId: string, delta: Delta): void;
	ended(shareId: string): void;
	/** When a share changed last, in epoch ms, where that is remembered. */
	changedAt?(shareId: string): number | undefined;
}

/** Does `next` with a value in the same turn when it is there already: what is called in order is told in order. */
export function andThen<T, U>(value: Eventual<T>, next: (value: T) => Eventual<U>): Eventual<U> {
	return value instanceof Promise ? value.then(next) : next(value);
}
