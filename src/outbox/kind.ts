/** How an outbox's file is told apart, apart from its verbs: who only looks at one does not load them. */
export const OUTBOX_KIND = {
	name: "an outbox",
	applicationId: 0x6f636f78,
	migrations: "outbox",
	whenDamaged: "`opencode-outbox run` sets it aside, saves what can be read of it, and compares what was shared.",
} as const;
