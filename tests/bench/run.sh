#!/bin/bash
# Runs a benchmark: builds what it needs, prints progress to stderr and one JSON object to stdout.
# FIELDGATE_BUILD names the build directory (default: build/ in the source tree).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
source_dir=$(cd "$here/../.." && pwd)
build_dir=${FIELDGATE_BUILD:-$source_dir/build}

usage()
{
	cat <<-'END'
	usage: tests/bench/run.sh NAME [--json] [OPTION...]

	  uplink   the same QoS 1 load through a Mosquitto bridge and through fieldgate, in turn
	  isolation  a link beside four whose clouds are dead, against the same link alone
	  rss      memory of the gateway: idle, with 1 000 000 records waiting for two clouds, draining
	  journal  the journal alone: appending against a bare write and sync, bytes written, reading,
	           start-up, memory, and the same work done with SQLite
	  command  commands from the cloud's broker to the field's: latency, and memory with 1 000 open

	  --json             accepted for clarity: the result always is one JSON object on stdout
	  --state DIR        where state goes, on a real disk (default: the build directory)
	  --rounds N         uplink: rounds of each way (default 3); isolation (default 7) and journal
	                     (default 9): likewise
	  --messages N       messages of one throughput round or of the backlog; journal: records read;
	                     command: commands of the latency round (default 2000)
	  --seconds N        uplink, isolation: length of one latency round (default 10, 5); journal: of
	                     one run at the most (default 0.5)
	  --backlog MIB      journal: size of the journal to start with (default 2048)
	  --only WAY         uplink: "bridge" or "fieldgate" alone
	  --commit-interval D  the gateway's journal.commit_interval, such as 5ms (default: none)
	  --keep             uplink, rss: keep the state directories and logs
	  --perf FILE        uplink: profile the gateway in its first throughput round (perf record -g)

	See tests/bench/README.md for what each figure means.
	END
}

case ${1-} in
-h | --help)
	usage
	exit 0
	;;
uplink | isolation | rss | journal | command) ;;
*)
	echo "run.sh: unknown benchmark \"${1-}\"" >&2
	usage >&2
	exit 2
	;;
esac
for argument; do
	if [ "$argument" = --help ] || [ "$argument" = -h ]; then
		usage
		exit 0
	fi
done

if [ "$1" = journal ]; then
	. "$source_dir/tests/packages.sh"
	# Without SQLite there is less to compare with, and a build directory set up before needs a second look.
	if install_packages "${packages_bench[@]}" >&2 && [ -f "$build_dir/build.ninja" ] &&
		[ ! -x "$build_dir/tests/bench/bench-sqlite" ]; then
		meson setup --reconfigure "$build_dir" "$source_dir" >&2
	fi
fi
if [ ! -f "$build_dir/build.ninja" ]; then
	meson setup "$build_dir" "$source_dir" >&2
fi
ninja -C "$build_dir" >&2
exec /usr/bin/python3 -B "$here/bench.py" --build "$build_dir" "$@"
