/** Who calls, as a redemption found it. What it may do is judged anew in every transaction. */
export interface Holder {
	readonly share_id: string;
	readonly scope: "append" | "view";
	readonly capability_epoch: number;
	/** Whom the share belongs to: the hash of a server key. */
	readonly owner: string;
	/** The secret it was redeemed with, so that a revocation that keeps it can tell it again; null for scope "view". */
	readonly secret: string | null;
}
