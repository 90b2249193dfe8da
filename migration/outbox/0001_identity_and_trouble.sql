ALTER TABLE `agent` ADD `capture_paused` text;--> statement-breakpoint
ALTER TABLE `agent` ADD `damage` text;--> statement-breakpoint
ALTER TABLE `session` ADD `generation` integer DEFAULT 0 NOT NULL;