#!/bin/sh
# The unit is well-formed, and its exposure as systemd-analyze rates it is at most 2.0 of 10.
# Arguments: the unit, the daemon as built (it stands in for the installed one).
set -eu

if ! command -v systemd-analyze >/dev/null; then
	echo "skipped: there is no systemd-analyze here"
	exit 77
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
sed "s#^\(ExecStart[A-Za-z]*=\)[^ ]*#\1$2#" "$1" >"$dir/fieldgate.service"

problems=$(systemd-analyze verify --man=no "$dir/fieldgate.service" 2>&1 | grep "$dir/fieldgate.service" || true)
if [ -n "$problems" ]; then
	echo "$problems"
	exit 1
fi
systemd-analyze security --no-pager --offline=true --threshold=20 "$dir/fieldgate.service" | tail -n 1
