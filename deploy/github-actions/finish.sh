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

if [ -s "$ACTION_STATE/agent.pid" ]; then
	agent=$(cat "$ACTION_STATE/agent.pid")
	# A pid may be somebody else's by now; ours says so in its command line, where there is one to look at.
	if [ ! -r "/proc/$agent/cmdline" ] || grep -q opencode-outbox "/proc/$agent/cmdline"; then
		# The first SIGTERM drains for up to 8 s. There is nothing left to drain, or nobody who takes it.
		kill -TERM "$agent" 2> /dev/null
		tries=0
		while kill -0 "$agent" 2> /dev/null && [ "$tries" -lt 120 ]; do
			tries=$((tries + 1))
			[ "$tries" -ne 10 ] || [ "$code" -eq 0 ] || kill -TERM "$agent" 2> /dev/null
			sleep 0.1
		done
		kill -KILL "$agent" 2> /dev/null
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
