import { OutboxError } from "../model/errors.ts";
import { codeOf } from "./reply.ts";

/**
 * Codes with which a certificate fails (https://nodejs.org/api/tls.html#x509-certificate-error-codes): no retry mends them,
 * and no other way to the same server either.
 */
const FAULTS: ReadonlySet<string | undefined> = new Set([
	"CERT_CHAIN_TOO_LONG",
	"CERT_HAS_EXPIRED",
	"CERT_NOT_YET_VALID",
	"CERT_REJECTED",
	"CERT_REVOKED",
	"CERT_SIGNATURE_FAILURE",
	"CERT_UNTRUSTED",
	"DEPTH_ZERO_SELF_SIGNED_CERT",
	"ERR_TLS_CERT_ALTNAME_INVALID",
	"HOSTNAME_MISMATCH",
	"INVALID_CA",
	"INVALID_PURPOSE",
	"PATH_LENGTH_EXCEEDED",
	"SELF_SIGNED_CERT_IN_CHAIN",
	"UNABLE_TO_GET_ISSUER_CERT",
	"UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
	"UNABLE_TO_VERIFY_LEAF_SIGNATURE",
]);

/** What to tell of a server whose certificate is not trusted, or undefined where that is not what went wrong. */
export function untrusted(url: string, thrown: unknown): OutboxError | undefined {
	const code = [thrown, thrown instanceof Error ? thrown.cause : undefined].map(codeOf).find((one) => FAULTS.has(one));
	if (code === undefined) return undefined;
	const { host } = new URL(url);
	return new OutboxError("untrusted", `The certificate of ${host} is not trusted here (${code}).`, { cause: thrown });
}
