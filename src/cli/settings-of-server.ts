import { RATES, type Rate } from "../protocol/rates.ts";
import { DURATION_FORM } from "./duration.ts";
import {
	BYTES_OR_OFF,
	COUNT_OR_OFF,
	COUNT_RATE,
	COUNT_RATE_FORM,
	none,
	RETAIN,
	SIZE_RATE,
	SIZE_RATE_FORM,
	SWITCH,
} from "./setting-forms.ts";
import type { Setting } from "./settings-table.ts";
import { SIZE_FORM } from "./size.ts";

/** What can be set of a share server that this program starts: `serve`, or the one of `run`. */
export interface ServerSettings {
	/** Whether OpenCode's own share may make shares on it. */
	readonly opencodeShare: boolean;
	/** What one client may do (protocol/rates.ts); undefined: as much as it likes. */
	readonly limitCreates: Rate | undefined;
	readonly limitRedemptions: Rate | undefined;
	readonly limitGuesses: Rate | undefined;
	readonly limitAppend: Rate | undefined;
	/** How long a share may be unchanged; undefined: for ever. */
	readonly retainMs: number | undefined;
	/** What may be held (server/quota.ts); undefined: whatever is sent. */
	readonly shareBytesMax: number | undefined;
	readonly ownerBytesMax: number | undefined;
	readonly ownerSharesMax: number | undefined;
}

export const SERVER_FIELDS = {
	"opencode-share": "opencodeShare",
	"limit-creates": "limitCreates",
	"limit-redemptions": "limitRedemptions",
	"limit-guesses": "limitGuesses",
	"limit-append": "limitAppend",
	retain: "retainMs",
	"share-bytes-max": "shareBytesMax",
	"owner-bytes-max": "ownerBytesMax",
	"owner-shares-max": "ownerSharesMax",
} as const satisfies Record<string, keyof ServerSettings>;

type Table = { readonly [Name in keyof typeof SERVER_FIELDS]: Setting<ServerSettings[(typeof SERVER_FIELDS)[Name]]> };

const NO_LIMIT = { fallback: none, fallbackText: "off" };
const PER_MINUTE = { hint: "N/DURATION|off", expected: COUNT_RATE_FORM };

export const SERVER_SETTINGS: Table = {
	"opencode-share": {
		...{ field: "opencodeShare", hint: "off|on", expected: "off or on" },
		parse: SWITCH,
		fallback: () => false,
		fallbackText: "off",
		doc: "on lets OpenCode's own share (config enterprise.url) make shares on this server, without a key: everybody who reaches it.",
	},
	"limit-creates": {
		...{ field: "limitCreates", ...PER_MINUTE, parse: COUNT_RATE },
		fallback: () => RATES.creates,
		fallbackText: "6000/1m",
		doc: "Shares that one client address, and one server key, may make in that time.",
	},
	"limit-redemptions": {
		...{ field: "limitRedemptions", ...PER_MINUTE, parse: COUNT_RATE },
		fallback: () => RATES.redemptions,
		fallbackText: "12000/1m",
		doc: "Keys, secrets and links that one client address may show in that time.",
	},
	"limit-guesses": {
		...{ field: "limitGuesses", ...PER_MINUTE, parse: COUNT_RATE },
		fallback: () => RATES.guesses,
		fallbackText: "600/1m",
		doc: "Wrong keys, secrets and links of one client address in that time, before it is not told any more which are right.",
	},
	"limit-append": {
		...{ field: "limitAppend", hint: "SIZE/DURATION|off", expected: SIZE_RATE_FORM },
		parse: SIZE_RATE,
		fallback: () => RATES.appendBytes,
		fallbackText: "64MiB/1s",
		doc: "What one client address, and one server key, may append in that time.",
	},
	retain: {
		...{ field: "retainMs", hint: "DURATION|off", expected: `${DURATION_FORM}, from 1h to 10000d, or off` },
		parse: RETAIN,
		...NO_LIMIT,
		doc: "Let go of shares in which nothing has changed for so long; their agents are told, and keep what they have.",
	},
	"share-bytes-max": {
		...{ field: "shareBytesMax", hint: "SIZE|off", expected: `${SIZE_FORM}, from 1MiB, or off` },
		parse: BYTES_OR_OFF,
		...NO_LIMIT,
		doc: "What one share may hold; more waits in its agent's outbox.",
	},
	"owner-bytes-max": {
		...{ field: "ownerBytesMax", hint: "SIZE|off", expected: `${SIZE_FORM}, from 1MiB, or off` },
		parse: BYTES_OR_OFF,
		...NO_LIMIT,
		doc: "What all shares of one server key may hold together.",
	},
	"owner-shares-max": {
		...{ field: "ownerSharesMax", hint: "N|off", expected: "a number from 1, or off" },
		parse: COUNT_OR_OFF,
		...NO_LIMIT,
		doc: "How many shares one server key may have.",
	},
};

/** What `serve`, and the server of `run`, take of it alike; rates are for who comes from elsewhere. */
export function ownServerOf(settings: ServerSettings) {
	const { opencodeShare, retainMs, shareBytesMax, ownerBytesMax, ownerSharesMax } = settings;
	const quotas = { shareBytes: shareBytesMax, ownerBytes: ownerBytesMax, ownerShares: ownerSharesMax };
	return { opencodeShare, retainMs, quotas };
}
