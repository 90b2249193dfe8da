import type { Redactor } from "../redaction/redactor.ts";
import {
	type Captured,
	type Change,
	type Choose,
	isPoison,
	type Poison,
	type SessionFacts,
	type SessionRead,
	type Snapshot,
	type Source,
} from "./source.ts";

/**
 * A source whose every entity, title and directory has gone through redaction rules.
 *
 * Whoever reads it (capture, *compare*, `verify`) sees the same redacted session, so that digests agree and nothing that a
 * rule finds is ever stored. `choose` alone sees titles and directories as they are: they decide, and are not kept.
 */
class RedactedSource implements Source {
	readonly #source: Source;
	readonly #redactor: Redactor;

	constructor(source: Source, redactor: Redactor) {
		this.#source = source;
		this.#redactor = redactor;
	}

	get identity(): string {
		return this.#source.identity;
	}

	async *read(
		captured: ReadonlyMap<string, Captured>,
		choose: Choose,
		signal: AbortSignal,
	): AsyncGenerator<SessionRead, void, void> {
		for await (const read of this.#source.read(captured, choose, signal)) yield this.#read(read);
	}

	changed(): boolean {
		return this.#source.changed();
	}

	async snapshot(sessionId: string): Promise<Snapshot | undefined> {
		const snapshot = await this.#source.snapshot(sessionId);
		return snapshot && this.#snapshot(snapshot);
	}

	async removals(sessionId: string): Promise<readonly Change[]> {
		return redactedChanges(await this.#source.removals(sessionId), this.#redactor);
	}

	models(sessionId: string): Promise<{ providerID: string; modelID: string }[]> {
		return this.#source.models(sessionId);
	}

	close(): void {
		this.#source.close();
	}

	#read(read: SessionRead): SessionRead {
		switch (read.kind) {
			case "snapshot":
				return this.#snapshot(read);
			case "log":
				return {
					...read,
					session: this.#facts(read.session),
					changes: read.changes.map((change) => this.#item(change)),
					state: redactedChanges(read.state, this.#redactor),
				};
			default:
				return read;
		}
	}

	#snapshot(snapshot: Snapshot): Snapshot {
		const entities = snapshot.entities.map((entity) => this.#item(entity));
		return { ...snapshot, session: this.#facts(snapshot.session), entities };
	}

	#facts(facts: SessionFacts): SessionFacts {
		const { title, directory } = facts;
		return { ...facts, title: this.#redactor.text(title), directory: this.#redactor.text(directory) };
	}

	#item(item: Change | Poison): Change | Poison {
		if (isPoison(item)) return { ...item, reason: this.#redactor.text(item.reason) };
		return { ...item, payload: this.#redactor.payload(item.payload) };
	}
}

/** The source as rules leave it; as it is without any. */
export function redactedSource(source: Source, redactor: Redactor | undefined): Source {
	return redactor === undefined ? source : new RedactedSource(source, redactor);
}

/** States that come by another way than a source. */
export function redactedChanges(changes: readonly Change[], redactor: Redactor | undefined): readonly Change[] {
	if (redactor === undefined) return changes;
	return changes.map((change) => ({ ...change, payload: redactor.payload(change.payload) }));
}
