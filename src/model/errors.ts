/** How each kind of trouble ends a command: its sysexits code, and what the person can do. */
export const ERRORS = {
	usage: { exit: 64, hint: "Run the command with --help." },
	foreign_database: { exit: 65, hint: "Name another path; the file was left as it is." },
	corrupt: { exit: 65, hint: "The file was left as it is. Move it away to start anew, or restore a backup." },
	dead_letters: {
		exit: 65,
		hint: "`opencode-outbox dead list` shows them with their reasons; `dead revive` or `dead discard` ends them.",
	},
	unknown_schema: {
		exit: 65,
		hint: "This OpenCode stores its sessions in a way this version does not know. Upgrade opencode-outbox.",
	},
	no_such_session: { exit: 66, hint: "`opencode-outbox status` lists the sessions that are known here." },
	no_such_letter: { exit: 66, hint: "`opencode-outbox dead list` lists them." },
	no_such_share: { exit: 66, hint: "Check the link, or whom the server key belongs to." },
	no_database: { exit: 66, hint: "Check the path, and --data-dir; a server makes its database at its first start." },
	no_source: { exit: 66, hint: "Start OpenCode once, or name its database with --opencode-db." },
	unreachable: {
		exit: 69,
		hint: "Check the server's address and that it runs; nothing is lost, ops stay in the outbox.",
	},
	untrusted: {
		exit: 77,
		hint: "Nothing was sent and nothing is lost. Where it is an authority of your own, name its certificate with NODE_EXTRA_CA_CERTS=FILE and start anew; else have the server's certificate renewed, or check the address and this machine's clock.",
	},
	no_opencode: { exit: 69, hint: "Install OpenCode, or name its program with --opencode-bin." },
	not_restored: { exit: 69, hint: "OpenCode's own log says why. Run it again: what was brought is not brought again." },
	port_taken: { exit: 69, hint: "Choose another one with --port, or stop what listens there." },
	internal: { exit: 70, hint: "This is a defect. Please report it with the log." },
	read_only: { exit: 73, hint: "Give this user write permission, or choose another --data-dir." },
	disk_full: { exit: 74, hint: "Free some space; capture goes on by itself, OpenCode keeps the events." },
	outbox_full: {
		exit: 75,
		hint: "It goes on by itself as the server takes what is pending. `status` says what stands in the way; --outbox-max raises the limit.",
	},
	io: { exit: 74, hint: "Check the disk and its permissions." },
	owned: { exit: 75, hint: "Use the agent that runs, or stop it first." },
	busy: { exit: 75, hint: "Try again; it goes on by itself once the other program lets go." },
	server_owned: {
		exit: 75,
		hint: "Name it with --server and --server-key-file, stop it, or choose another --data-dir.",
	},
	older_database: {
		exit: 75,
		hint: "Start `opencode-outbox run` of this version: it brings it up to date, and nothing is lost.",
	},
	not_drained: { exit: 75, hint: "Run it again later; `opencode-outbox status` shows what is pending and why." },
	bad_share: { exit: 76, hint: "Nothing was restored. Check the link; if its server is yours, look into its log." },
	parked: { exit: 77, hint: "`opencode-outbox status` says why and what to do." },
	denied: { exit: 77, hint: "Check the server key." },
	exists: { exit: 77, hint: "Name another file, or overwrite it with --force." },
	diverged: { exit: 77, hint: "Nothing was changed." },
	revoked: { exit: 77, hint: "`opencode-outbox unshare SESSION`, then `share SESSION`, makes a new share." },
	config: { exit: 78, hint: "Mend the setting where it is set." },
	newer_database: { exit: 78, hint: "Upgrade opencode-outbox; the file was left as it is." },
} as const satisfies Record<string, { exit: number; hint: string }>;
export type ErrorCode = keyof typeof ERRORS;

/** Trouble that a person or a caller must hear of. `code` decides; the message says what happened, with the facts. */
export class OutboxError extends Error {
	readonly code: ErrorCode;
	/** What to do next, when the code's own hint is not the best there is. */
	readonly hint: string;

	constructor(code: ErrorCode, message: string, options: { hint?: string; cause?: unknown } = {}) {
		super(message, options.cause === undefined ? {} : { cause: options.cause });
		this.name = "OutboxError";
		this.code = code;
		this.hint = options.hint ?? ERRORS[code].hint;
	}

	get exitCode(): number {
		return ERRORS[this.code].exit;
	}
}

/** The one converter from whatever was thrown; used at the seams. */
export function asOutboxError(thrown: unknown): OutboxError {
	if (thrown instanceof OutboxError) return thrown;
	return new OutboxError("internal", messageOf(thrown), { cause: thrown });
}

export function messageOf(thrown: unknown): string {
	return thrown instanceof Error ? thrown.message : String(thrown);
}
