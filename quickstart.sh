#!/bin/bash
#
# fieldgate in one minute: builds the gateway, puts it between a field broker and a simulated ThingsBoard on
# this machine, publishes telemetry, takes the uplink away in the middle, gives it back, and counts; then
# sends a command from ThingsBoard to a device and shows the way of its answer.
# Ends with status 0 only when everything that was published has been delivered and the command answered.
#
# Needs a Debian 12 and, if packages are missing, root to install them. Listens on 127.0.0.1 only, on free
# ports, and leaves nothing behind but build/ and the packages.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"

build=build

say() {
	printf '\n== %s\n' "$*"
}

log=$(mktemp)
scratch=$(mktemp -d)
demo=
# Runs on every way out. The demonstration ends what it started when it is asked to end, and what it
# started dies with it in any case.
clean_up() {
	trap - EXIT
	if [ -n "$demo" ] && kill -TERM "$demo" 2>/dev/null; then
		wait "$demo" 2>/dev/null || true
	fi
	rm -rf "$scratch" "$log"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Run a command quietly; show what it said only when it fails.
quietly() {
	if ! "$@" >"$log" 2>&1; then
		cat "$log" >&2
		echo "quickstart: failed: $*" >&2
		exit 1
	fi
}

. tests/packages.sh
install_packages "${packages_build[@]}" "${packages_sim[@]}" || exit 1

say "building into $build/"
if [ ! -f "$build/build.ninja" ]; then
	quietly meson setup -Dtests=enabled "$build"
fi
quietly ninja -C "$build" src/fieldgate src/fieldgatectl plugins/thingsboard.so tests/cloudsim/thingsboard_broker.so
echo "   $(ls -l "$build/src/fieldgate" | awk '{printf "%.0f KiB", $5 / 1024}') daemon, version $("$build/src/fieldgate" --version)"

FIELDGATE_BUILD=$build /usr/bin/python3 -W ignore tests/e2e/demo.py "$scratch" &
demo=$!
status=0
wait "$demo" || status=$?
demo=
exit "$status"
