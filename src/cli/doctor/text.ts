import { count, type Paint, printable } from "../terminal.ts";
import type { Checked, Verdict } from "./examination.ts";

const COLOURS = { ok: "green", warn: "yellow", fail: "red", skip: "dim" } as const satisfies Record<Verdict, string>;

/** The findings for people: what each check proves, what was found, what to do; and a line that sums them up. */
export function examinationText(checked: readonly Checked[], paint: Paint): string {
	const lines = checked.flatMap(({ name, proves, verdict, found, next }) => [
		`${paint(COLOURS[verdict], verdict.padEnd(4))}  ${paint("bold", name)}: ${proves}`,
		`      ${printable(found)}`,
		...(next === null ? [] : [`      -> ${printable(next)}`]),
	]);
	return `${lines.join("\n")}\n\n${summary(checked)}\n`;
}

function summary(checked: readonly Checked[]): string {
	const number = (verdict: Verdict) => checked.filter((check) => check.verdict === verdict).length;
	const failed = number("fail");
	const parts = [`${number("ok")} ok`, count(number("warn"), "warning"), `${number("skip")} skipped`];
	return `${parts.join(", ")}; ${failed === 0 ? "nothing needs you" : `${failed} need${failed === 1 ? "s" : ""} you`}.`;
}
