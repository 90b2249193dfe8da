/**
 * How both ends of a WebSocket compress messages (permessage-deflate), where both can; the options of `ws`.
 *
 * A conversation says the same again and again: an envelope per op, a tool's output that grows. What a client sends refers to
 * its last 32 KiB; what a server sends refers to nothing, so that a thousand idle watchers cost it no memory.
 */
const OPTIONS = {
	/**
	 * Bytes from which on a message is compressed. Calls that bear a secret are smaller, and must stay so: beside text that
	 * others choose, the length of what is compressed would tell of it.
	 */
	threshold: 1024,
	serverNoContextTakeover: true,
	/** A level above 1 takes three times as long for a tenth less. */
	zlibDeflateOptions: { level: 1 },
	/** A full batch comes out of the thread pool in one turn instead of ten. */
	zlibInflateOptions: { chunkSize: 128 * 1024 },
};

/** Not on Bun: where its own `ws` runs both ends (OpenCode's 1.3.14), messages that are compressed do not arrive. */
export const DEFLATE = process.versions.bun === undefined && OPTIONS;
