import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readFileSync, type Stats, statSync } from "node:fs";
import { createSecureContext } from "node:tls";
import type { Clock } from "../model/clock.ts";
import { messageOf, OutboxError } from "../model/errors.ts";
import type { Logger } from "../model/logger.ts";

/** Where a certificate (with its chain) and its key lie, each PEM. */
export interface CertificateFiles {
	readonly certPath: string;
	readonly keyPath: string;
}

export interface Certificate {
	readonly cert: string;
	readonly key: string;
	/** Epoch ms. */
	readonly expiresAt: number;
}

/** How often the files are looked at, in ms: a renewal comes weeks before the old one ends. */
export const CERTIFICATE_LOOK_MS = 10_000;

/** From here on the log says daily that a certificate ends, in ms: renewals are made a month before. */
const EXPIRES_SOON_MS = 7 * 86_400_000;
const DAY_MS = 86_400_000;

/**
 * Reads a certificate and its key, and makes sure that they can be served with.
 *
 * @throws OutboxError config: a file that is missing, or none of the kind; a key that others can read, or that is of
 * another certificate; a certificate that is not valid now.
 */
export function readCertificate({ certPath, keyPath }: CertificateFiles, now: number): Certificate {
	const cert = read(certPath, "certificate");
	const key = read(keyPath, "key");
	refuseOpenKey(keyPath);
	const parsed = attempt(`The TLS certificate ${certPath} is none`, () => new X509Certificate(cert));
	const privateKey = attempt<KeyObject>(`The TLS key ${keyPath} is none (PEM, without a passphrase)`, () =>
		createPrivateKey(key),
	);
	if (!parsed.checkPrivateKey(privateKey))
		throw new OutboxError("config", `The TLS key ${keyPath} is not the key of the certificate ${certPath}.`, {
			hint: "Name the two files that were made together; in a chain, the server's own certificate comes first.",
		});
	const [from, until] = [Date.parse(parsed.validFrom), Date.parse(parsed.validTo)];
	if (now > until || now < from) {
		const when = now > until ? `has expired on ${dateOf(until)}` : `is not valid before ${dateOf(from)}`;
		throw new OutboxError("config", `The TLS certificate ${certPath} ${when}.`, {
			hint: "Renew it, or set this machine's clock right.",
		});
	}
	attempt("TLS does not take the certificate and its key", () => createSecureContext({ cert, key }));
	return { cert, key, expiresAt: until };
}

/**
 * Looks for a renewed certificate until `stop`, and hands it to `use`; a wrong one is told once and the old one stays.
 *
 * @returns looks at once, for a SIGHUP.
 */
export function followCertificate(
	files: CertificateFiles,
	first: Certificate,
	use: (certificate: Certificate) => void,
	{ clock, logger, stop }: { clock: Clock; logger: Logger; stop: AbortSignal },
): () => void {
	let seen = marksOf(files);
	let { expiresAt } = first;
	let toldAt = Number.NEGATIVE_INFINITY;
	const load = () => {
		seen = marksOf(files);
		try {
			const certificate = readCertificate(files, clock.now());
			use(certificate);
			expiresAt = certificate.expiresAt;
			logger.info({ expires_at: expiresAt }, "The TLS certificate was read again.");
		} catch (error) {
			logger.error({ err: messageOf(error) }, "The new TLS certificate is of no use; the one from before goes on.");
		}
	};
	const look = async () => {
		while (!stop.aborted) {
			if (marksOf(files) !== seen) load();
			const now = clock.now();
			if (expiresAt - now < EXPIRES_SOON_MS && Math.abs(now - toldAt) >= DAY_MS) {
				toldAt = now;
				logger.warn({ expires_at: expiresAt }, `The TLS certificate expires on ${dateOf(expiresAt)}. Renew it.`);
			}
			await clock.sleep(CERTIFICATE_LOOK_MS, stop);
		}
	};
	void look();
	return load;
}

/** What changes when a file is written, renamed over, or reached by another link. */
function marksOf({ certPath, keyPath }: CertificateFiles): string {
	const mark = (stat: Stats | undefined) => [stat?.ino, stat?.mtimeMs, stat?.size].join(":");
	return [certPath, keyPath].map((path) => mark(statSync(path, { throwIfNoEntry: false }))).join(" ");
}

function read(path: string, what: string): string {
	return attempt(`The TLS ${what} file ${path} cannot be read`, () => readFileSync(path, "utf8"));
}

/** As with the server's own key: a file of this user that others can read is refused; a mounted one is its owner's business. */
function refuseOpenKey(path: string): void {
	const { mode, uid } = statSync(path);
	if (process.platform === "win32" || uid !== process.getuid?.() || (mode & 0o077) === 0) return;
	const octal = (mode & 0o777).toString(8).padStart(4, "0");
	throw new OutboxError("config", `The TLS key file ${path} can be read by others (mode ${octal}).`, {
		hint: `chmod 600 ${path}`,
	});
}

/** OpenSSL's words name a place in a file and never what is in it. */
function attempt<T>(what: string, act: () => T): T {
	try {
		return act();
	} catch (error) {
		throw new OutboxError("config", `${what} (${messageOf(error)}).`, { cause: error });
	}
}

function dateOf(at: number): string {
	return new Date(at).toISOString().slice(0, 10);
}
