#!/bin/sh
# Accepts an installation in containers:
#   sh deploy/container/accept.sh kubernetes [POD]    default: opencode-0; NAMESPACE=… for another namespace
#   sh deploy/container/accept.sh compose
#   sh deploy/container/accept.sh docker              the image alone
#
# Each line says what it proves. Exit: 0 all of it; 1 something is not so; 64 usage; 69 the tool for it is not here.
set -u
failed=0
everything=agent,opencode,capture,server,server-key,round-trip
here=$(dirname "$0")

prove() {
	what=$1
	shift
	if "$@"; then echo "ok    $what"; else
		echo "FAIL  $what ($*)"
		failed=1
	fi
}

need() {
	command -v "$1" > /dev/null && return
	echo "skip  $1 is not here, so nothing can be proven from here. In the container itself: opencode-outbox doctor"
	exit 69
}

in_namespace() {
	if [ -n "${NAMESPACE:-}" ]; then kubectl --namespace "$NAMESPACE" "$@"; else kubectl "$@"; fi
}

# By what Kubernetes says of the pod: the sidecar is an init container that is kept running.
is_sidecar() {
	[ "$(in_namespace get pod "$pod" -o 'jsonpath={.spec.initContainers[?(@.name=="outbox")].restartPolicy}')" = Always ]
}

# Deletes the pod, and looks how its sidecar ended: 0 is after a drain, 137 is a kill at the end of the grace period.
ends_well() {
	in_namespace delete pod "$pod" --wait=false > /dev/null || return 1
	code=
	for _ in $(seq 60); do
		now=$(in_namespace get pod "$pod" -o 'jsonpath={.status.initContainerStatuses[?(@.name=="outbox")].state.terminated.exitCode}' 2> /dev/null) || break
		[ -z "$now" ] || code=$now
		sleep 0.5
	done
	[ "${code:-0}" = 0 ]
}

case ${1:-} in
kubernetes)
	need kubectl
	pod=${2:-opencode-0}
	prove "the pod runs, and all of its containers are ready" in_namespace wait --for=condition=Ready "pod/$pod" --timeout=120s
	prove "the agent is a native sidecar: it outlives OpenCode and drains" is_sidecar
	prove "every link works, as the agent sees it" in_namespace exec "$pod" -c outbox -- opencode-outbox doctor --expect "$everything"
	if [ "${DELETE:-}" = yes ]; then
		prove "the pod ends by a drain, not by a kill" ends_well
	else
		echo "skip  that the pod ends by a drain: DELETE=yes deletes it and looks"
	fi
	;;
compose)
	need docker
	docker compose version > /dev/null 2>&1 || { echo "skip  docker compose is not here"; exit 69; }
	prove "both services run" test "$(docker compose -f "$here/compose.yaml" ps --status running --services | wc -l)" -eq 2
	prove "every link works, as the agent sees it" docker compose -f "$here/compose.yaml" exec outbox opencode-outbox doctor --expect "$everything"
	;;
docker)
	need docker
	docker info > /dev/null 2>&1 || { echo "skip  docker runs no daemon here"; exit 69; }
	image=${2:-opencode-outbox:agent}
	prove "the image runs as somebody else than root" test "$(docker run --rm --entrypoint id "$image" -u)" -ne 0
	prove "the program runs in it, and can write its data" docker run --rm "$image" doctor --expect runtime,settings,data-dir
	;;
*)
	sed -n '2,7s/^# \{0,1\}//p' "$0"
	exit 64
	;;
esac
exit "$failed"
