CREATE TABLE `audit` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`at` integer NOT NULL,
	`event` text NOT NULL,
	`method` text NOT NULL,
	`share_id` text,
	`code` text
);
--> statement-breakpoint
CREATE INDEX `audit_share_id` ON `audit` (`share_id`);--> statement-breakpoint
CREATE TABLE `entity` (
	`share_id` text NOT NULL,
	`key` text NOT NULL,
	`type` text NOT NULL,
	`payload` text,
	`digest` text,
	`bytes` integer NOT NULL,
	`position` integer NOT NULL,
	PRIMARY KEY(`share_id`, `key`)
);
--> statement-breakpoint
CREATE UNIQUE INDEX `entity_position` ON `entity` (`share_id`,`position`);--> statement-breakpoint
CREATE TABLE `ledger` (
	`share_id` text NOT NULL,
	`position` integer NOT NULL,
	`op_id` text NOT NULL,
	PRIMARY KEY(`share_id`, `position`)
);
--> statement-breakpoint
CREATE UNIQUE INDEX `ledger_op_id` ON `ledger` (`share_id`,`op_id`);--> statement-breakpoint
CREATE TABLE `retired` (
	`hash` text PRIMARY KEY NOT NULL,
	`share_id` text NOT NULL,
	`retired_at` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `share` (
	`share_id` text PRIMARY KEY NOT NULL,
	`owner` text NOT NULL,
	`session_id` text NOT NULL,
	`create_key_hash` text NOT NULL,
	`slug` text NOT NULL,
	`secret_hash` text NOT NULL,
	`capability_epoch` integer NOT NULL,
	`cursor` integer NOT NULL,
	`source_seq` integer,
	`source_event_id` text,
	`created_at` integer NOT NULL,
	`deleted_at` integer
);
--> statement-breakpoint
CREATE UNIQUE INDEX `share_create_key_hash` ON `share` (`create_key_hash`);--> statement-breakpoint
CREATE UNIQUE INDEX `share_slug` ON `share` (`slug`);