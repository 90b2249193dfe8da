ALTER TABLE `share` ADD `last_op_id` text;--> statement-breakpoint
UPDATE `share` SET `last_op_id` = (
	SELECT `op_id` FROM `ledger` WHERE `ledger`.`share_id` = `share`.`share_id` AND `ledger`.`position` = `share`.`cursor` - 1
);--> statement-breakpoint
CREATE TABLE `__new_ledger` (
	`share_id` text NOT NULL,
	`op_id` text NOT NULL,
	`position` integer NOT NULL,
	PRIMARY KEY(`share_id`, `op_id`)
) WITHOUT ROWID;
--> statement-breakpoint
INSERT INTO `__new_ledger`("share_id", "op_id", "position")
	SELECT "share_id", "op_id", "position" FROM `ledger` ORDER BY "share_id", "op_id";--> statement-breakpoint
DROP TABLE `ledger`;--> statement-breakpoint
ALTER TABLE `__new_ledger` RENAME TO `ledger`;
