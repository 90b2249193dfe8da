/** Stops on a broken invariant of this program. Never for bad input: that gets an OutboxError. */
export function assert(condition: unknown, message: string): asserts condition {
	if (!condition) throw new Error(`invariant broken: ${message}`);
}

/** Marks a switch as total: a new member of the closed set does not compile until it is handled. */
export function unreachable(value: never): never {
	throw new Error(`not a member of a closed set: ${JSON.stringify(value)}`);
}
