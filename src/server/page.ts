import { keys, messageIdOf, messageKeyOf, partsRange } from "../model/op.ts";
import { instant } from "../page/amount.ts";
import { type Assets, SHARE_END, shareStart } from "../page/document.ts";
import { parsed } from "../page/json.ts";
import { frame, orderOf } from "../page/message.ts";
import { part } from "../page/part.ts";
import { type Cut, titleOf, undoneFrom } from "../page/session.ts";
import { NONE_SPENT, spentBy, sum } from "../page/spent.ts";
import type { Child } from "../page/tool.ts";
import type { Rules } from "./rules.ts";
import type { Holder } from "./share.ts";
import type { ChildShare, Outline, OutlinedMessage } from "./viewing.ts";

export { listPage, lostPage, PAGE_CSP } from "../page/document.ts";

/** Characters gathered before they are sent on. */
const CHUNK_CHARS = 64 * 1024;

export interface PageOptions {
	readonly rules: Pick<Rules, "viewing" | "entities">;
	readonly holder: Holder;
	readonly slug: string;
	/** The public link of the share. */
	readonly url: string;
	readonly assets: Assets;
	/** Epoch ms. */
	readonly now: number;
	/** What a page that breaks off does so with: a host may show that error to the client. */
	readonly redact: (error: unknown) => Error;
}

/**
 * The page of a share, as bytes: it holds one message at a time, however long the session is.
 *
 * Each message and part is shown as it is when its turn comes; all that changes after the cursor in the page's head comes
 * again to whoever watches from there. When the share goes meanwhile, the page breaks off.
 */
export function sharePage(options: PageOptions): ReadableStream<Uint8Array> {
	const pieces = piecesOf(options);
	const encoder = new TextEncoder();
	return new ReadableStream(
		{
			async pull(controller) {
				try {
					// Rendering is work; between two chunks, others have their turn (G5).
					await new Promise((resolve) => setTimeout(resolve));
					let chunk = "";
					while (chunk.length < CHUNK_CHARS) {
						const next = await pieces.next();
						if (!next.done) chunk += next.value;
						else {
							controller.enqueue(encoder.encode(chunk));
							controller.close();
							return;
						}
					}
					controller.enqueue(encoder.encode(chunk));
				} catch (error) {
					controller.error(options.redact(error));
				}
			},
		},
		{ highWaterMark: 0 },
	);
}

async function* piecesOf({ rules, holder, slug, url, assets, now }: PageOptions): AsyncGenerator<string> {
	const { viewing } = rules;
	const outline = await viewing.outline(holder);
	const told = async (key: string) => parsed((await one(key))?.payload ?? "");
	const one = async (key: string) => (await rules.entities(holder, [key]))[0];
	const session = await told(keys.session);
	const { messages, cut, undone } = shownOf(outline, session);
	const children = childrenOf(await viewing.children(holder));
	const facts = {
		session,
		todos: await told(keys.todo),
		diff: await told(keys.sessionDiff),
		isDeletedAtSource: (await one(keys.sessionDeleted)) !== undefined,
		children,
		spent: messages.map(spentByOutlined).reduce(sum, NONE_SPENT),
		undone,
		cut,
		url,
	};
	yield shareStart(facts, slug, outline.cursor, instant(now), assets).html;
	for (const { key, isStored } of messages) {
		const found = await one(key);
		// Removed meanwhile.
		if (isStored && found === undefined) continue;
		const { open, close } = frame(key, parsed(found?.payload ?? ""));
		yield open.html;
		let [from, to] = partsRange(messageIdOf(key) ?? "");
		if (cut?.part !== undefined && messageKeyOf(cut.part) === key) to = cut.part;
		for (;;) {
			const page = await viewing.span(holder, from, to);
			for (const entity of page) yield part(entity.key, parsed(entity.payload), { children, bearsStored: true }).html;
			const last = page.at(-1)?.key;
			if (last === undefined) break;
			from = `${last}\0`;
		}
		yield close.html;
	}
	yield SHARE_END.html;
}

interface Placed extends Partial<OutlinedMessage> {
	readonly key: string;
	readonly order: string;
	/** False for a message of which only parts have come so far. */
	readonly isStored: boolean;
}

interface Shown {
	readonly messages: readonly Placed[];
	readonly cut: Cut | undefined;
	readonly undone: number;
}

/** What of a session is shown, in its order: not what an undo has taken back. */
function shownOf(outline: Outline, session: unknown): Shown {
	const stored = outline.messages.map((message): Placed => {
		const order = orderOf(message.key, { time: { created: message.created } });
		return { ...message, order, isStored: true };
	});
	const known = new Set(stored.map(({ key }) => key));
	const lone = new Set(outline.parts.map((key) => messageKeyOf(key) ?? "").filter((key) => !known.has(key)));
	const headless = [...lone].map((key): Placed => ({ key, order: orderOf(key, {}), isStored: false }));
	const all = [...stored, ...headless].sort((a, b) => (a.order < b.order ? -1 : 1));
	const cut = undoneFrom(session);
	const at = cut === undefined ? -1 : all.findIndex(({ key }) => key === keys.message(cut.messageId));
	const order = all[at]?.order;
	if (cut === undefined || order === undefined) return { messages: all, undone: 0, cut: undefined };
	const { messageId, partId } = cut;
	const messages = all.slice(0, partId === undefined ? at : at + 1);
	const partKey = partId === undefined ? undefined : keys.part(messageId, partId);
	return { messages, undone: all.length - at, cut: { order, part: partKey } };
}

function spentByOutlined({ role, cost, tokens }: Placed) {
	return role === "user" ? NONE_SPENT : spentBy({ cost, tokens: parsed(typeof tokens === "string" ? tokens : "") });
}

export function childrenOf(shares: readonly ChildShare[]): Map<string, Child> {
	const told = ({ slug, title }: ChildShare): Child => ({ path: `/share/${slug}`, title: titleOf({ title }) });
	return new Map(shares.map((child) => [child.session_id, told(child)]));
}
