CREATE TABLE `owner` (
	`owner` text PRIMARY KEY NOT NULL,
	`bytes` integer NOT NULL,
	`shares` integer NOT NULL
);
--> statement-breakpoint
ALTER TABLE `share` ADD `bytes` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `share` ADD `changed_at` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `share` ADD `expired_at` integer;--> statement-breakpoint
CREATE INDEX `share_changed_at` ON `share` (`changed_at`) WHERE "share"."deleted_at" IS NULL;--> statement-breakpoint
UPDATE `share` SET
	`bytes` = (SELECT coalesce(sum(`entity`.`bytes`), 0) FROM `entity` WHERE `entity`.`share_id` = `share`.`share_id`),
	`changed_at` = CAST(strftime('%s', 'now') AS integer) * 1000;--> statement-breakpoint
INSERT INTO `owner` (`owner`, `bytes`, `shares`)
	SELECT `owner`, sum(`bytes`), count(*) FROM `share` WHERE `deleted_at` IS NULL GROUP BY `owner`;
