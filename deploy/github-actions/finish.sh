#!/bin/sh
# Sends what is left, within a deadline, ends the agent, and takes the key away. Called by action.yml; may be called again.
#
# In:  ACTION_TIMEOUT, ACTION_STATE and OPENCODE_OUTBOX_* (from start.sh); GITHUB_OUTPUT, GITHUB_STEP_SUMMARY.
# Out: exit-code in GITHUB_OUTPUT; what `status` says in the job's summary.
# Exit: that of `opencode-outbox flush`: 0 everything is on the share server; 75 not within the deadline.
set -u
umask 077

if [ -z "${ACTION_STATE:-}" ] || [ ! -d "$ACTION_STATE" ]; then
	echo "::error::opencode-outbox: phase finish without phase start in this job."
	exit 64
fi

# Also when the agent was killed meanwhile: flush does its work then.
opencode-outbox flush --timeout "${ACTION_TIMEOUT:-60s}"
code=$?

# A zombie has ended, although nobody may ever look.
alive() {
	kill -0 "$1" 2> /dev/null && ! grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2> /dev/null
}

# A pid may be somebody else's by now; ours was started as start.sh does, where that can be looked at.
ours() {
	[ ! -r "/proc/$1/cmdline" ] || tr '\0' ' ' < "/proc/$1/cmdline" | grep -q ' run --json '
}

# Waits until a process is gone, for that many tenths of a second at most.
gone() {
	tries=0
	while alive "$1"; do
		[ "$tries" -lt "$2" ] || return 1
		tries=$((tries + 1))
		sleep 0.1
	done
}

if [ -s "$ACTION_STATE/agent.pid" ]; then
	agent=$(cat "$ACTION_STATE/agent.pid")
	if alive "$agent" && ours "$agent"; then
		# The first SIGTERM drains for up to 8 s, the second ends at once, and a kill loses nothing either.
		kill -TERM "$agent" 2> /dev/null
		gone "$agent" 100 || kill -TERM "$agent" 2> /dev/null
		gone "$agent" 50 || kill -KILL "$agent" 2> /dev/null
		gone "$agent" 50
	fi
	rm -f "$ACTION_STATE/agent.pid"
fi

{
	echo "### opencode-outbox: exit code $code"
	echo '```'
	opencode-outbox status
	echo '```'
} >> "${GITHUB_STEP_SUMMARY:-/dev/null}" 2>&1
[ -z "${GITHUB_OUTPUT:-}" ] || echo "exit-code=$code" >> "$GITHUB_OUTPUT"

if [ "$code" -eq 0 ]; then
	rm -f "$ACTION_STATE/server-key"
else
	# Kept with the key, so that this step can be run again in the job; a hosted runner is thrown away with both.
	tail -n 20 "$ACTION_STATE/agent.log" 2> /dev/null
	echo "::error::opencode-outbox: not everything is on the share server (exit code $code). The outbox is kept in $OPENCODE_OUTBOX_DATA_DIR: finish again sends it."
fi
exit "$code"
