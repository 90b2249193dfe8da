#!/bin/sh
# Starts the agent in the background and tells the later steps of the job where it is. Called by action.yml.
#
# In:  ACTION_SERVER, ACTION_SERVER_KEY, ACTION_DATA_DIR, ACTION_PACKAGE; RUNNER_TEMP, GITHUB_ENV.
# Out: OPENCODE_OUTBOX_* for the later steps, and ACTION_STATE for finish.sh, in GITHUB_ENV.
# Exit: 0 the agent runs; 64 an input is missing; else what the agent ended with, after its log.
set -eu
umask 077

if [ -z "${ACTION_SERVER:-}" ] || [ -z "${ACTION_SERVER_KEY:-}" ]; then
	echo "::error::opencode-outbox: the inputs server and server-key are needed at phase start. Is the secret set, and may this event read it?"
	exit 64
fi

state="$RUNNER_TEMP/opencode-outbox"
mkdir -p "$state"
# printf is the shell's own, so that the key is in no command line.
printf '%s\n' "$ACTION_SERVER_KEY" > "$state/server-key"
unset ACTION_SERVER_KEY

command -v opencode-outbox > /dev/null || npm install --global --no-audit --no-fund "${ACTION_PACKAGE:-opencode-outbox}"

OPENCODE_OUTBOX_SERVER="$ACTION_SERVER"
OPENCODE_OUTBOX_SERVER_KEY_FILE="$state/server-key"
OPENCODE_OUTBOX_DATA_DIR="${ACTION_DATA_DIR:-$state/data}"
export OPENCODE_OUTBOX_SERVER OPENCODE_OUTBOX_SERVER_KEY_FILE OPENCODE_OUTBOX_DATA_DIR
# flush, status and doctor of the later steps must know them too.
{
	echo "OPENCODE_OUTBOX_SERVER=$OPENCODE_OUTBOX_SERVER"
	echo "OPENCODE_OUTBOX_SERVER_KEY_FILE=$OPENCODE_OUTBOX_SERVER_KEY_FILE"
	echo "OPENCODE_OUTBOX_DATA_DIR=$OPENCODE_OUTBOX_DATA_DIR"
	echo "ACTION_STATE=$state"
} >> "$GITHUB_ENV"

: > "$state/ready"
nohup opencode-outbox run --json > "$state/ready" 2>> "$state/agent.log" < /dev/null &
agent=$!
echo "$agent" > "$state/agent.pid"

tries=0
# The line that says that it runs has its pid; with --json, what keeps it from that is told on stdout too.
while ! grep -q '"pid"' "$state/ready"; do
	if ! kill -0 "$agent" 2> /dev/null || [ "$tries" -ge 300 ]; then
		code=70
		if ! kill -0 "$agent" 2> /dev/null; then wait "$agent" && code=70 || code=$?; fi
		kill "$agent" 2> /dev/null || true
		rm -f "$state/agent.pid" "$state/server-key"
		cat "$state/agent.log" "$state/ready"
		echo "::error::opencode-outbox: the agent did not start (exit code $code). Its log is above."
		exit "$code"
	fi
	tries=$((tries + 1))
	sleep 0.1
done
echo "opencode-outbox runs: $(cat "$state/ready")"
