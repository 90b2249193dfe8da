import { expect, test, vi } from "vitest";
import { calledCommand, commandList } from "../../src/cli/commands.ts";

/** In a file of its own, since what is loaded anew here is not what other tests hold. */
test("the program's help tells what each command is for, and loads none of them", async () => {
	const names = (await commandList(await calledCommand([]))).map(([name]) => name);
	for (const name of names)
		vi.doMock(`../../src/cli/${name}.ts`, () => {
			throw new Error(`${name} was loaded`);
		});
	vi.resetModules();
	const fresh = await import("../../src/cli/commands.ts");
	const list = await fresh.commandList(await fresh.calledCommand([]));
	expect(list.map(([name]) => name)).toEqual(names);
	for (const [, description] of list) expect(description).toMatch(/^[A-Z].*\.$/);
	await expect(fresh.calledCommand(["status"])).rejects.toThrow();
});
