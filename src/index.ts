/** The library: what a program needs to run an agent, a share server, or to read an outbox. */
export { Agent, type AgentOptions, type OpencodeLink } from "./agent/agent.ts";
export type { LiveOptions } from "./agent/live.ts";
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
export { type Run, ShareView } from "./protocol/live.ts";
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
export { OpencodeApi } from "./source/api.ts";
export { DatabaseSource } from "./source/database.ts";
export { findOpencodeDatabase } from "./source/discovery.ts";
export type { Doorbell, LiveText, Ring } from "./source/doorbell.ts";
export { ServerExtras } from "./source/extras.ts";
export { Heard } from "./source/heard.ts";
export { type ServerAddress, serverAddress } from "./source/http.ts";
export { Lane, type LaneOptions } from "./source/lane.ts";
export { LiveEar, type OpencodeEvent } from "./source/live-ear.ts";
export { ServerSource, type ServerSourceOptions } from "./source/remote.ts";
export { OpencodeServer, type OpencodeServerOptions } from "./source/server.ts";
export type { Change, SessionRead, Source } from "./source/source.ts";
export { type CapnwebOptions, capnwebTransport } from "./transport/capnweb.ts";
export type { Connection, RedeemedShare, Transport } from "./transport/transport.ts";
