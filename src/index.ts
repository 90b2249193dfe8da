/** The library: what a program needs to run an agent, a share server, or to read an outbox. */
export { Agent, type AgentOptions, type OpencodeLink } from "./agent/agent.ts";
export { embeddedLink, remoteLink, type ServerLink } from "./agent/server-link.ts";
export { type Difference, differenceOf, expectedDigests, isClean, shareDigests } from "./agent/verify.ts";
export { type Clock, type Random, systemClock } from "./model/clock.ts";
export { ERRORS, type ErrorCode, OutboxError } from "./model/errors.ts";
export { type Logger, silent } from "./model/logger.ts";
export { OP_TYPES, type OpIntent, type OpType, type Watermark } from "./model/op.ts";
export { type Outbox, openOutbox } from "./outbox/outbox.ts";
export { openReport, type Report, type ReportReader } from "./outbox/report.ts";
export { REFUSALS, REJECTIONS, type Refusal, type Rejection } from "./protocol/codes.ts";
export { LIMITS, type ShareLimits } from "./protocol/limits.ts";
export { refusalOf, ShareRefusal } from "./protocol/refusal.ts";
export type { ShareCapability, ShareRpc, Subscription, WatchSink } from "./protocol/rpc.ts";
export type {
	AppendBatch,
	Delta,
	DigestPage,
	DurableOp,
	OpAck,
	ShareGrant,
	ShareRedemption,
	WatchedOp,
} from "./protocol/schema.ts";
export { type ShareServer, type ShareServerOptions, startShareServer } from "./server/node.ts";
export { DatabaseSource } from "./source/database.ts";
export { findOpencodeDatabase } from "./source/discovery.ts";
export type { Doorbell, Ring } from "./source/doorbell.ts";
export { ServerExtras } from "./source/extras.ts";
export { type ServerAddress, serverAddress } from "./source/http.ts";
export { Lane, type LaneOptions } from "./source/lane.ts";
export { OpencodeServer, type OpencodeServerOptions } from "./source/server.ts";
export type { Change, SessionRead, Source } from "./source/source.ts";
export { type CapnwebOptions, capnwebTransport } from "./transport/capnweb.ts";
export type { Connection, RedeemedShare, Transport } from "./transport/transport.ts";
