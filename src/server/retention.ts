import type { Clock } from "../model/clock.ts";
import type { Logger } from "../model/logger.ts";

/**
 * Between two looks for shares to let go of, in ms. Also before the first one, so that a machine that starts with a wrong
 * clock has time to have it set.
 */
export const RETENTION_LOOK_MS = 600_000;

export interface RetentionOptions {
	/** How long a share may be unchanged, in ms. */
	readonly retainMs: number;
	/** Lets go of one share that has not changed since then; undefined when there is none (ShareRules.expire). */
	readonly expire: (at: number) => string | undefined;
	/** Told of each that is gone. */
	readonly onExpired: (shareId: string) => void;
	readonly clock: Clock;
	readonly logger: Logger;
}

/** Lets go of shares in which nothing has changed for long, until `stop`; one at a time, so that others have their turn. */
export async function retain(options: RetentionOptions, stop: AbortSignal): Promise<void> {
	const { retainMs, expire, onExpired, clock, logger } = options;
	for (;;) {
		await clock.sleep(RETENTION_LOOK_MS, stop);
		try {
			for (;;) {
				if (stop.aborted) return;
				const share_id = expire(clock.now() - retainMs);
				if (share_id === undefined) break;
				onExpired(share_id);
				logger.info({ share_id, unchanged_ms: retainMs }, "A share was let go of: nothing had changed in it for long.");
				await new Promise((resolve) => setImmediate(resolve));
			}
		} catch (error) {
			logger.error({ err: error }, "Old shares could not be let go of.");
		}
	}
}
