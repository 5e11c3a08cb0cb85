#!/bin/bash
#
# fieldgate in one minute: builds the gateway, puts it between a field broker and a simulated ThingsBoard on
# this machine, publishes telemetry, takes the uplink away in the middle, gives it back, and counts.
# Ends with status 0 only when everything that was published has been delivered.
#
# Needs a Debian 12 and, if packages are missing, root to install them. Listens on 127.0.0.1 only, on free
# ports, and leaves nothing behind but build/ and the packages.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"

build=build
packages=(
	gcc libc6-dev meson ninja-build pkg-config
	libmosquitto-dev libssl-dev libyaml-dev libev-dev libsystemd-dev libjson-c-dev libcmocka-dev
	mosquitto mosquitto-dev mosquitto-clients python3 python3-paho-mqtt
)

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

missing=()
for package in "${packages[@]}"; do
	case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true) in
	*' installed') ;;
	*) missing+=("$package") ;;
	esac
done
if [ ${#missing[@]} -gt 0 ]; then
	say "installing ${#missing[@]} Debian packages: ${missing[*]}"
	if [ "$(id -u)" -ne 0 ]; then
		echo "quickstart: run me as root, or first: apt-get install ${missing[*]}" >&2
		exit 1
	fi
	export DEBIAN_FRONTEND=noninteractive
	quietly apt-get update
	quietly apt-get install -y --no-install-recommends "${missing[@]}"
else
	say "all Debian packages are there"
fi

say "building into $build/"
if [ ! -f "$build/build.ninja" ]; then
	quietly meson setup --buildtype=release "$build"
fi
quietly ninja -C "$build" src/fieldgate plugins/thingsboard.so tests/cloudsim/thingsboard_broker.so
echo "   $(ls -l "$build/src/fieldgate" | awk '{printf "%.0f KiB", $5 / 1024}') daemon, version $("$build/src/fieldgate" --version)"

FIELDGATE_BUILD=$build /usr/bin/python3 -W ignore tests/e2e/demo.py "$scratch" &
demo=$!
status=0
wait "$demo" || status=$?
demo=
exit "$status"
