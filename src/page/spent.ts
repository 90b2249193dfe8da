import { brief, money } from "./amount.ts";
import { type Html, html } from "./html.ts";
import { number, record } from "./json.ts";

export interface Tokens {
	readonly input: number;
	readonly output: number;
	readonly reasoning: number;
	readonly cacheRead: number;
	readonly cacheWrite: number;
}

/** What an answer, or a session, took. Cost is in US dollars. */
export interface Spent {
	readonly cost: number;
	readonly tokens: Tokens;
}

export const NONE_SPENT: Spent = {
	cost: 0,
	tokens: { input: 0, output: 0, reasoning: 0, cacheRead: 0, cacheWrite: 0 },
};

export function tokensOf(value: unknown): Tokens {
	const { input, output, reasoning, cache } = record(value);
	const { read, write } = record(cache);
	const count = (told: unknown) => Math.max(0, number(told) ?? 0);
	return {
		input: count(input),
		output: count(output),
		reasoning: count(reasoning),
		cacheRead: count(read),
		cacheWrite: count(write),
	};
}

export function spent(tokens: Tokens): number {
	return tokens.input + tokens.output + tokens.reasoning + tokens.cacheRead + tokens.cacheWrite;
}

/** What a message says that it took: an answer alone does. */
export function spentBy(message: unknown): Spent {
	const { cost, tokens } = record(message);
	return { cost: Math.max(0, number(cost) ?? 0), tokens: tokensOf(tokens) };
}

export function sum(a: Spent, b: Spent): Spent {
	const both = Object.entries(a.tokens).map(([name, count]) => [name, count + b.tokens[name as keyof Tokens]]);
	return { cost: a.cost + b.cost, tokens: Object.fromEntries(both) as unknown as Tokens };
}

/** In a page's head: what the whole session took. */
export function totals({ cost, tokens }: Spent): Html {
	const input = tokens.input + tokens.cacheRead + tokens.cacheWrite;
	const fact = (name: string, value: string) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`;
	return html`<dl class="totals" data-part="totals">${fact("Cost", money(cost))}${fact("Tokens in", brief(input))}${fact("of them cached", brief(tokens.cacheRead))}${fact("Tokens out", brief(tokens.output + tokens.reasoning))}</dl>`;
}
