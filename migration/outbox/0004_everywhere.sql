ALTER TABLE `agent` ADD `on_delete` text;--> statement-breakpoint
ALTER TABLE `agent` ADD `selection` text;--> statement-breakpoint
ALTER TABLE `session` ADD `updated_at` integer;