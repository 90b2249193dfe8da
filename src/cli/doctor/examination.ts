import { messageOf, OutboxError } from "../../model/errors.ts";
import { asStorageError } from "../../sqlite/errors.ts";

/** `warn`: works, or is not there yet; `skip`: could not be looked at, or is not set up; `fail`: needs a person. */
export type Verdict = "ok" | "warn" | "fail" | "skip";

/** What a check found. */
export interface Finding<Value = undefined> {
	readonly verdict: Verdict;
	/** With the facts, for a person. */
	readonly found: string;
	/** What to do; there unless it is well. */
	readonly next?: string | undefined;
	/** For machines, in snake_case. */
	readonly facts?: Readonly<Record<string, unknown>>;
	/** What later checks stand on. */
	readonly value?: Value;
}

/** A check as `--json` tells it. */
export interface Checked {
	readonly name: string;
	/** What it proves when it is ok. */
	readonly proves: string;
	readonly verdict: Verdict;
	readonly found: string;
	readonly next: string | null;
	readonly elapsed_ms: number;
	readonly facts: Readonly<Record<string, unknown>>;
}

type Given<Needs> = { readonly [Name in keyof Needs]: NonNullable<Needs[Name]> };

/**
 * One examination: checks in their order, each with a deadline, none of which can make another one fail.
 *
 * A check names what it stands on. Where that is not there, it is skipped and says why; what it throws is its finding.
 */
export class Examination<Name extends string> {
	readonly #proves: Readonly<Record<Name, string>>;
	readonly #timeoutMs: number;
	readonly #expected: ReadonlySet<string>;
	readonly #checked: Checked[] = [];

	/**
	 * @param proves what each check proves.
	 * @param timeoutMs how long each may take.
	 * @param expected checks that must be ok: with these, what is only not there fails too.
	 */
	constructor(proves: Readonly<Record<Name, string>>, timeoutMs: number, expected: ReadonlySet<string>) {
		this.#proves = proves;
		this.#timeoutMs = timeoutMs;
		this.#expected = expected;
	}

	get checked(): readonly Checked[] {
		return this.#checked;
	}

	/**
	 * Runs a check unless something that it needs is missing.
	 *
	 * @param needs what it stands on, by the names of the checks that gave it.
	 * @param run is given up at the deadline; its signal is aborted then.
	 * @returns the finding's value; undefined when there is none.
	 */
	async check<const Needs extends Readonly<Record<string, unknown>>, Value>(
		name: Name,
		needs: Needs,
		run: (given: Given<Needs>, signal: AbortSignal) => Finding<Value> | Promise<Finding<Value>>,
	): Promise<Value | undefined> {
		const startedAt = performance.now();
		const missing = Object.keys(needs).find((need) => needs[need] === undefined);
		const finding: Finding<Value> =
			missing === undefined
				? await this.#run(needs as Given<Needs>, run)
				: { verdict: "skip", found: `Not looked at: it needs what the check "${missing}" did not find.` };
		const isDemanded = this.#expected.has(name) && finding.verdict !== "ok";
		this.#checked.push({
			name,
			proves: this.#proves[name],
			verdict: isDemanded ? "fail" : finding.verdict,
			found: finding.found,
			next: finding.next ?? (isDemanded ? `It was asked for with --expect ${name}.` : null),
			elapsed_ms: Math.round(performance.now() - startedAt),
			facts: finding.facts ?? {},
		});
		return finding.value;
	}

	async #run<Needs, Value>(
		given: Given<Needs>,
		run: (given: Given<Needs>, signal: AbortSignal) => Finding<Value> | Promise<Finding<Value>>,
	): Promise<Finding<Value>> {
		const deadline = AbortSignal.timeout(this.#timeoutMs);
		const { promise: late, reject } = Promise.withResolvers<never>();
		deadline.addEventListener("abort", () => reject(deadline.reason));
		try {
			// What a check throws at once is raced for like anything else, so that nobody is left to hear of the deadline.
			return await Promise.race([(async () => run(given, deadline))(), late]);
		} catch (thrown) {
			if (deadline.aborted) {
				const next = "See what holds it up; --timeout gives it longer.";
				return { verdict: "fail", found: `No answer within ${this.#timeoutMs} ms.`, next };
			}
			return failed(thrown);
		}
	}
}

/** What a check threw, as its finding. */
function failed(thrown: unknown): Finding<never> {
	const { path } = (thrown ?? {}) as { path?: unknown };
	const error = asStorageError(thrown, typeof path === "string" ? path : "A file of the outbox");
	if (error instanceof OutboxError)
		return { verdict: "fail", found: error.message, next: error.hint, facts: { code: error.code } };
	const { cause } = (thrown ?? {}) as { cause?: unknown };
	const why = cause instanceof Error ? `${messageOf(thrown)}: ${cause.message}` : messageOf(thrown);
	return { verdict: "fail", found: why, next: "Mend what it names, then look again." };
}
