const KIB = 1024;
const MIB = 1024 * KIB;

/**
 * What a share server takes, and a client keeps to. The redemption tells these; a server may tell lower ones.
 *
 * Sizes of payloads are in UTF-8 bytes.
 */
export const LIMITS = {
	/** Ops in one batch. From 100 on the cost per op is flat on both transports. */
	ops_per_batch: 500,
	/** Payload bytes of one batch, unless its only op is larger. Keeps one commit and one reply short. */
	batch_bytes: MIB,
	/** Payload bytes of one op: one streamed answer, one pasted image. Larger ops are buried, visibly. */
	op_bytes: 8 * MIB,
	/** Nesting of a payload. Deeper JSON is no session content, and recursion has an end. */
	payload_depth: 128,
	/** Sealed, unacknowledged ops of one session on the client. The ledger must remember twice as many. */
	sealed_ops: 2000,
} as const;
export type ShareLimits = { readonly [Name in keyof typeof LIMITS]: number };

/** Op ids that a share remembers: at least twice `sealed_ops`, which makes the bounded ledger exact (server/ledger.ts). */
export const LEDGER_OPS = 2 * LIMITS.sealed_ops + 96;

/** Bytes of one message on the wire: JSON in JSON at most doubles a payload, plus the envelope. */
export const MESSAGE_BYTES_MAX = 2 * LIMITS.op_bytes + 2 * MIB;

/** Nesting of a message on the wire; payloads are text and do not count. */
export const MESSAGE_DEPTH_MAX = 32;

/**
 * Values in one message on the wire, counted by commas and brackets outside of texts. A full batch has some 6,000, a POST
 * of 1,000 calls 10,000; parsing as many as these takes a few ms, parsing 18 MiB of `[[],[],...` took seconds.
 */
export const MESSAGE_VALUES_MAX = 65_536;

/**
 * Values in one sync of OpenCode's own share, counted likewise. It tells a whole session at once: 20,000 parts of some 25
 * values. Parsing as many takes some 50 ms.
 */
export const SYNC_VALUES_MAX = 8 * MESSAGE_VALUES_MAX;

/** Nesting of such a sync: what is deeper than a payload may be is refused item by item, up to where recursion has an end. */
export const SYNC_DEPTH_MAX = 1000;

/**
 * The slowest link that is served: 8 KiB/s, an old phone's. What is under way may take as long as that on top of a
 * deadline, so that a large op gets through instead of being cut off for ever; what comes slower is let go of.
 */
export const SLOWEST_LINK_BYTES_PER_MS = 8;

/** Bytes that an op takes on the wire besides its payload: ids, position, key. */
export const OP_ENVELOPE_BYTES = 300;

/** Characters of an id on the wire (op, batch, session, share, create key). */
export const ID_CHARS_MAX = 200;

/** Characters of an entity key: `part/` and two ids. */
export const KEY_CHARS_MAX = 500;

/** Digests in one page of `entityDigests`: about 100 KB on the wire. */
export const DIGESTS_PER_PAGE = 1000;
export const DIGEST_PAGE_BYTES = 150 * KIB;

/** Shares in one page of `listShares`: at most about 500 KB on the wire. */
export const LISTINGS_PER_PAGE = 100;

export const LISTING_PAGE_BYTES = 500 * KIB;

/** Characters of a title, and of a directory, in a listing; longer ones are cut. */
export const LISTING_TEXT_CHARS_MAX = 1000;

/** Ops in one delivery to a watcher. */
export const WATCH_OPS_PER_DELIVERY = 200;

/**
 * The longest wait that a server may ask for, in ms. A longer one could not be told from a clock that was set back, after
 * which a client must not wait for ever; it comes again then, and is told again.
 */
export const RETRY_AFTER_MS_MAX = 600_000;

/** Characters of one live delta: text while it is being written. */
export const DELTA_CHARS_MAX = 64 * KIB;
