#!/bin/sh
# Accepts an installation with systemd: sh deploy/systemd/accept.sh
#
# Each line says what it proves. Exit: 0 all of it; 1 something is not so; 69 there is no systemd for this user here.
set -u
failed=0

prove() {
	what=$1
	shift
	if "$@"; then echo "ok    $what"; else
		echo "FAIL  $what ($*)"
		failed=1
	fi
}

if ! command -v systemctl > /dev/null || ! systemctl --user show-environment > /dev/null 2>&1; then
	echo "skip  there is no systemd for this user here; what can be proven without it:"
	opencode-outbox doctor
	exit 69
fi

prove "the agent's unit is loaded and started at login" systemctl --user is-enabled opencode-outbox
prove "systemd says that the agent runs" systemctl --user is-active opencode-outbox
prove "it was not started again and again" test "$(systemctl --user show -p NRestarts --value opencode-outbox)" -lt 3
if systemctl --user is-enabled opencode-outbox-serve > /dev/null 2>&1; then
	prove "systemd says that the share server runs" systemctl --user is-active opencode-outbox-serve
fi
# `doctor` in the agent's own environment: what was set in its unit counts, what is set in this shell does not.
pid=$(systemctl --user show -p MainPID --value opencode-outbox)
if [ "$pid" -gt 0 ] && [ -r "/proc/$pid/environ" ]; then
	prove "every link works, with the agent's own settings" \
		xargs -0 -a "/proc/$pid/environ" sh -c 'exec env -i "$@" opencode-outbox doctor --expect agent,opencode,capture,server,server-key,round-trip' doctor
else
	prove "every link works" opencode-outbox doctor --expect agent,opencode,capture,server,server-key,round-trip
fi
exit "$failed"
