CREATE TABLE `__new_entity` (
	`session_id` text NOT NULL,
	`key` text NOT NULL,
	`digest` blob NOT NULL,
	`checkpoint` text,
	`first_op` integer NOT NULL,
	`last_op` integer NOT NULL,
	PRIMARY KEY(`session_id`, `key`)
) WITHOUT ROWID;
--> statement-breakpoint
INSERT INTO `__new_entity`("session_id", "key", "digest", "checkpoint", "first_op", "last_op")
	SELECT "session_id", "key", coalesce(unhex("digest"), x''), "checkpoint", "first_op", "last_op" FROM `entity` ORDER BY "session_id", "key";--> statement-breakpoint
DROP TABLE `entity`;--> statement-breakpoint
ALTER TABLE `__new_entity` RENAME TO `entity`;
