import { setTimeout as delay } from "node:timers/promises";
import type { Status } from "../../src/cli/status-facts.ts";
import type { FlushFacts, VerifyFacts } from "../e2e/lab.ts";
import { BUN, type CliProcess } from "../fixture/cli.ts";
import { rowsIfMade } from "./files.ts";
import { checkDrained, faultsAtAnyTime } from "./oracle.ts";
import { agentPhase, isOwed, isWriting, serverPhase, writerPhase } from "./phase.ts";
import type { Random } from "./random.ts";
import type { KillTable } from "./table.ts";
import { type Shape, World } from "./world.ts";

export type Victim = "agent" | "server" | "writer of OpenCode's data";
const WRITER: Victim = "writer of OpenCode's data";

/** Kills of one round, by victim; an embedded server dies with its agent. */
const KILLS: Readonly<Record<Shape, Readonly<Record<Victim, number>>>> = {
	remote: { agent: 10, server: 13, [WRITER]: 2 },
	http: { agent: 10, server: 13, [WRITER]: 2 },
	embedded: { agent: 23, server: 0, [WRITER]: 2 },
};
const SHAPES = Object.keys(KILLS) as Shape[];
/** A world is left after so many rounds, so that first starts and migrations are met often, and old files too. */
const ROUNDS_PER_WORLD = 2;
/** Starts on Node; the others are on Bun, which starts in a fifth of the time. Both open the same files in turn. */
const NODE_SHARE = 0.04;
/** Kills that are to fall into a start, and how long after its end the latest of the others come, in ms. */
const START_SHARE = 0.35;
const RUN_MS: Readonly<Record<Victim, number>> = { agent: 300, server: 100, [WRITER]: 1000 };
/**
 * How long a victim is waited for to be at work, in ms: a server until it is found, and sent to, as agents that found it dead
 * come again half a second later or more; a writer until it is in a transaction.
 */
const SOON_MS = 2500;
/**
 * Kills in a run that wait for their victim to be at work (`#isAtWork`), so that it dies so on a slow machine too. An agent
 * has always something to do; what it seldom has there is a server that is up and a batch under way.
 */
const AT_WORK_SHARE: Readonly<Record<Victim, number>> = { agent: 0.25, server: 0.5, [WRITER]: 0.5 };
/** What a start takes until one was measured, in ms; a slow machine needs more, and for everything else as well. */
const START_MS = { bun: 250, node: 900 };
/** What no agent may say, as no kill is a reason for it. */
const UNHEARD_OF = /"level":"(error|fatal)"|captured by snapshot|comparing the share|vanished/;

/** How many attempts a drain took after the faults had stopped; the most of all rounds. */
export interface Attempts {
	/** To connect, those that failed included. */
	connections: number;
	/** Redemptions of one share: each is one attempt to send what its session has. */
	redemptions: number;
}

export interface Progress {
	readonly table: KillTable;
	readonly attempts: Attempts;
	/** Kills of the rounds that began. A drain without an agent takes one more. */
	planned: number;
	rounds: number;
	applied: number;
	compared: number;
}

/**
 * Kills in worlds of one shape after the other, from the `first` on, until `isOver`. After each round of kills everything
 * must drain, and the oracle must have nothing to say.
 *
 * @throws Error with what does not hold, and where the files are.
 */
export async function walk(first: number, random: Random, progress: Progress, isOver: () => boolean): Promise<void> {
	const startMs = new Map<string, number>();
	for (let n = first; !isOver(); n++) {
		const world = await World.make(SHAPES[n % SHAPES.length] as Shape);
		const ledgers = new Map<string, readonly string[]>();
		let isWell = false;
		try {
			for (let round = 0; round < ROUNDS_PER_WORLD && !isOver(); round++)
				await new Round({ world, random: random.fork(), progress, ledgers, startMs }).run();
			isWell = true;
		} finally {
			await world.close(!isWell);
		}
	}
}

