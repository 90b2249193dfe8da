/** `npm run test:network` leaves nothing out; without it some of what is alike is left out, and how much is printed. */
export const IS_ALL = process.env.NETWORK === "all";

/** Every how manyth is run. */
export function stride(inCi: number): number {
	return IS_ALL ? 1 : inCi;
}
