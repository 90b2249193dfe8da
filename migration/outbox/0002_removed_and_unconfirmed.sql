CREATE TABLE `removed` (
	`session_id` text NOT NULL,
	`key` text NOT NULL,
	PRIMARY KEY(`session_id`, `key`)
);
--> statement-breakpoint
ALTER TABLE `agent` ADD `acked_session_id` text;--> statement-breakpoint
ALTER TABLE `session` ADD `unconfirmed` integer DEFAULT 0 NOT NULL;