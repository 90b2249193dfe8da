import { randomUUID } from "node:crypto";
import type { AppendBatch, OpAck } from "../../../src/protocol/schema.ts";
import type { Holder, ShareRulesOptions } from "../../../src/server/share.ts";
import type { Env } from "../../../src/server/worker/env.ts";
import worker, { ShareObject as Share, WatchObject as Watch } from "../../../src/server/worker.ts";

export { DirectoryObject } from "../../../src/server/worker.ts";

/** What a simulated world's shares take; in the variable BOUNDS, as JSON. */
type Bounds = Pick<ShareRulesOptions, "limits" | "ledgerOps">;

/** The tables of a share, as a point-in-time recovery would put them back. */
const TABLES = ["share", "entity", "ledger", "retired"];

/** The share's object, which tells who it is and dies when it is told to. */
export class ShareObject extends Share {
	readonly #instance = randomUUID();
	#death: "before" | "after" | undefined;

	instance(): string {
		return this.#instance;
	}

	/** The next append ends with the object, before or after its commit. */
	dieAt(death: "before" | "after"): void {
		this.#death = death;
	}

	die(): void {
		this.ctx.abort("the test resets the object");
	}

	save(): void {
		const { kv, sql } = this.ctx.storage;
		kv.put(
			"saved",
			TABLES.map((table) => sql.exec(`SELECT * FROM ${table}`).toArray()),
		);
	}

	/** What was decided of each batch since the last time, whoever was told. */
	drain(): { batch: AppendBatch; ack: OpAck }[] {
		const { kv } = this.ctx.storage;
		const told = kv.get<{ batch: AppendBatch; ack: OpAck }[]>("told") ?? [];
		if (told.length > 0) kv.delete("told");
		return told;
	}

	/** What the share holds. */
	held(): { cursor: number; isDeleted: boolean; digests: [key: string, digest: string][] } {
		const { sql } = this.ctx.storage;
		const { cursor, deleted_at } = sql
			.exec<{ cursor: number; deleted_at: number | null }>("SELECT cursor, deleted_at FROM share")
			.one();
		const rows = sql.exec<{ key: string; digest: string }>("SELECT key, digest FROM entity WHERE digest IS NOT NULL");
		const digests = rows.toArray().map(({ key, digest }): [string, string] => [key, digest]);
		return { cursor, isDeleted: deleted_at !== null, digests };
	}

	/** Was never there. */
	async erase(): Promise<void> {
		await this.ctx.storage.deleteAll();
		this.die();
	}

	/** Puts back what was saved, and starts anew, as the platform's recovery does. */
	async rewind(): Promise<void> {
		const { kv, sql } = this.ctx.storage;
		const saved = kv.get<Record<string, never>[][]>("saved") ?? [];
		for (const [index, table] of TABLES.entries()) {
			sql.exec(`DELETE FROM ${table}`);
			for (const row of saved[index] ?? []) {
				const names = Object.keys(row);
				const places = names.map(() => "?").join();
				sql.exec(`INSERT INTO ${table} (${names.join()}) VALUES (${places})`, ...Object.values(row));
			}
		}
		await this.ctx.storage.sync();
		this.die();
	}

	override appendOps(holder: Holder, batch: AppendBatch): OpAck {
		if (this.#death === "before") this.die();
		const ack = super.appendOps(holder, batch);
		if (boundsOf(this.env)) {
			const { kv } = this.ctx.storage;
			kv.put("told", [...(kv.get<object[]>("told") ?? []), { batch, ack }]);
		}
		if (this.#death !== "after") return ack;
		return this.ctx.storage.sync().then(() => this.die()) as never;
	}

	/** The constructor asks already: nothing of this class is there by then. */
	protected override bounds(): Bounds {
		return boundsOf(this.env) ?? super.bounds();
	}
}

function boundsOf(env: Env): Bounds | undefined {
	const { BOUNDS } = env as Env & { BOUNDS?: string };
	return BOUNDS === undefined ? undefined : JSON.parse(BOUNDS);
}

export class WatchObject extends Watch {
	readonly #instance = randomUUID();

	instance(): string {
		return this.#instance;
	}

	die(): void {
		this.ctx.abort("the test resets the object");
	}
}

/** What a test asks of an object: a JSON of its binding, its name, a method and arguments. */
export interface Probe {
	readonly binding: "SHARE" | "WATCH" | "DIRECTORY";
	readonly name: string;
	readonly method: string;
	readonly args: readonly unknown[];
}

/** Answers with `{ answer }`, or `{ error }` with what an error bears. */
async function probe(request: Request, env: Env): Promise<Response> {
	const { binding, name, method, args } = (await request.json()) as Probe;
	const stub = env[binding].getByName(name) as unknown as Record<string, (...args: readonly unknown[]) => unknown>;
	try {
		// JSON has no undefined.
		const given = args.map((argument) => argument ?? undefined);
		return Response.json({ answer: await stub[method]?.(...given) });
	} catch (error) {
		return Response.json({ error: { message: String(error), ...(error as object) } });
	}
}

export default {
	fetch: (request: Request, env: Env, context: never) =>
		new URL(request.url).pathname === "/probe" ? probe(request, env) : worker.fetch(request, env, context),
};
