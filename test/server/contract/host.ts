/** A running share server that a contract is held against. */
export interface Host {
	/** Its origin. It takes SERVER_KEY and OTHER_SERVER_KEY, and has LIMITS as they are. */
	readonly url: string;
	close(): Promise<void>;
}

export const OTHER_SERVER_KEY = "another-server-key-0123456789abcdef";
