ALTER TABLE `retired` ADD `kind` text DEFAULT 'slug' NOT NULL;--> statement-breakpoint
CREATE INDEX `share_owner` ON `share` (`owner`,`share_id`);