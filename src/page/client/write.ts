import type { Html } from "../html.ts";

interface Policy {
	createHTML(html: string): string;
}

const factory = (globalThis as { trustedTypes?: { createPolicy(name: string, rules: Policy): Policy } }).trustedTypes;

/** The one way from text to elements that the page's CSP lets in; what goes through it has been made by our renderers. */
const policy = factory?.createPolicy("page", { createHTML: (html) => html });

function admitted(html: string): string {
	return policy === undefined ? html : policy.createHTML(html);
}

/** The one element that this HTML is; undefined for none. */
export function elementOf({ html }: Html): HTMLElement | undefined {
	const template = document.createElement("template");
	template.innerHTML = admitted(html);
	const first = template.content.firstElementChild;
	return first instanceof HTMLElement ? first : undefined;
}

/** A page of this server. */
export function documentOf(html: string): Document {
	return new DOMParser().parseFromString(admitted(html), "text/html");
}

/**
 * Makes an element like another one by the fewest changes: what is equal stays as it is, with its selection and its scroll
 * position, and whatever a reader has folded or unfolded stays so.
 */
export function become(element: Element, like: Element): void {
	if (element.isEqualNode(like)) return;
	for (const { name } of [...element.attributes])
		if (!like.hasAttribute(name) && !isReaders(element, name)) element.removeAttribute(name);
	for (const { name, value } of like.attributes)
		if (element.getAttribute(name) !== value && !isReaders(element, name)) element.setAttribute(name, value);
	becomeChildren(element, like);
}

function isReaders(element: Element, name: string): boolean {
	return name === "open" && element.localName === "details";
}

function becomeChildren(element: Element, like: Element): void {
	const [before, after] = [[...element.childNodes], [...like.childNodes]];
	for (const [index, next] of after.entries()) {
		const old = before[index];
		if (old === undefined) element.append(next);
		else if (old instanceof Element && next instanceof Element && old.localName === next.localName) become(old, next);
		else if (old instanceof Text && next instanceof Text) {
			if (old.data !== next.data) old.data = next.data;
		} else old.replaceWith(next);
	}
	for (const old of before.slice(after.length)) old.remove();
}
