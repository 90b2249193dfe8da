import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { RevokeRequest } from "../../src/protocol/schema.ts";
import { andThen, type Eventual } from "../../src/server/rules.ts";
import { Dice } from "../fixture/random.ts";
import { checkShares } from "./checks.ts";
import { FAULTS, type Fault } from "./faults.ts";
import { Machine, type World } from "./machine.ts";
import { Network } from "./network.ts";
import { Opencode } from "./opencode.ts";
import { Oracle, Violation } from "./oracle.ts";
import { LEDGER_OPS, type ServerHost, type ServerSite, SimulatedServer } from "./share-server.ts";
import { MachineClock, Timeline } from "./timeline.ts";

/** Steps of a walk, before the faults stop. */
export const STEPS = 200;
/** After the faults have stopped, everything drains within so many flushes, each of which may take a few seconds. */
export const FLUSHES_MAX = 12;
const LOG_LINES = 400;

export interface Report {
	readonly seed: number;
	readonly steps: number;
	/** How often each fault happened. */
	readonly faults: ReadonlyMap<string, number>;
	readonly changes: number;
	readonly applied: number;
	/** Calls that reached the server. */
	readonly calls: number;
	/** Flushes that it took to drain after the faults had stopped. */
	readonly flushes: number;
	/** A number that two runs of one seed have in common. */
	readonly events: number;
	/** What broke, with the last lines that were logged. */
	readonly failure?: { readonly message: string; readonly log: readonly string[] };
}

/** The host of a world's share server. */
export type HostOn = (site: ServerSite) => ServerHost;

const onNode: HostOn = (site) => new SimulatedServer(site);

/** One seeded history of a world: machines, a network, a server and an OpenCode, and all that goes wrong with them. */
export class Walk implements World {
	readonly dice: Dice;
	readonly dir: string;
	readonly timeline = new Timeline();
	readonly serverClock = new MachineClock(this.timeline);
	readonly network: Network;
	readonly server: ServerHost;
	readonly opencode: Opencode;
	readonly oracle: Oracle;
	readonly machines: Machine[] = [];
	/** What has happened that changes what can be asked for at the end. */
	readonly scars = new Set<string>();
	readonly #seed: number;
	readonly #faults: readonly Fault[];
	readonly #faultRate: number;
	readonly #happened = new Map<string, number>();
	readonly #lines: (() => string)[] = [];
	/** Decides what is streamed; undefined where nothing is: the walks of the known regressions stay as they are. */
	readonly #voice: Dice | undefined;
	#step = 0;

	private constructor(seed: number, dir: string, opencode: Opencode, dice: Dice, hostOn: HostOn) {
		this.#seed = seed;
		this.dir = dir;
		this.dice = dice;
		this.opencode = opencode;
		this.oracle = new Oracle(opencode, LEDGER_OPS);
		this.network = new Network(this.timeline, dice);
		const folder = join(dir, "server");
		mkdirSync(folder);
		const { serverClock: clock, timeline, network, oracle } = this;
		this.server = hostOn({ dir: folder, clock, timeline, network, oracle, dice });
		// Each walk knows some of the faults only, so that the rare ones are not always hidden behind the common ones.
		this.#faults = FAULTS.filter(() => dice.chance(0.5));
		this.#faultRate = dice.pick([0.02, 0.06, 0.12, 0.25]);
		this.#voice = seed % 4 === 3 ? new Dice(seed + 1_000_003) : undefined;
		this.opencode.onEvent = (event) => {
			for (const machine of this.machines) machine.hear(event);
		};
		const forgets = ["outbox restored", "outbox cloned"];
		this.oracle.mayShrink = () => forgets.some((scar) => this.scars.has(scar));
		this.oracle.isExcused = (sessionId, key) => this.machines.some((machine) => machine.hasBuried(sessionId, key));
		this.oracle.isForgetful = () => this.scars.has("outbox restored");
	}

	/** Walks one seed to its end; a broken guarantee is told, not thrown. */
	static async run(seed: number, root: string, steps = STEPS, hostOn: HostOn = onNode): Promise<Report> {
		const dir = mkdtempSync(join(root, `walk-${seed}-`));
		const dice = new Dice(seed);
		const walk = new Walk(seed, dir, await Opencode.create(join(dir, "opencode.db"), dice), dice, hostOn);
		const trip = (error: unknown) => walk.oracle.guard(() => fail(`unhandled: ${describe(error)}`));
		process.on("unhandledRejection", trip);
		try {
			return await walk.#run(steps);
		} finally {
			process.off("unhandledRejection", trip);
			rmSync(dir, { recursive: true, force: true });
		}
	}

