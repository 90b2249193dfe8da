import { StatefulSet } from "kubernetes-models/apps/v1/StatefulSet";
import { Pod } from "kubernetes-models/v1/Pod";
import { Service } from "kubernetes-models/v1/Service";
import { describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { deployed } from "./files.ts";

/** Kubernetes' own OpenAPI schemas; they take members that they do not know, see `unknownMembers`. */
const KINDS = { Pod, Service, StatefulSet } as const;
/** The agent drains for 8 s at most (cli/run.ts); what remains is for OpenCode's end and for the agent's. */
const GRACE_S_MIN = 8 + 10;

interface Container {
	readonly name: string;
	readonly args?: readonly string[];
	readonly command?: readonly string[];
	readonly restartPolicy?: string;
	readonly readinessProbe?: unknown;
	readonly livenessProbe?: unknown;
	readonly startupProbe?: unknown;
	readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string; readonly readOnly?: boolean }[];
}
interface PodSpec {
	readonly terminationGracePeriodSeconds: number;
	readonly securityContext: { readonly runAsUser: number; readonly fsGroup: number };
	readonly initContainers: readonly Container[];
	readonly containers: readonly Container[];
	readonly volumes: readonly { readonly secret?: { readonly defaultMode: number } }[];
}
type Manifest = { readonly kind: keyof typeof KINDS } & Record<string, unknown>;

function manifests(file: string): Manifest[] {
	return parseAllDocuments(deployed("container", file)).map((document) => {
		expect(document.errors).toEqual([]);
		return document.toJS() as Manifest;
	});
}

function complaint(manifest: Manifest): string | undefined {
	try {
		// The three constructors differ in what they are given, which is what is being judged.
		const Kind = KINDS[manifest.kind] as unknown as new (data: unknown) => { validate(): void };
		new Kind(manifest).validate();
		return undefined;
	} catch (error) {
		return error instanceof Error ? error.message : String(error);
	}
}

/** Members that the schema does not know: those that may be anything, a number, a list, a truth, without a complaint. */
function unknownMembers(manifest: Manifest): string[] {
	const whole = structuredClone(manifest);
	const unknown: string[] = [];
	const visit = (node: object, path: string) => {
		for (const [name, value] of Object.entries(node)) {
			const members = node as Record<string, unknown>;
			const isKnown = [1, [1], true, "x", {}].some((wrong) => {
				members[name] = wrong;
				return complaint(whole) !== undefined;
			});
			members[name] = value;
			// A member of a map that may have any (labels, a selector) is known by its kind as well.
			if (!isKnown) unknown.push(`${path}.${name}`);
			if (typeof value === "object" && value !== null) visit(value, `${path}.${name}`);
		}
	};
	visit(whole, manifest.kind);
	return unknown;
}

function podSpec(manifest: Manifest): PodSpec {
	const { spec } = manifest as unknown as { spec: PodSpec & { template?: { spec: PodSpec } } };
	return spec.template?.spec ?? spec;
}

describe.each(["kubernetes.yaml", "kubernetes-restore.yaml"])("%s", (file) => {
	const all = manifests(file);
	const pod = podSpec(all.find(({ kind }) => kind !== "Service") as Manifest);
	const agent = pod.initContainers.find(({ name }) => name === "outbox");

	test("is what Kubernetes' schemas allow, to the last member", () => {
		for (const manifest of all) {
			expect(complaint(manifest)).toBeUndefined();
			expect(unknownMembers(manifest)).toEqual([]);
		}
	});

	test("the agent is a native sidecar, the last one before OpenCode, with time to drain and without probes", () => {
		expect(agent).toMatchObject({ args: ["run"], restartPolicy: "Always" });
		expect(pod.initContainers.at(-1)).toBe(agent);
		expect(pod.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(GRACE_S_MIN);
		// A probe of the sidecar would hold up OpenCode (G7).
		for (const probe of ["readinessProbe", "livenessProbe", "startupProbe"]) expect(agent).not.toHaveProperty(probe);
	});

	test("the agent has OpenCode's data read-write at the same place, and the key as a file of mode 0400", () => {
		const opencode = pod.containers.find(({ name }) => name === "opencode");
		for (const container of [agent, opencode])
			expect(container?.volumeMounts).toContainEqual({ name: "data", mountPath: "/data" });
		expect(opencode?.volumeMounts?.map(({ name }) => name)).toEqual(["data"]);
		expect(pod.volumes.flatMap(({ secret }) => secret?.defaultMode ?? [])).toEqual([0o400]);
		// Without it nobody but root could read the key.
		expect(pod.securityContext.fsGroup).toBe(pod.securityContext.runAsUser);
	});
});

test("on no volume, every session is restored before the agent starts", () => {
	const [manifest] = manifests("kubernetes-restore.yaml");
	const [restore] = podSpec(manifest as Manifest).initContainers;
	expect(restore?.command).toEqual(["opencode-outbox"]);
	expect(restore?.args?.slice(0, 3)).toEqual(["restore", "--all", "--continue"]);
	expect(restore?.restartPolicy).toBeUndefined();
});

test("what these tests judge by sees a misspelt member and a wrong value", () => {
	const [, set] = manifests("kubernetes.yaml");
	const misspelt = structuredClone(set) as Manifest;
	Object.assign(podSpec(misspelt), { terminationGracePeriodSecond: 30 });
	expect(unknownMembers(misspelt)).toEqual(["StatefulSet.spec.template.spec.terminationGracePeriodSecond"]);
	Object.assign(podSpec(misspelt), { terminationGracePeriodSeconds: "30" });
	expect(complaint(misspelt)).toContain("terminationGracePeriodSeconds");
});
