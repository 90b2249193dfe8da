import { describe, expect, test } from "vitest";
import { DETECTOR_NAMES, DETECTORS } from "../../src/redaction/detectors.ts";
import { Redactor } from "../../src/redaction/redactor.ts";

const A = (length: number) => "aB3dE6gH9jK2mN5pQ8sT".repeat(20).slice(0, length);
const UPPER = (length: number) => "ABCDEFGHIJKLMNOP234567QRSTUVWXYZ".repeat(3).slice(0, length);
const PEM = `-----BEGIN RSA PRIVATE KEY-----\n${`${A(64)}\n`.repeat(3)}${A(20)}==\n-----END RSA PRIVATE KEY-----`;
const JWT = `eyJ${A(20)}.eyJ${A(30)}.${A(43)}`;

/** Detector to what it takes out: a text with the secret in «», and texts that hold none. */
const TABLE: Record<string, { hits: string[]; misses: string[] }> = {
	"aws-access-key": {
		hits: [`id «AKIA${UPPER(16)}» here`, `\\n«ASIA${UPPER(16)}»`],
		misses: ["AKIA", `AKIA${UPPER(17)}`, `XAKIA${UPPER(16)}`, `akia${"a".repeat(16)}`],
	},
	"aws-secret-key": {
		hits: [`aws_secret_access_key = «${A(40)}»`, `"AWS_SECRET_ACCESS_KEY":"«${A(40)}»"`],
		misses: [A(40), "aws_secret_access_key = short", "the aws secret"],
	},
	"github-token": {
		hits: [`git clone https://x:«ghp_${A(36)}»@github.com`, `«github_pat_${A(22)}_${A(59)}»`, `=«ghs_${A(36)}»;`],
		misses: ["ghp_short", `ghx_${A(36)}`, "github_pat_"],
	},
	"gitlab-token": { hits: [`«glpat-${A(20)}»`], misses: ["glpat-x", `gl-${A(20)}`] },
	"anthropic-key": { hits: [`key: «sk-ant-api03-${A(93)}»`], misses: ["sk-ant-", `sk-an-${A(10)}`] },
	"openai-key": {
		hits: [`«sk-proj-${A(60)}»`, `OPENAI=«sk-${A(48)}»`, `\\n«sk-or-v1-${A(64)}»`],
		misses: [`task-${A(40)}`, "sk-short", "disk-proj-x"],
	},
	"google-api-key": {
		hits: [`?key=«AIza${A(35)}»&x`, `«ya29.${A(60)}»`, `«GOCSPX-${A(28)}»`],
		misses: ["AIza", `AIzb${A(35)}`],
	},
	"slack-token": {
		hits: [`«xoxb-${"1234567890-"}${A(24)}»`, `https://hooks.slack.com/«services/T0${A(8)}/B0${A(8)}/${A(24)}»`],
		misses: ["xoxb-", "https://hooks.slack.com/", "xoxo-hugs"],
	},
	"stripe-key": { hits: [`«sk_live_${A(24)}»`, `«whsec_${A(32)}»`], misses: ["sk_live_", `task_live_${A(5)}`] },
	"npm-token": { hits: [`_authToken=«npm_${A(36)}»`], misses: ["npm_config_registry", `npm_${A(37)}`] },
	"pypi-token": { hits: [`«pypi-AgEI${A(60)}»`], misses: ["pypi-server"] },
	"huggingface-token": { hits: [`«hf_${A(34)}»`], misses: ["hf_hub_download"] },
	jwt: { hits: [`cookie ${"s"}=«${JWT}»;`], misses: ["eyJhbGciOiJIUzI1NiJ9", "eyJ.eyJ."] },
	"private-key": {
		hits: [
			`before «${PEM}» after`,
			`"«${PEM.replaceAll("\n", "\\n")}»"`,
			`«${PEM.slice(0, 150)}»`,
			`if ("-----BEGIN PRIVATE KEY-----") -- «${PEM}»`,
		],
		misses: ["-----BEGIN PRIVATE KEY-----", "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----"],
	},
	"url-password": {
		hits: ["postgres://app:«hunter2»@db:5432/x", "https://:«s3cr3t»@h/"],
		misses: ["https://example.com/a:b@c", "http://user@host/", "mailto:a@b.c", "see https://a.b: mail me@c.d"],
	},
	authorization: {
		hits: [
			"Authorization: Bearer «abcdefgh12345678»",
			'\\"authorization\\": \\"Basic «dXNlcjpwYXNzd29yZA==»\\"',
			"curl -H 'authorization: «abcdefghijkl»'",
			"bearer «abcdefgh12345678»",
		],
		misses: ["the bearer of news", "authorization is needed", "authorization: none"],
	},
	password: {
		hits: [
			"password=«hunter2»",
			"DB_PASSWORD=«swordfish» next",
			'{"api_key": "«abcd efgh»"}',
			'\\"password\\":\\"«a\\\\\\"b»\\",',
			"export CLIENT_SECRET='«x y z 1»'",
			"?token=«abc123»&next=1",
			"mysql --password «hunter2» -u root",
			"secret_key_base: «a1b2c3d4»",
			"apiKey := `«abcd1234»`",
			"accessToken = «abcd1234»",
			'password="«cut off in the middl»',
		],
		misses: [
			"password=",
			"the password: please enter it",
			"password: string",
			"token = getToken(a1)",
			"password=$PASSWORD",
			["password=$", "{PASSWORD}"].join(""),
			"password: ********",
			"max_tokens=4096",
			"secret = config.secret1",
			'"token": null',
			"tokenizer=fast1",
		],
	},
};

test("every detector has hits and misses in the table", () => {
	expect(Object.keys(TABLE)).toEqual([...DETECTOR_NAMES]);
	for (const { name, doc } of DETECTORS) expect(`${name} ${doc}`).toMatch(/^[a-z-]+ .{10,110}$/);
});

for (const [name, { hits, misses }] of Object.entries(TABLE))
	describe(name, () => {
		const redactor = Redactor.of({ detectors: [name], patterns: [] }) as Redactor;
		for (const marked of hits)
			test(`finds ${marked.slice(0, 60)}`, () => {
				const text = marked.replace(/[«»]/g, "");
				expect(redactor.text(text)).toBe(marked.replace(/«[^»]*»/, `[redacted:${name}]`));
				// As a text of an entity, and as JSON text inside of one.
				const secret = /«([^»]*)»/s.exec(marked)?.[1] ?? "";
				for (const value of [text, JSON.stringify({ deep: text })]) {
					const payload = redactor.payload(JSON.stringify({ text: value }));
					const escaped = JSON.stringify(secret).slice(1, -1);
					expect(payload).toContain(`[redacted:${name}]`);
					expect(payload).not.toContain(secret);
					expect(payload).not.toContain(JSON.stringify(escaped).slice(1, -1));
				}
				expect(redactor.text(redactor.text(text))).toBe(redactor.text(text));
			});
		for (const text of misses)
			test(`leaves ${text.slice(0, 60)}`, () => {
				expect(redactor.text(text)).toBe(text);
			});
	});
