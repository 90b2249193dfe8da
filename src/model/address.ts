import { BlockList, isIP } from "node:net";

/** Networks, each `ADDRESS/BITS` or one address. */
export class Networks {
	readonly #list = new BlockList();

	/** @throws RangeError naming the text that is no network. */
	constructor(texts: readonly string[]) {
		for (const text of texts) {
			const [, address = "", bits] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
			const version = isIP(address);
			const widest = version === 4 ? 32 : 128;
			if (version === 0 || Number(bits ?? widest) > widest) throw new RangeError(text);
			this.#list.addSubnet(address, Number(bits ?? widest), familyOf(version));
		}
	}

	/** False for what is no address. */
	has(address: string): boolean {
		const plain = plainAddress(address);
		const version = isIP(plain);
		return version !== 0 && this.#list.check(plain, familyOf(version));
	}
}

const LOOPBACK = new Networks(["127.0.0.0/8", "::1"]);

/** Whether only this machine reaches a host: `localhost`, or an address of it, in brackets or not. */
export function isLoopback(host: string): boolean {
	return host === "localhost" || LOOPBACK.has(host.replace(/^\[|\]$/g, ""));
}

/** An address as a socket tells it, without its zone; an IPv4 address that came in as IPv6 as what it is. */
export function plainAddress(address: string): string {
	return address.replace(/%.*$/, "").replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, "");
}

/**
 * What stands for a peer where it is counted: an IPv4 address, the first 64 bits of an IPv6 one, since whoever has one of
 * those addresses has all of them.
 */
export function countedAddress(address: string): string {
	const plain = plainAddress(address);
	if (isIP(plain) !== 6) return plain;
	// Its only form with lower-case digits, no leading zeros and one "::".
	const [head = "", tail] = new URL(`http://[${plain}]`).hostname.slice(1, -1).split("::");
	const groups = (text: string) => (text === "" ? [] : text.split(":"));
	const [first, last] = [groups(head), groups(tail ?? "")];
	const zeros = tail === undefined ? 0 : 8 - first.length - last.length;
	return `${[...first, ...Array(zeros).fill("0"), ...last].slice(0, 4).join(":")}::/64`;
}

function familyOf(version: number): "ipv4" | "ipv6" {
	return version === 4 ? "ipv4" : "ipv6";
}
