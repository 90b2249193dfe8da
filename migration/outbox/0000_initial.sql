CREATE TABLE `agent` (
	`id` integer PRIMARY KEY NOT NULL,
	`pid` integer NOT NULL,
	`state` text NOT NULL,
	`since` integer NOT NULL,
	`opencode_db` text,
	`opencode_identity` text,
	`opencode_url` text,
	`opencode_connected` integer DEFAULT false NOT NULL,
	`server_url` text,
	`server_id` text,
	`share_mode` text,
	`transport` text,
	`server_state` text DEFAULT 'unknown' NOT NULL,
	`last_error` text,
	`connect_attempts` integer DEFAULT 0 NOT NULL,
	`next_connect_at` integer DEFAULT 0 NOT NULL
);
--> statement-breakpoint
CREATE TABLE `batch` (
	`batch_id` text PRIMARY KEY NOT NULL,
	`session_id` text NOT NULL,
	`first_id` integer NOT NULL,
	`last_id` integer NOT NULL,
	`first_position` integer NOT NULL,
	`ops` integer NOT NULL,
	`bytes` integer NOT NULL,
	`digest` text NOT NULL,
	`depends` text NOT NULL,
	`watermark_seq` integer,
	`watermark_event_id` text,
	`sealed_at` integer NOT NULL,
	`attempts` integer DEFAULT 0 NOT NULL,
	`lease_owner` text,
	`lease_until` integer DEFAULT 0 NOT NULL
);
--> statement-breakpoint
CREATE INDEX `batch_session_position_idx` ON `batch` (`session_id`,`first_position`);--> statement-breakpoint
CREATE TABLE `dead` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`session_id` text NOT NULL,
	`op_id` text NOT NULL,
	`type` text NOT NULL,
	`key` text NOT NULL,
	`payload` text,
	`bytes` integer NOT NULL,
	`code` text NOT NULL,
	`reason` text NOT NULL,
	`parent_id` integer,
	`buried_at` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `dead_session_idx` ON `dead` (`session_id`);--> statement-breakpoint
CREATE TABLE `entity` (
	`session_id` text NOT NULL,
	`key` text NOT NULL,
	`digest` text NOT NULL,
	`first_op` integer NOT NULL,
	`last_op` integer NOT NULL,
	PRIMARY KEY(`session_id`, `key`)
);
--> statement-breakpoint
CREATE TABLE `op` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`session_id` text NOT NULL,
	`op_id` text NOT NULL,
	`type` text NOT NULL,
	`key` text NOT NULL,
	`payload` text NOT NULL,
	`bytes` integer NOT NULL,
	`hash` text NOT NULL,
	`depends_id` integer,
	`floor_seq` integer,
	`floor_event_id` text,
	`captured_at` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `op_session_id_idx` ON `op` (`session_id`,`id`,`bytes`);--> statement-breakpoint
CREATE TABLE `session` (
	`session_id` text PRIMARY KEY NOT NULL,
	`parent_id` text,
	`title` text DEFAULT '' NOT NULL,
	`directory` text DEFAULT '' NOT NULL,
	`wanted` text DEFAULT 'auto' NOT NULL,
	`source_state` text DEFAULT 'present' NOT NULL,
	`source_note` text,
	`watermark_seq` integer,
	`watermark_event_id` text,
	`acked_id` integer DEFAULT 0 NOT NULL,
	`sealed_id` integer DEFAULT 0 NOT NULL,
	`acked_cursor` integer DEFAULT 0 NOT NULL,
	`sealed_cursor` integer DEFAULT 0 NOT NULL,
	`acked_op_id` text,
	`last_acked_at` integer,
	`attempts` integer DEFAULT 0 NOT NULL,
	`next_retry_at` integer DEFAULT 0 NOT NULL,
	`last_error` text,
	`compare_reason` text,
	`parked_code` text
);
--> statement-breakpoint
CREATE TABLE `share` (
	`session_id` text PRIMARY KEY NOT NULL,
	`server_url` text NOT NULL,
	`create_key` text NOT NULL,
	`share_id` text,
	`slug` text,
	`url` text,
	`secret` text,
	`capability_epoch` integer,
	`created_at` integer NOT NULL
);
