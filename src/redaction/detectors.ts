import { assignedSecrets } from "./assignment.ts";
import { lazyPattern, type Span } from "./pattern.ts";

/** Finds one kind of secret. */
export interface Rule {
	/** Stands in what replaces a hit. */
	readonly name: string;
	/** One line, for people. */
	readonly doc: string;
	/** What makes it find what it finds; another text here means that what is captured has to go through it anew. */
	readonly source: string;
	/** No text without it holds a hit; undefined: every text may. Costs next to nothing to look for. */
	readonly hint: RegExp | undefined;
	/** True when a member of that name is a secret as a whole. */
	readonly isSecretMember?: (name: string, text: string) => boolean;
	find(text: string): Span[];
}

/**
 * Where a key may begin: at a word's beginning, also behind an escaped line break (JSON inside a string) and behind a
 * character as addresses escape it.
 */
const START = String.raw`(?:\b|\\[nrtbf]|%[0-9A-Fa-f]{2})`;

/**
 * The named detectors. Their patterns follow what the vendors say of their keys, or gitleaks
 * (https://github.com/gitleaks/gitleaks, config/gitleaks.toml), as each says. The group `key` is what is taken out.
 */
export const DETECTORS: readonly Rule[] = [
	detector("aws-access-key", "AWS access key ids: AKIA…, ASIA… (AWS IAM: unique identifiers)", /A(?:KI|SI|BI|CC)A/, [
		String.raw`${START}(?P<key>A(?:KI|SI|BI|CC)A[A-Z2-7]{16})\b`,
	]),
	detector("aws-secret-key", "AWS secret keys beside their name: aws_secret_access_key=… (gitleaks)", /aws.?secret/i, [
		String.raw`(?i)aws[_-]?secret[_-]?(?:access[_-]?)?key['"\\]{0,4}\s{0,4}[=:]\s{0,4}['"\\]{0,4}(?P<key>[A-Za-z0-9/+]{40})`,
	]),
	detector(
		"github-token",
		"GitHub tokens: ghp_…, gho_…, ghu_…, ghs_…, ghr_…, github_pat_… (GitHub: token formats)",
		/gh[pousr]_|github_pat_/,
		["(?P<key>gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,})"],
	),
	detector("gitlab-token", "GitLab tokens: glpat-…, gldt-…, glrt-… (GitLab: token overview)", /gl(?:pat|dt|rt)-/, [
		"(?P<key>gl(?:pat|dt|rt)-[A-Za-z0-9_-]{20,})",
	]),
	detector("anthropic-key", "Anthropic keys: sk-ant-… (gitleaks)", /sk-ant-/, ["(?P<key>sk-ant-[A-Za-z0-9_-]{20,})"]),
	detector("openai-key", "OpenAI's keys and those of their form: sk-…, sk-proj-…, sk-or-v1-… (gitleaks)", /sk-/, [
		`${START}(?P<key>sk-(?:(?:proj|svcacct|admin|or-v1)-[A-Za-z0-9_-]{20,}|[A-Za-z0-9]{32,}))`,
	]),
	detector("google-api-key", "Google's keys: AIza…, ya29.…, GOCSPX-… (gitleaks)", /AIza|ya29\.|GOCSPX-/, [
		String.raw`(?P<key>AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{28})`,
	]),
	detector(
		"slack-token",
		"Slack tokens and webhooks: xoxb-…, xoxp-…, xapp-…, hooks.slack.com/services/… (Slack: token types)",
		/xox|xapp-|hooks\.slack\.com/,
		[
			String.raw`${START}(?P<key>xox[abeoprs](?:\.xox[bp])?-[A-Za-z0-9-]{10,}|xapp-\d-[A-Za-z0-9-]{10,})`,
			String.raw`hooks\.slack\.com/(?P<key>(?:services|workflows|triggers)/[A-Za-z0-9+/]{20,100})`,
		],
	),
	detector(
		"stripe-key",
		"Stripe keys: sk_live_…, rk_test_…, whsec_… (Stripe: API keys)",
		/[sr]k_(?:live|test|prod)_|whsec_/,
		[`${START}(?P<key>[sr]k_(?:live|test|prod)_[A-Za-z0-9]{10,})`, `${START}(?P<key>whsec_[A-Za-z0-9+/=]{24,100})`],
	),
	detector("npm-token", "npm tokens: npm_… (npm: about access tokens)", /npm_/, [
		String.raw`${START}(?P<key>npm_[A-Za-z0-9]{36})\b`,
	]),
	detector("pypi-token", "PyPI tokens: pypi-… (PyPI: API tokens)", /pypi-/, ["(?P<key>pypi-[A-Za-z0-9_-]{50,})"]),
	detector("huggingface-token", "Hugging Face tokens: hf_… (gitleaks)", /hf_/, [
		String.raw`${START}(?P<key>hf_[A-Za-z0-9]{34,40})\b`,
	]),
	detector("jwt", "JSON Web Tokens: eyJ….eyJ….… (RFC 7519)", /eyJ/, [
		String.raw`(?P<key>eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*)`,
	]),
	detector("private-key", "Private keys as PEM, whole or cut off (RFC 7468)", /-----BEGIN/, [
		"-----BEGIN[ A-Z0-9]{0,60}PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-[^-])*-----END[ A-Z0-9]{0,60}PRIVATE KEY(?: BLOCK)?-----",
		String.raw`-----BEGIN[ A-Z0-9]{0,60}PRIVATE KEY(?: BLOCK)?-----(?:\\+[nr]|\s)*(?:[A-Za-z0-9+/=]{16,}(?:\\+[nr]|\s)*)+[A-Za-z0-9+/=]*`,
	]),
	detector("url-password", "Passwords in addresses: scheme://user:password@host (RFC 3986)", /:\/\/[^\s/]*@/, [
		String.raw`://[^\s/:@"'<>\\]*:(?P<key>[^\s/@"'<>\\]+)@`,
	]),
	{
		...detector(
			"authorization",
			"Authorization headers and bearer tokens (RFC 9110, RFC 6750)",
			/authorization|bearer/i,
			[
				String.raw`(?i)authorization['"\\]{0,4}\s{0,4}[:=]\s{0,4}['"\\]{0,4}(?:(?:bearer|basic|token|digest|apikey)\s{1,4})?(?P<key>[A-Za-z0-9._~+/=:-]{8,})`,
				String.raw`(?i)\bbearer\s{1,4}(?P<key>[A-Za-z0-9._~+/-]{16,}=*)`,
			],
		),
		isSecretMember: (name) => /^(?:proxy-)?authorization$/i.test(name),
	},
	{
		name: "password",
		doc: 'What is assigned to a name that says so: password=…, "api_key": "…", CLIENT_SECRET=…, --token …',
		...assignedSecrets,
	},
];

export const DETECTOR_NAMES: readonly string[] = DETECTORS.map(({ name }) => name);

function detector(name: string, doc: string, hint: RegExp, sources: readonly string[]): Rule {
	const patterns = sources.map((source) => lazyPattern(source));
	const find = (text: string) => patterns.flatMap((pattern) => pattern().find(text));
	return { name, doc, source: sources.join("\n"), hint, find };
}
