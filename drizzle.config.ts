import { defineConfig } from "drizzle-kit";

/** Two databases, one generator: the client's outbox unless `DATABASE=share` asks for the server's. */
const share = process.env.DATABASE === "share";

export default defineConfig({
	dialect: "sqlite",
	schema: share ? "./src/server/share.sql.ts" : "./src/outbox/outbox.sql.ts",
	out: share ? "./migration/share" : "./migration/outbox",
});
