import { RATES, type Rate } from "../protocol/rates.ts";
import { COUNT_RATE, COUNT_RATE_FORM, SIZE_RATE, SIZE_RATE_FORM, SWITCH } from "./setting-forms.ts";
import type { Setting } from "./settings-table.ts";

/** What can be set of a share server that this program starts: `serve`, or the one of `run`. */
export interface ServerSettings {
	/** Whether OpenCode's own share may make shares on it. */
	readonly opencodeShare: boolean;
	/** What one client may do (protocol/rates.ts); undefined: as much as it likes. */
	readonly limitCreates: Rate | undefined;
	readonly limitRedemptions: Rate | undefined;
	readonly limitGuesses: Rate | undefined;
	readonly limitAppend: Rate | undefined;
}

export const SERVER_FIELDS = {
	"opencode-share": "opencodeShare",
	"limit-creates": "limitCreates",
	"limit-redemptions": "limitRedemptions",
	"limit-guesses": "limitGuesses",
	"limit-append": "limitAppend",
} as const satisfies Record<string, keyof ServerSettings>;

type Table = { readonly [Name in keyof typeof SERVER_FIELDS]: Setting<ServerSettings[(typeof SERVER_FIELDS)[Name]]> };

const PER_MINUTE = { hint: "N/DURATION|off", expected: COUNT_RATE_FORM };

export const SERVER_SETTINGS: Table = {
	"opencode-share": {
		...{ field: "opencodeShare", hint: "off|on", expected: "off or on" },
		parse: (text) => SWITCH.safeParse(text),
		fallback: () => false,
		fallbackText: "off",
		doc: "on lets OpenCode's own share (config enterprise.url) make shares on this server, without a key: everybody who reaches it.",
	},
	"limit-creates": {
		...{ field: "limitCreates", ...PER_MINUTE, parse: (text) => COUNT_RATE.safeParse(text) },
		fallback: () => RATES.creates,
		fallbackText: "6000/1m",
		doc: "Shares that one client address, and one server key, may make in that time.",
	},
	"limit-redemptions": {
		...{ field: "limitRedemptions", ...PER_MINUTE, parse: (text) => COUNT_RATE.safeParse(text) },
		fallback: () => RATES.redemptions,
		fallbackText: "12000/1m",
		doc: "Keys, secrets and links that one client address may show in that time.",
	},
	"limit-guesses": {
		...{ field: "limitGuesses", ...PER_MINUTE, parse: (text) => COUNT_RATE.safeParse(text) },
		fallback: () => RATES.guesses,
		fallbackText: "600/1m",
		doc: "Wrong keys, secrets and links of one client address in that time, before it is not told any more which are right.",
	},
	"limit-append": {
		...{ field: "limitAppend", hint: "SIZE/DURATION|off", expected: SIZE_RATE_FORM },
		parse: (text) => SIZE_RATE.safeParse(text),
		fallback: () => RATES.appendBytes,
		fallbackText: "64MiB/1s",
		doc: "What one client address, and one server key, may append in that time.",
	},
};