interface RoundOptions {
	readonly world: World;
	readonly random: Random;
	readonly progress: Progress;
	/** What earlier rounds saw of each share. */
	readonly ledgers: Map<string, readonly string[]>;
	/** How long the last whole start took, by victim and runtime, in ms. */
	readonly startMs: Map<string, number>;
}

class Round {
	readonly #world: World;
	readonly #random: Random;
	readonly #progress: Progress;
	readonly #ledgers: Map<string, readonly string[]>;
	readonly #startMs: Map<string, number>;
	#agent: CliProcess | undefined;

	constructor({ world, random, progress, ledgers, startMs }: RoundOptions) {
		this.#world = world;
		this.#random = random;
		this.#progress = progress;
		this.#ledgers = ledgers;
		this.#startMs = startMs;
	}

	async run(): Promise<void> {
		const { shape } = this.#world;
		const kills = KILLS[shape];
		for (const times of Object.values(kills)) this.#progress.planned += times;
		// The last kill of the writer ends the round, so that there is something to send until then.
		const [agent, server, writer] = await Promise.all([
			this.#kill("agent", kills.agent),
			shape === "embedded" ? undefined : this.#kill("server", kills.server),
			this.#kill(WRITER, kills[WRITER] - 1),
		]);
		if (this.#random.chance(AT_WORK_SHARE[WRITER])) await soon(() => isWriting(writer));
		await this.#murder(WRITER, writer);
		await (server ?? agent).ready();
		await this.#drain(agent);
		await this.#check();
		await agent.kill();
		await server?.kill();
		this.#progress.rounds++;
	}

	/** Starts a victim and kills it, `times` over. @returns the last start, which is left alone. */
	async #kill(victim: Victim, times: number): Promise<CliProcess> {
		const random = this.#random.fork();
		for (let n = 0; ; n++) {
			const isNode = victim !== WRITER && random.chance(NODE_SHARE);
			const process = this.#start(victim, isNode ? globalThis.process.execPath : BUN, random);
			if (n === times) return process;
			const name = `${victim} ${isNode ? "node" : "bun"}`;
			const startedAt = performance.now();
			const ready = process.ready().then(
				() => void this.#startMs.set(name, performance.now() - startedAt),
				() => undefined,
			);
			const usualMs = isNode ? START_MS.node : START_MS.bun;
			const startMs = this.#startMs.get(name) ?? usualMs;
			const runMs = RUN_MS[victim] * Math.max(1, startMs / usualMs);
			const inRun = async () => {
				await ready;
				if (victim === "server") await this.#heard();
				if (random.chance(AT_WORK_SHARE[victim])) return soon(() => this.#isAtWork(victim, process));
				await delay(runMs * random.next() ** 2);
			};
			const moment = random.chance(START_SHARE) ? delay(startMs * random.next()) : inRun();
			const ended = await Promise.race([moment, process.ended]);
			if (ended !== undefined) this.#fail([`the ${victim} ended by itself with ${ended}`], process);
			await this.#murder(victim, process);
		}
	}

	/** Whether a server owes an answer, an agent waits for one, or the writer is in a transaction. */
	#isAtWork(victim: Victim, process: CliProcess): boolean | Promise<boolean> {
		return victim === WRITER ? isWriting(process) : isOwed(this.#world.files);
	}

	/** Resolves when an agent has connected from now on: a server that nobody has found yet has nothing to lose. */
	async #heard(): Promise<void> {
		const [before, told] = [this.#agent, this.#agent?.stderr().length ?? 0];
		const said = () => this.#agent?.stderr().slice(this.#agent === before ? told : 0) ?? "";
		await soon(() => said().includes(`"connected"`));
	}

	#start(victim: Victim, runtime: string, random: Random): CliProcess {
		if (victim === "agent") {
			this.#agent = this.#world.startAgent(runtime);
			return this.#agent;
		}
		if (victim === "server") return this.#world.startServer(runtime);
		return this.#world.startWriter(random.below(2 ** 31));
	}

