import { ShareRefusal } from "../protocol/refusal.ts";
import { credentialHash, sameHash } from "./credential.ts";

/** Whom a share can belong to: the holders of the server keys. */
export class Owners {
	readonly #hashes: readonly string[];

	constructor(serverKeys: readonly string[]) {
		this.#hashes = serverKeys.map(credentialHash);
	}

	/** The owner that a key names. Looks at every key, whichever fits, so that the time tells nothing. Code denied. */
	of(serverKey: string): string {
		const hash = credentialHash(serverKey);
		const fits = this.#hashes.map((owner) => sameHash(owner, hash));
		if (!fits.includes(true)) throw new ShareRefusal("denied", "The server key is not one of this server's.");
		return hash;
	}
}
