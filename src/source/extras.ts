import { type Clock, systemClock } from "../model/clock.ts";
import { canonicalJson } from "../model/json.ts";
import { keys } from "../model/op.ts";
import { endpoint, getJson, type ServerAddress } from "./http.ts";
import type { Change } from "./source.ts";

export interface ModelRef {
	readonly providerID: string;
	readonly modelID: string;
}

/** One call, in ms: OpenCode answers these from memory. */
const CALL_MS_MAX = 10_000;
/** A session's diff, or the catalogue of all providers, in bytes. */
const ANSWER_BYTES_MAX = 16 * 1024 * 1024;
/** How long a catalogue is believed, in ms. Models change with OpenCode's configuration. */
const CATALOGUE_MS_MAX = 600_000;

/**
 * What of a model may leave this machine. Left out, whatever is added later: options, headers, variants, addresses and
 * keys, which a person's configuration may hold.
 */
const SAFE_MODEL_MEMBERS = [
	"id",
	"providerID",
	"name",
	"family",
	"capabilities",
	"cost",
	"limit",
	"status",
	"release_date",
] as const;

type Model = Readonly<Record<string, unknown>>;

/** What OpenCode's own share carries and only OpenCode's API tells: a session's diff, and the models it used. */
export class ServerExtras {
	readonly #address: ServerAddress;
	readonly #clock: Clock;
	/** By directory: a project may configure models of its own. */
	readonly #catalogues = new Map<string, { readonly at: number; readonly models: ReadonlyMap<string, Model> }>();

	constructor(address: ServerAddress, clock: Clock = systemClock) {
		this.#address = address;
		this.#clock = clock;
	}

	/**
	 * Asks for `session_diff` and `model` of a session. Never throws: what cannot be had is left out.
	 *
	 * To be called for sessions that this server has just rung for, when the ring was settled: asking about a directory
	 * that the server does not work in would make it start there.
	 *
	 * @param models what the session's user messages were sent to, in order of first use; by default the model that the
	 * session uses now.
	 */
	async extras(
		sessionId: string,
		directory: string,
		options: { readonly models?: readonly ModelRef[]; readonly signal?: AbortSignal } = {},
	): Promise<Change[]> {
		const get = (path: string) => {
			const deadline = AbortSignal.timeout(CALL_MS_MAX);
			const signal = options.signal ? AbortSignal.any([options.signal, deadline]) : deadline;
			return getJson(endpoint(this.#address, path, { directory }), this.#address, ANSWER_BYTES_MAX, signal);
		};
		const session = `/session/${encodeURIComponent(sessionId)}`;
		const found = await Promise.all([
			orNothing(async () => {
				const diff = await get(`${session}/diff`);
				if (!Array.isArray(diff)) throw new Error("OpenCode's diff is no list");
				return change("session_diff", keys.sessionDiff, diff);
			}),
			orNothing(async () => {
				const refs = options.models ?? currentModel(await get(session));
				const models = await this.#models(directory, refs, () => get("/config/providers"));
				return models.length === 0 ? undefined : change("model", keys.model, models);
			}),
		]);
		return found.filter((entity) => entity !== undefined);
	}

	async #models(directory: string, refs: readonly ModelRef[], fetch: () => Promise<unknown>): Promise<Model[]> {
		const wanted = [...new Set(refs.map(({ providerID, modelID }) => `${providerID}/${modelID}`))];
		if (wanted.length === 0) return [];
		let catalogue = this.#catalogues.get(directory);
		if (catalogue === undefined || catalogue.at + CATALOGUE_MS_MAX <= this.#clock.now()) {
			catalogue = { at: this.#clock.now(), models: catalogueOf(await fetch()) };
			this.#catalogues.set(directory, catalogue);
		}
		const { models } = catalogue;
		return wanted.map((name) => models.get(name)).filter((model) => model !== undefined);
	}
}

async function orNothing<T>(body: () => Promise<T>): Promise<T | undefined> {
	return body().catch(() => undefined);
}

function change(type: "session_diff" | "model", key: string, value: unknown): Change {
	return { event_id: null, seq: null, type, key, payload: canonicalJson(value) };
}

function currentModel(session: unknown): ModelRef[] {
	const model = (session as { model?: { id?: unknown; providerID?: unknown } | null } | null)?.model;
	if (typeof model?.id !== "string" || typeof model.providerID !== "string") return [];
	return [{ providerID: model.providerID, modelID: model.id }];
}

/** The safe members of every model in an answer of `/config/providers`, by `provider/model`. */
function catalogueOf(answer: unknown): Map<string, Model> {
	const { providers } = answer as { providers: { id: string; models: Record<string, Record<string, unknown>> }[] };
	const models = new Map<string, Model>();
	for (const provider of providers) {
		for (const [modelId, model] of Object.entries(provider.models)) {
			const members = SAFE_MODEL_MEMBERS.filter((name) => model[name] !== undefined);
			models.set(`${provider.id}/${modelId}`, Object.fromEntries(members.map((name) => [name, model[name]])));
		}
	}
	return models;
}
