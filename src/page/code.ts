import hljs from "highlight.js/lib/core";
import bash from "highlight.js/lib/languages/bash";
import c from "highlight.js/lib/languages/c";
import css from "highlight.js/lib/languages/css";
import go from "highlight.js/lib/languages/go";
import ini from "highlight.js/lib/languages/ini";
import java from "highlight.js/lib/languages/java";
import json from "highlight.js/lib/languages/json";
import python from "highlight.js/lib/languages/python";
import ruby from "highlight.js/lib/languages/ruby";
import rust from "highlight.js/lib/languages/rust";
import sql from "highlight.js/lib/languages/sql";
import typescript from "highlight.js/lib/languages/typescript";
import xml from "highlight.js/lib/languages/xml";
import yaml from "highlight.js/lib/languages/yaml";
import { escaped, type Html, shown, trusted } from "./html.ts";

const LANGUAGES = { bash, c, css, go, ini, java, json, python, ruby, rust, sql, typescript, xml, yaml };
for (const [name, language] of Object.entries(LANGUAGES)) hljs.registerLanguage(name, language);
// Near enough: what differs is a handful of keywords.
hljs.registerAliases(["javascript", "js", "jsx", "mjs", "cjs"], { languageName: "typescript" });
hljs.registerAliases(["cpp", "cc", "hpp", "h"], { languageName: "c" });
hljs.registerAliases(["scss", "less"], { languageName: "css" });
hljs.registerAliases(["jsonc", "jsonl"], { languageName: "json" });
hljs.registerAliases(["console", "shell", "zsh", "fish"], { languageName: "bash" });

/** Characters that are highlighted; longer code is shown plain, since every colour of it costs a page some elements. */
const HIGHLIGHTED_CHARS_MAX = 50_000;

/** Code in the colours of its language; plain where that is not known. */
export function code(source: string, language: string | undefined): Html {
	if (language === undefined || source.length > HIGHLIGHTED_CHARS_MAX || !hljs.getLanguage(language))
		return trusted(escaped(source));
	return trusted(hljs.highlight(shown(source), { language, ignoreIllegals: true }).value);
}

/** The language that a file's name tells, as `code` takes it. */
export function languageOf(path: string): string | undefined {
	return /\.([A-Za-z0-9]{1,10})$/.exec(path)?.[1]?.toLowerCase();
}
