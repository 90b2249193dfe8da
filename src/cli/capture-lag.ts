import { sameWatermark, type Watermark } from "../model/op.ts";

/** How far captured sessions are behind their logs; one without a log is not told by this. */
export function behind(
	heads: ReadonlyMap<string, Watermark | null>,
	captured: ReadonlyMap<string, Watermark | null>,
): { events: number; sessions: number } {
	let [events, sessions] = [0, 0];
	for (const [id, watermark] of captured) {
		const head = heads.get(id);
		if (head == null || sameWatermark(head, watermark)) continue;
		sessions++;
		events += Math.max(1, head.seq - (watermark?.seq ?? -1));
	}
	return { events, sessions };
}