	async #murder(victim: Victim, process: CliProcess): Promise<void> {
		const { files, agentLock } = this.#world;
		await process.kill();
		const phase =
			victim === "agent"
				? await agentPhase(process, files, agentLock)
				: victim === "server"
					? await serverPhase(process, files)
					: writerPhase(process);
		this.#progress.table.count(victim, phase);
		const faults = await faultsAtAnyTime(files);
		if (UNHEARD_OF.test(process.stderr())) faults.push(`the ${victim} said what no kill is a reason for`);
		if (faults.length > 0) this.#fail(faults, process);
	}

	/** Half of the drains are an agent's, with a person's `flush` beside it; the others are a `flush`'s alone. */
	async #drain(agent: CliProcess): Promise<void> {
		const { files } = this.#world;
		const isAlone = this.#random.chance(0.5);
		if (isAlone) await this.#murder("agent", agent);
		else await agent.ready();
		const [before] = await rowsIfMade<{ id: number }>(files.shares, "SELECT max(id) AS id FROM audit");
		const told = agent.stderr().length;
		const result = await this.#world.cli("flush", "--json", "--timeout", "50s", "--log-level", "info");
		if (result.code !== 0) this.#fail([`flush ended with ${result.code}: ${result.stdout}${result.stderr}`], agent);
		const { drained, pending, dead } = result.json<FlushFacts>();
		if (!drained || pending > 0 || dead > 0) this.#fail([`flush left something: ${result.stdout}`], agent);
		const log = isAlone ? result.stderr : agent.stderr().slice(told);
		if (UNHEARD_OF.test(log)) this.#fail([`the drain said what no kill is a reason for: ${log}`], agent);
		const connections = log.match(/"msg":"(connected|the share server is not reachable)"/g)?.length ?? 0;
		const redeemed = await rowsIfMade<{ times: number }>(
			files.shares,
			"SELECT count(*) AS times FROM audit WHERE event = 'redeemed' AND id > ? GROUP BY share_id",
			before?.id ?? 0,
		);
		const { attempts } = this.#progress;
		attempts.connections = Math.max(attempts.connections, connections);
		// An HTTP batch is a session of its own, so that every call redeems.
		if (this.#world.shape === "http") return;
		attempts.redemptions = Math.max(attempts.redemptions, ...redeemed.map(({ times }) => times));
	}

	async #check(): Promise<void> {
		const verified = await this.#world.cli("verify", "--json");
		const status = await this.#world.cli("status", "--json");
		const { faults, applied, compared } = await checkDrained(this.#world.files, this.#ledgers);
		const told = [...faults];
		if (verified.code !== 0 || !verified.json<VerifyFacts>().clean)
			told.push(`verify ended with ${verified.code}: ${verified.stdout}${verified.stderr}`);
		const { outbox, attention } = status.json<Status>();
		if (status.code !== 0 || outbox.pending + outbox.sealed + outbox.dead > 0 || attention.length > 0)
			told.push(`status ended with ${status.code}: ${status.stdout}${status.stderr}`);
		if (told.length > 0) this.#fail(told);
		this.#progress.applied += applied;
		this.#progress.compared += compared;
	}

	#fail(faults: readonly string[], process?: CliProcess): never {
		const { root, shape } = this.#world;
		const story = process === undefined ? "" : `\n${process.stdout()}${process.stderr()}`.slice(-4000);
		throw new Error(`In a ${shape} world, whose files are in ${root}:\n${faults.join("\n")}${story}`);
	}
}

/** Resolves once `isSo`, and otherwise after `SOON_MS`. */
async function soon(isSo: () => boolean | Promise<boolean>): Promise<void> {
	for (const end = performance.now() + SOON_MS; performance.now() < end && !(await isSo()); ) await delay(5);
}
