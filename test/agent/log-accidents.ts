/** What tools and upgrades were reported to do to a session's log, and whether it can still be tailed afterwards. */
export const ACCIDENTS: readonly [name: string, sql: string, isTailed: boolean][] = [
	["wiped, its counter too, as upgrades do", "DELETE FROM event_sequence WHERE aggregate_id = $id", false],
	["wiped, its counter kept", "DELETE FROM event WHERE aggregate_id = $id", false],
	["pruned below a number", "DELETE FROM event WHERE aggregate_id = $id AND seq < 8", true],
	["pruned of its newest events", "DELETE FROM event WHERE aggregate_id = $id AND seq > 8", false],
	[
		"pruned and numbered from 0 again",
		`DELETE FROM event WHERE aggregate_id = $id AND seq < 5;
		UPDATE event SET seq = seq + 1000000 WHERE aggregate_id = $id;
		UPDATE event SET seq = seq - 1000005 WHERE aggregate_id = $id;
		UPDATE event_sequence SET seq = seq - 5 WHERE aggregate_id = $id`,
		false,
	],
	[
		"given another event under a known number",
		`UPDATE event SET id = 'evt_of_another' || substr(aggregate_id, 4), data = '{}' WHERE aggregate_id = $id
			AND seq = (SELECT max(seq) FROM event WHERE aggregate_id = $id)`,
		false,
	],
	["rewritten below what was captured", "UPDATE event SET data = '{}' WHERE aggregate_id = $id AND seq < 8", true],
];
