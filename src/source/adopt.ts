import { sameWatermark } from "../model/op.ts";
import type { Heard, HeardSession } from "./heard.ts";
import type { Jobs } from "./jobs.ts";
import type { Captured } from "./source.ts";

/** True for what is captured as present. */
export function isWatched({ deleted, vanished, unwanted }: Captured): boolean {
	return !deleted && !vanished && !unwanted;
}

/** Decides by what is captured of a session whether what is heard can be put on top of it, or it is to be snapshotted. */
export function adopt(heard: Heard, jobs: Jobs, session: HeardSession, entry: Captured | undefined): void {
	if (jobs.has(session)) return;
	if (entry === undefined || entry.empty) {
		session.told = undefined;
		if (!session.isNewborn || entry?.watermark) heard.suspect(session, "it was not captured yet");
	} else if (session.isAbsent) heard.suspect(session, "OpenCode does not list it");
	else if (entry.deleted || entry.vanished) heard.suspect(session, "it was gone and is there again");
	else if (session.told === undefined) {
		if (entry.updated_at !== session.facts?.updated_at) heard.suspect(session, "its row has changed since");
	} else if (!sameWatermark(session.told, entry.watermark)) {
		session.told = undefined;
		heard.suspect(session, "its capture was moved by another process");
	}
}

/** Nobody wants a session now; when somebody does again, nothing that was heard before counts. */
export function leaveOut(heard: Heard, session: HeardSession): void {
	heard.suspect(session, "it was left out until now");
	Object.assign(session, { told: undefined, isCovered: false, isScrubbed: false });
}
