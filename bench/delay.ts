import { startProxy } from "../test/fixture/proxy.ts";

/** A process that stands before a port and delays both ways: `delay.ts PORT MS`. Prints its url, and runs until killed. */
const [port, latencyMs] = process.argv.slice(2).map(Number);
const proxy = await startProxy({ targetPort: port ?? 0 });
proxy.faults.latencyMs = latencyMs ?? 0;
process.stdout.write(`${JSON.stringify(proxy.url)}\n`);
