/** Resolves after `ms`, or as soon as `wake` is aborted. */
export function pause(ms: number, wake?: AbortSignal): Promise<void> {
	return new Promise((resolve) => {
		if (wake?.aborted) return resolve();
		const timer = setTimeout(resolve, ms);
		wake?.addEventListener("abort", () => {
			clearTimeout(timer);
			resolve();
		});
	});
}

/** What is answered within `ms`; it throws otherwise, since nobody knows how a call ends that nothing is heard of. */
export async function within<T>(ms: number, answer: PromiseLike<T>): Promise<T> {
	const enough = new AbortController();
	const late = pause(ms, enough.signal).then((): never => {
		throw new Error(`No answer within ${ms} ms.`);
	});
	late.catch(() => undefined);
	return await Promise.race([answer, late]).finally(() => enough.abort());
}

/** Full jitter between two attempts, in ms: soon at first, so that a server's restart is hardly seen. */
const FIRST_MS = 500;
const LONGEST_MS = 15_000;

export function backoff(attempt: number): number {
	return 200 + Math.random() * Math.min(LONGEST_MS, FIRST_MS * 2 ** attempt);
}
