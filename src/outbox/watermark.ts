import type { Watermark } from "../model/op.ts";

/** A watermark as two columns hold it; null when it was never set. */
export function watermarkOf(row: {
	watermark_seq: number | null;
	watermark_event_id: string | null;
}): Watermark | null {
	if (row.watermark_seq === null || row.watermark_event_id === null) return null;
	return { seq: row.watermark_seq, event_id: row.watermark_event_id };
}
