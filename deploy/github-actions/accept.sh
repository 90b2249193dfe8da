#!/bin/sh
# Accepts the action in a repository: sh deploy/github-actions/accept.sh WORKFLOW [PROMPT]
# Runs the workflow (a copy of example.yml on the default branch) with gh, and waits for its end.
#
# Each line says what it proves. Exit: 0 all of it; 1 something is not so; 64 usage; 69 gh is not here or not logged in.
set -u
[ $# -ge 1 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 64; }
if ! command -v gh > /dev/null || ! gh auth status > /dev/null 2>&1; then
	echo "skip  gh is not here or not logged in, so no workflow can be run from here. The scripts that it runs are tested:"
	echo "      npx vitest run test/deploy/ci.test.ts"
	exit 69
fi
since=$(date -u +%Y-%m-%dT%H:%M:%SZ)
gh workflow run "$1" -f "prompt=${2:-Say hello.}" || { echo "FAIL  the workflow can be started"; exit 1; }
id=
for _ in $(seq 30); do
	id=$(gh run list --workflow "$1" --event workflow_dispatch --created ">=$since" --limit 1 --json databaseId --jq '.[0].databaseId')
	[ -z "$id" ] || break
	sleep 2
done
[ -n "$id" ] || { echo "FAIL  the workflow has begun within a minute"; exit 1; }
if gh run watch "$id" --exit-status; then
	echo "ok    the job ended well: finish exits 0 only when everything is on the share server"
else
	echo "FAIL  the job ended well (gh run view $id --log-failed)"
	exit 1
fi
