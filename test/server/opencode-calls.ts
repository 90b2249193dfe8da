import { secret } from "../evidence/record.ts";

/** What the calls of OpenCode's own share answer. */
export interface Answer {
	readonly status: number;
	readonly json: Record<string, unknown>;
}

/** A share as OpenCode's own share has it. */
export interface OwnShare {
	readonly id: string;
	readonly url: string;
	readonly secret: string;
}

/** The calls of OpenCode's own share, with its headers. */
export class OwnShareClient {
	readonly #url: string;

	constructor(url: string) {
		this.#url = url;
	}

	async call(method: string, path: string, body: unknown, type = "application/json"): Promise<Answer> {
		const response = await fetch(this.#url + path, {
			method,
			headers: { "content-type": type },
			body: typeof body === "string" ? body : JSON.stringify(body),
		});
		return { status: response.status, json: (await response.json()) as Record<string, unknown> };
	}

	async create(sessionID = "ses_1"): Promise<OwnShare> {
		const { status, json } = await this.call("POST", "/api/share", { sessionID });
		if (status !== 200) throw new Error(`create answered ${status}`);
		const share = json as unknown as OwnShare;
		secret("share secret", share.secret);
		return share;
	}

	sync({ id, secret }: Pick<OwnShare, "id" | "secret">, ...data: unknown[]): Promise<Answer> {
		return this.call("POST", `/api/share/${id}/sync`, { secret, data });
	}

	remove({ id, secret }: Pick<OwnShare, "id" | "secret">): Promise<Answer> {
		return this.call("DELETE", `/api/share/${id}`, { secret });
	}

	async data({ id }: Pick<OwnShare, "id">): Promise<unknown> {
		return (await fetch(`${this.#url}/api/share/${id}/data`)).json();
	}
}

export const session = (more: object = {}) => ({ type: "session", data: { id: "ses_1", title: "A title", ...more } });

export const message = (id: string, more: object = {}) => ({
	type: "message",
	data: { id, sessionID: "ses_1", role: "assistant", ...more },
});

export const part = (id: string, messageID: string, more: object = {}) => ({
	type: "part",
	data: { id, messageID, sessionID: "ses_1", type: "text", text: "some text", ...more },
});

export const diff = (...files: string[]) => ({ type: "session_diff", data: files.map((file) => ({ file })) });

export const model = (...ids: string[]) => ({ type: "model", data: ids.map((id) => ({ id })) });
