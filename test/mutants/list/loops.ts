import { type Mutant, SIMULATION } from "../mutant.ts";

/** What sends, waits and captures. */
export const LOOPS: readonly Mutant[] = [
	{
		name: "ack-before-commit",
		guarantee: "G1",
		does: "Acknowledges a batch as soon as it is sent, before the server has committed and answered.",
		file: "agent/replay.ts",
		find: "flights.push(this.#launch(reserved, handle));",
		replace:
			"flights.push(this.#launch(reserved, handle));\n\t\t\t\t\toutbox.ack(sessionId, reserved.first_position + reserved.ops.length, clock.now());",
		caughtBy: ["agent/replay-window.test.ts", SIMULATION],
	},
	{
		name: "drop-on-4xx",
		guarantee: "G1",
		does: "Takes a batch that the server refused as a whole for done with.",
		file: "agent/replay.ts",
		find: 'if ("error" in answered) throw failureOf("use", answered.error);',
		replace: `if ("error" in answered) {
			const failure = failureOf("use", answered.error);
			if (failure.outcome === "unknown") throw failure;
			return { cursor: (batch.ops.at(-1)?.expected_cursor ?? -1) + 1 };
		}`,
		caughtBy: ["agent/replay.test.ts", SIMULATION],
	},
	{
		name: "bury-on-a-500",
		guarantee: "G1",
		does: "Sets the first op of a batch aside that the server answered with HTTP 500.",
		file: "agent/replay.ts",
		find: 'if ("error" in answered) throw failureOf("use", answered.error);',
		replace: `if ("error" in answered) {
			const failure = failureOf("use", answered.error);
			if (!/HTTP 5/.test(failure.message)) throw failure;
			const position = batch.ops[0]?.expected_cursor ?? 0;
			return { cursor: position, rejected: { position, code: "invalid_payload", reason: failure.message } };
		}`,
		caughtBy: ["agent/replay-window.test.ts", SIMULATION],
	},
	{
		name: "seal-before-redeeming",
		guarantee: "G2",
		does: "Seals what is pending before it is known where the share stands and what it takes.",
		file: "agent/replay.ts",
		find: "\t\t\t\tconst handle = await this.#redeemer.redeemed(sessionId);\n",
		replace: `
				const own = { ops_per_batch: 500, batch_bytes: 1 << 20, op_bytes: 8 << 20, sealed_ops: 2000 };
				if (outbox.session(sessionId)) outbox.seal(sessionId, own, this.#options.clock.now());
				const handle = await this.#redeemer.redeemed(sessionId);
`,
		caughtBy: ["agent/replay-window.test.ts", SIMULATION],
	},
	{
		name: "answers-out-of-order",
		guarantee: "G1",
		does: "Waits for the youngest batch under way first, whose ack covers those before it.",
		file: "agent/replay.ts",
		find: "const flight = flights.shift();",
		replace: "const flight = flights.pop();",
		caughtBy: ["agent/replay-window.test.ts", SIMULATION],
	},
	{
		name: "ack-on-an-overtakers-word",
		guarantee: "G1",
		does: "Believes a duplicate that comes with a cursor beyond all that was sealed here.",
		file: "agent/replay.ts",
		find: "if (ack.cursor > (this.#options.outbox.line(sessionId)?.sealed_cursor ?? 0))",
		replace: "if (ack.cursor > Number.MAX_SAFE_INTEGER)",
		caughtBy: ["agent/replay.test.ts"],
	},
	{
		name: "keep-the-lease-of-a-failed-flush",
		guarantee: "G6",
		does: "Leaves a batch leased whose ack the local disk did not take.",
		file: "agent/replay.ts",
		find: "\t\t\toutbox.release(sessionId);\n",
		replace: "",
		caughtBy: ["agent/attack.test.ts"],
	},
	{
		name: "send-on-while-unsharing",
		guarantee: "G8",
		does: "Fills the window on after a person has asked to unshare.",
		file: "agent/replay.ts",
		find: 'const goesOn = () => wanted !== "unshare" && wanted !== "delete" && !held',
		replace: "const goesOn = () => !held",
		caughtBy: ["agent/attack.test.ts"],
	},
	{
		name: "take-an-old-duplicate-for-nonsense",
		guarantee: "G4",
		does: "Sends ops again that the server has at other positions, for ever.",
		file: "agent/replay.ts",
		find: "if (isFromEarlier(batch, ack))",
		replace: "if (isFromEarlier(batch, { ...ack, duplicates: [] }))",
		caughtBy: ["agent/earlier.test.ts"],
	},
	{
		name: "delete-on-a-presumption",
		guarantee: "G1",
		does: "Deletes a share with its session though nobody knows which database was captured from.",
		file: "agent/capture.ts",
		find: 'this.#onDelete === "delete" && presumed !== true',
		replace: 'this.#onDelete === "delete"',
		caughtBy: ["agent/on-delete.test.ts"],
	},
	{
		name: "forget-the-due-time",
		guarantee: "G7",
		does: "Connects at once, whatever the outbox says when the next attempt is due.",
		file: "agent/flusher.ts",
		find: "\t\tawait this.#untilDue(signal);\n\t\tif (signal.aborted) return undefined;",
		replace: "\t\tif (signal.aborted) return undefined;",
		caughtBy: ["agent/flusher.test.ts"],
	},
	{
		name: "every-session-is-due",
		guarantee: "G7",
		does: "Flushes sessions that were put off.",
		file: "agent/flusher.ts",
		find: "isDue(row.next_retry_at, now, SESSION_BACKOFF);",
		replace: "row.next_retry_at >= 0;",
		caughtBy: ["agent/attack.test.ts"],
	},
	{
		name: "wait-for-a-clock-that-was-set-back",
		guarantee: "G1",
		does: "Waits for a due time however far away it is.",
		file: "agent/flusher.ts",
		find: " || at - now > 2 * backoff.capMs",
		replace: "",
		caughtBy: ["agent/flusher.test.ts", SIMULATION],
	},
	{
		name: "a-connection-counts-as-success",
		guarantee: "G7",
		does: "Forgets the failed attempts as soon as a server accepts, though it hangs up at once.",
		file: "agent/flusher.ts",
		find: 'server_state: "connected", last_error: null,',
		replace: 'server_state: "connected", last_error: null, connect_attempts: 0, next_connect_at: 0,',
		caughtBy: ["agent/attack.test.ts"],
	},
	{
		name: "one-session-at-a-time",
		guarantee: "G5",
		does: "Flushes the next session only once the one before it has ended.",
		file: "agent/turns.ts",
		find: "const PLACES = 8;",
		replace: "const PLACES = 1;",
		caughtBy: ["isolation/turns.test.ts", "agent/flusher.test.ts"],
	},
	{
		name: "spin-on-a-full-disk",
		guarantee: "G7",
		does: "Flushes a session again at once that the local disk would not take the ack of.",
		file: "agent/flusher.ts",
		find: "return clock.sleep(DISK_WAIT_MS, signal);",
		replace: "",
		caughtBy: ["agent/attack.test.ts"],
	},
	{
		name: "capture-marks-the-deleted-twice",
		guarantee: "G4",
		does: "Does not take the mark back of a session that is deleted and there again.",
		file: "outbox/append.ts",
		find: "for (const key of [keys.sessionDeleted, keys.session]) forgetEntity.run(session_id, key);",
		replace: "forgetEntity.run(session_id, keys.session);",
		caughtBy: ["agent/attack.test.ts"],
	},
];
