/** Kills by victim and by what it was doing, so that a reader sees that they did not all land in one place. */
export class KillTable {
	readonly #counts = new Map<string, Map<string, number>>();

	count(victim: string, phase: string): void {
		const phases = this.#counts.get(victim) ?? new Map<string, number>();
		this.#counts.set(victim, phases.set(phase, (phases.get(phase) ?? 0) + 1));
	}

	get total(): number {
		return [...this.#counts.keys()].reduce((sum, victim) => sum + this.of(victim), 0);
	}

	of(victim: string, phase?: RegExp): number {
		let sum = 0;
		for (const [name, count] of this.#counts.get(victim) ?? []) if (phase?.test(name) ?? true) sum += count;
		return sum;
	}

	/** One line per victim and phase, most frequent first. */
	text(): string {
		const lines: string[] = [];
		for (const [victim, phases] of this.#counts) {
			lines.push(`${String(this.of(victim)).padStart(6)}  ${victim}`);
			for (const [phase, count] of [...phases].sort(([, a], [, b]) => b - a))
				lines.push(`${String(count).padStart(6)}     ${phase}`);
		}
		return lines.join("\n");
	}
}
