ALTER TABLE `agent` ADD `redaction` text;--> statement-breakpoint
ALTER TABLE `entity` ADD `checkpoint` text;--> statement-breakpoint
ALTER TABLE `session` ADD `excluded` text;