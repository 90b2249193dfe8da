/** The known name that was most likely meant, or undefined when none is close. */
export function nearest(name: string, known: Iterable<string>): string | undefined {
	let best: { name: string; distance: number } | undefined;
	for (const candidate of known) {
		const isBeginning = name.length >= 2 && candidate.startsWith(name);
		const distance = isBeginning ? 1 : editDistance(name, candidate);
		if (distance <= Math.max(1, Math.floor(candidate.length / 3)) && (best === undefined || distance < best.distance))
			best = { name: candidate, distance };
	}
	return best?.name;
}

/** "Did you mean X?", or `otherwise` when nothing is close. */
export function didYouMean(name: string, known: Iterable<string>, otherwise: string): string {
	const meant = nearest(name, known);
	return meant === undefined ? otherwise : `Did you mean ${meant}?`;
}

/** Insertions, deletions, replacements and swaps of neighbours that lead from `a` to `b` (optimal string alignment). */
function editDistance(a: string, b: string): number {
	let before: number[] = [];
	let previous = Array.from({ length: b.length + 1 }, (_, column) => column);
	for (let row = 1; row <= a.length; row++) {
		const current = [row];
		for (let column = 1; column <= b.length; column++) {
			const same = a[row - 1] === b[column - 1];
			let cost = Math.min(
				at(previous, column) + 1,
				at(current, column - 1) + 1,
				at(previous, column - 1) + (same ? 0 : 1),
			);
			const swapped = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
			if (swapped) cost = Math.min(cost, at(before, column - 2) + 1);
			current.push(cost);
		}
		[before, previous] = [previous, current];
	}
	return at(previous, b.length);
}

function at(row: readonly number[], column: number): number {
	return row[column] ?? 0;
}
