import { ShareRefusal } from "../protocol/refusal.ts";

export function notFound(): ShareRefusal {
	return new ShareRefusal("not_found", "There is no such share.");
}

/** Code revoked for a tombstone. */
export function refuseGone({ deleted_at, expired_at }: { deleted_at: number | null; expired_at: number | null }): void {
	if (deleted_at === null) return;
	if (expired_at === null) throw new ShareRefusal("revoked", "The share was deleted.", { details: { deleted: true } });
	const message = "The server has let the share go, as nothing had changed in it for long.";
	throw new ShareRefusal("revoked", message, { details: { expired_at } });
}

export function rotated(): ShareRefusal {
	return new ShareRefusal("revoked", "The credential was rotated away.");
}

/** To the holder of what a claim has taken from it; `denied`, as to anybody whose credential does not fit. */
export function claimed(claimed_at: number): ShareRefusal {
	const message = "The share was taken over by another machine of its owner.";
	return new ShareRefusal("denied", message, { details: { claimed_at } });
}

export function noScope(): ShareRefusal {
	return new ShareRefusal("denied", "Who only has the link may only look.");
}

export function stale(capability_epoch: number): ShareRefusal {
	const message = `The share's epoch is ${capability_epoch} now. Redeem it again.`;
	return new ShareRefusal("stale_epoch", message, { details: { capability_epoch } });
}
