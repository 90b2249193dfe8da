import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openOutbox } from "../../../src/outbox/outbox.ts";
import { SHARE_DATABASE } from "../../../src/server/node.ts";
import { openDatabase } from "../../../src/sqlite/database.ts";
import { discard } from "../folder.ts";
import { errorLine, recorded } from "../record.ts";
import { tapChildren } from "../taps.ts";

/**
 * Puts three secrets where they belong in the folder that it is given, tells each of them where it may not be, and
 * discards the folder as a fixture does. The test names the secrets and knows every place.
 */
const [folder = "", serverKey = "", createKey = "", secret = ""] = process.argv.slice(2);
tapChildren();
mkdirSync(folder, { recursive: true });
writeFileSync(join(folder, "key"), `${serverKey}\n`, { mode: 0o600 });

const outbox = await openOutbox(join(folder, "outbox.db"));
outbox.ask("ses_1", "embedded", createKey, 1);
const url = "http://127.0.0.1/share/slug-slug-slug-slug";
outbox.granted("ses_1", { share_id: "shr_1", slug: "slug-slug-slug-slug", url, secret, capability_epoch: 1 });
outbox.want("ses_1", "share");
outbox.nack("ses_1", 1, `the server said ${createKey}`);
outbox.close();

const shares = await openDatabase(join(folder, "share.db"), SHARE_DATABASE);
shares.prepare("INSERT INTO audit (at, event, method) VALUES (1, 'refused', ?)").run(secret);
shares.close();

writeFileSync(join(folder, "some.log"), `first\nAuthorization: Basic ${btoa(`user:${serverKey}`)}\n`);

const silent = () => undefined;
recorded({ debug: silent, info: silent, warn: silent, error: silent }).warn({ nested: { create_key: createKey } }, "m");
errorLine(new Error("outer", { cause: new Error(`no ${secret}`) }));

const said = JSON.stringify({ core: JSON.stringify({ deep: JSON.stringify({ createKey }) }) });
const script = "console.log('one\\ntwo\\n' + process.env.SAID); console.error(process.argv[1])";
const child = spawn(process.execPath, ["-e", script, encodeURIComponent(serverKey)], {
	env: { SAID: said },
	stdio: ["ignore", "pipe", "pipe"],
});
await once(child, "close");
discard(folder);
if (existsSync(folder)) throw new Error("the folder is still there");
