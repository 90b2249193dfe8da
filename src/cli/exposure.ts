import { isLoopback, Networks } from "../model/address.ts";
import { OutboxError } from "../model/errors.ts";
import { expandPath } from "./paths.ts";
import { httpAddress, URL_FORM } from "./setting-forms.ts";
import { printable } from "./terminal.ts";

/** Flags of `serve` that say who reaches it, and how. */
export const EXPOSURE_ARGS = {
	host: {
		type: "string",
		valueHint: "HOST",
		default: "127.0.0.1",
		description: "Address to listen on. One that others reach takes --tls-cert and --tls-key, or --trusted-proxy.",
	},
	"public-url": {
		type: "string",
		valueHint: "URL",
		description: "Where people reach it, when that is not where it listens; the links that it gives out begin so.",
	},
	"tls-cert": {
		type: "string",
		valueHint: "FILE",
		description:
			"Speak TLS (1.2 or newer) with this certificate and its chain, PEM. Read again when it changes, and on SIGHUP.",
	},
	"tls-key": { type: "string", valueHint: "FILE", description: "The certificate's key, PEM, mode 0600." },
	"trusted-proxy": {
		type: "string",
		valueHint: "CIDR[,CIDR]",
		description:
			"Networks of the reverse proxies that speak TLS for it. Their X-Forwarded-For tells whom limits count, and without X-Forwarded-Proto: https they are refused.",
	},
} as const;

export interface Exposure {
	readonly host: string;
	readonly publicUrl: string | undefined;
	readonly tls: { readonly certPath: string; readonly keyPath: string } | undefined;
	readonly trustedProxies: readonly string[];
}

/** What the flags say, where it is safe. Throws OutboxError usage. */
export function exposureOf(args: Readonly<Record<keyof typeof EXPOSURE_ARGS, string | undefined>>): Exposure {
	const { host = "127.0.0.1", "tls-cert": cert, "tls-key": key, "trusted-proxy": proxies } = args;
	if ((cert === undefined) !== (key === undefined))
		throw new OutboxError("usage", `--tls-${cert === undefined ? "key" : "cert"} needs the other one, too.`, {
			hint: "Name both: --tls-cert FILE --tls-key FILE.",
		});
	if (cert !== undefined && process.versions.bun)
		throw new OutboxError("usage", "--tls-cert: TLS needs Node; this runs on Bun.", { hint: "Run `serve` on Node." });
	const trustedProxies = networksOf(proxies);
	if (!isLoopback(host) && cert === undefined && trustedProxies.length === 0)
		throw new OutboxError(
			"usage",
			`--host ${printable(host)} is reached by others, and neither TLS nor a proxy is set.`,
			{
				hint: "Name a certificate with --tls-cert FILE --tls-key FILE, or the networks of a reverse proxy that speaks TLS with --trusted-proxy CIDR; or leave out --host, which listens on loopback.",
			},
		);
	const here = (path: string) => expandPath(path, process.cwd(), process.env);
	return {
		host,
		publicUrl: parsePublicUrl(args["public-url"]),
		tls: cert === undefined || key === undefined ? undefined : { certPath: here(cert), keyPath: here(key) },
		trustedProxies,
	};
}

function networksOf(text: string | undefined): string[] {
	if (text === undefined) return [];
	const networks = text.split(",").map((network) => network.trim());
	try {
		new Networks(networks);
	} catch {
		throw new OutboxError("usage", `--trusted-proxy ${printable(text)}: expected networks like "10.0.0.0/8,fd00::/8".`);
	}
	if (networks.some((network) => /\/0+$/.test(network)))
		throw new OutboxError("usage", `--trusted-proxy ${printable(text)}: everybody is no proxy.`, {
			hint: "Name the proxy's own address or network: whoever comes from there may say who he is.",
		});
	return networks;
}

function parsePublicUrl(text: string | undefined): string | undefined {
	if (text === undefined) return undefined;
	const parsed = httpAddress(text);
	if (parsed === undefined) throw new OutboxError("usage", `--public-url: expected ${URL_FORM}.`);
	return parsed.value;
}
