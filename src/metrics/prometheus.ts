/** All that needs prom-client, to be loaded at once and only where it is wanted. */
export { AgentMetrics } from "./agent.ts";
export { startEndpoint } from "./endpoint.ts";
export { Metrics } from "./registry.ts";
export { ServerMetrics } from "./server.ts";
