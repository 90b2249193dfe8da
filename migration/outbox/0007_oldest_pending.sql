ALTER TABLE `session` ADD `oldest_pending_at` integer;--> statement-breakpoint
UPDATE `session` SET `oldest_pending_at` = (SELECT `captured_at` FROM `op`
	WHERE `op`.`session_id` = `session`.`session_id` AND `op`.`id` > `session`.`acked_id` ORDER BY `op`.`id` LIMIT 1);