	readonly log = (line: () => string): void => {
		const at = Math.floor(this.timeline.now);
		this.#lines.push(() => `${at} ${line()}`);
		if (this.#lines.length > 2 * LOG_LINES) this.#lines.splice(0, LOG_LINES);
	};

	/** A person's command, which may meet a full disk or a dying machine, and says so. */
	byHand(command: () => unknown): void {
		const failed = (error: unknown) => this.log(() => `a command failed: ${describe(error)}`);
		try {
			const done = command();
			if (done instanceof Promise) done.catch(failed);
		} catch (error) {
			failed(error);
		}
	}

	/** An administrator with a share's secret does something to it. */
	administer(what: RevokeRequest | "delete"): void {
		const [machine] = this.machines;
		if (!machine?.isUp || !this.server.isUp) return;
		const { outbox } = machine;
		const share = outbox.share(this.dice.pick(this.opencode.sessions));
		if (!share?.share_id || !share.secret) return;
		const { share_id, secret } = share;
		const { rules } = this.server;
		this.byHand(() =>
			andThen(rules.redeemShare(share_id, secret), (holder): Eventual<unknown> => {
				return what === "delete" ? rules.deleteShare(holder) : rules.revokeCapability(holder, what);
			}),
		);
	}

	async #run(steps: number): Promise<Report> {
		let flushes = 0;
		try {
			await this.#begin();
			while (this.#step < steps && this.oracle.violation === undefined) await this.#takeStep();
			if (this.oracle.violation === undefined) flushes = await this.#heal();
			if (this.oracle.violation === undefined) await checkShares(this);
		} catch (error) {
			this.oracle.violation ??= new Violation(describe(error));
		}
		const { violation } = this.oracle;
		await this.#end().catch((error: unknown) => this.log(() => `the end: ${describe(error)}`));
		return {
			...{ seed: this.#seed, steps: this.#step, faults: this.#happened, flushes },
			changes: this.opencode.changes,
			applied: this.oracle.applied,
			calls: this.server.calls,
			events: this.timeline.events,
			...(violation && { failure: { message: violation.message, log: this.#lines.map((line) => line()) } }),
		};
	}

	async #begin(): Promise<void> {
		for (let n = this.dice.int(1, 4); n > 0; n--) this.opencode.begin();
		await this.server.start();
		const machine = new Machine(this, "machine");
		this.machines.push(machine);
		await machine.start();
	}

	async #takeStep(): Promise<void> {
		const { dice, timeline, opencode } = this;
		this.#step++;
		if (dice.chance(0.3)) {
			opencode.work();
			if (dice.chance(0.8)) for (const machine of this.machines) timeline.in(dice.span(1, 50), () => machine.ring());
		}
		if (this.#voice) this.#speak(this.#voice);
		if (dice.chance(0.03)) opencode.begin();
		if (this.#faults.length > 0 && dice.chance(this.#faultRate)) await this.#happen(dice.weighted(this.#faults));
		await timeline.advance(dice.chance(0.01) ? dice.span(2000, 20_000) : dice.span(1, 400));
		for (const machine of this.machines) {
			if (machine.hasCrashed) machine.crash();
			if (!machine.isUp && dice.chance(0.5)) await machine.start();
			if (machine.isUp) this.oracle.guard(() => machine.check());
		}
	}

	/** Answers are written; doorbells are cut off now and then, and all of them when OpenCode dies. */
	#speak(voice: Dice): void {
		for (let n = voice.int(0, 3); n > 0; n--) {
			const isKilled = this.opencode.speak(voice) === "killed";
			for (const machine of this.machines) if (isKilled || voice.chance(0.02)) machine.cutLane();
		}
		if (voice.chance(0.5)) for (const machine of this.machines) machine.ring();
	}

	async #happen(fault: Fault): Promise<void> {
		this.#happened.set(fault.name, (this.#happened.get(fault.name) ?? 0) + 1);
		const step = this.#step;
		this.log(() => `step ${step}: ${fault.name}`);
		await fault.happen(this);
	}

	/** Ends all faults; then a person flushes until everything has drained. Returns how many flushes it took. */
	async #heal(): Promise<number> {
		// The last thing that goes wrong, where nothing else will make anybody look: the server goes back while all is quiet.
		const restored = this.#faults.find((fault) => fault.name === "server restored");
		if (restored && this.dice.chance(0.5)) {
			await this.timeline.advance(5000);
			await this.#happen(restored);
		}
		this.log(() => "healed");
		this.network.heal();
		this.server.heal();
		if (!this.server.isUp) await this.server.start();
		for (const machine of this.machines) {
			if (machine.hasCrashed) machine.crash();
			if (!machine.isUp) await machine.start();
			machine.disk.disarm();
		}
		for (let flushes = 1; flushes <= FLUSHES_MAX; flushes++) {
			for (const machine of this.machines) machine.flush();
			await this.timeline.advance(6000);
			if (this.oracle.violation || this.machines.every((machine) => machine.agent.idle())) return flushes;
		}
		return fail(`it has not drained after ${FLUSHES_MAX} flushes`);
	}

	async #end(): Promise<void> {
		for (const machine of this.machines) machine.crash();
		await this.timeline.advance(1);
		if (this.server.isUp) this.server.stop();
		this.opencode.close();
	}
}

export function fail(message: string): never {
	throw new Violation(message);
}

export function describe(error: unknown): string {
	return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
