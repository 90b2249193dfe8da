ALTER TABLE `session` ADD `pending_ops` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `session` ADD `pending_bytes` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
UPDATE `session` SET (`pending_ops`, `pending_bytes`) = (SELECT count(*), coalesce(sum(`bytes`), 0) FROM `op`
	WHERE `op`.`session_id` = `session`.`session_id` AND `op`.`id` > `session`.`acked_id`);
