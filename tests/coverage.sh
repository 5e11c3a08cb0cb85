#!/bin/bash
# How much of the journal its tests reach: builds with coverage, runs them, prints lines by file.
set -u
cd "$(dirname "$0")/.."

usage() {
	cat <<'EOT'
Usage: tests/coverage.sh [--least PERCENT] [--missed]

Builds with gcc's coverage counters in a directory of its own, runs the journal's unit tests, its fuzz
corpora and a few thousand simulated power cuts, and prints for each file of src/journal, and for all
of them together, how many lines were run. Takes about a minute.

  --least PERCENT  what the total has to reach, 95 without this
  --missed         also print the lines that were not run

Environment: COVERAGE_BUILD (default "build-coverage").
Exit status: 0 enough, 1 less than that or a test failed, 2 wrong arguments or no build.
EOT
}

least=95 missed=
while [ $# -gt 0 ]; do
	case $1 in
	--least)
		case ${2:-} in
		'' | *[!0-9]*) usage >&2; exit 2 ;;
		esac
		least=$2
		shift
		;;
	--missed) missed=yes ;;
	-h | --help) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
	shift
done

. tests/packages.sh
install_packages "${packages_build[@]}" "${packages_test[@]}" || exit 2

build=${COVERAGE_BUILD:-build-coverage}
if [ ! -f "$build/build.ninja" ]; then
	CC=gcc meson setup "$build" -Dtests=enabled -Dbuildtype=debug -Db_coverage=true >"$build.setup.log" 2>&1 || {
		cat "$build.setup.log"
		exit 2
	}
	rm -f "$build.setup.log"
fi

# The lists of tests and targets below are those of now.
ninja -C "$build" build.ninja >"$build/coverage-build.log" 2>&1 || { cat "$build/coverage-build.log"; exit 2; }
# What was counted before is of no interest, and may be of other sources.
find "$build" -name '*.gcda' -delete
mapfile -t targets < <(meson introspect --targets "$build" | /usr/bin/python3 -c '
import json, os, sys
for target in json.load(sys.stdin):
    if target["type"] == "executable" and os.path.dirname(os.path.relpath(target["defined_in"])) in (
            "tests/unit/journal", "tests/fuzz/journal", "tests/powercut"):
        print(os.path.relpath(target["filename"][0], sys.argv[1]))
' "$(realpath "$build")")
mapfile -t names < <(meson introspect --tests "$build" | /usr/bin/python3 -c '
import json, sys
for test in json.load(sys.stdin):
    if any("/tests/%s/journal/" % kind in argument for kind in ("unit", "fuzz") for argument in test["cmd"]):
        print(test["name"])
')
[ ${#targets[@]} -gt 0 ] && [ ${#names[@]} -gt 0 ] || { echo "no tests of the journal in $build" >&2; exit 2; }

echo "== building in $build (gcc, coverage)"
ninja -C "$build" "${targets[@]}" >"$build/coverage-build.log" 2>&1 || { cat "$build/coverage-build.log"; exit 2; }

status=0
echo "== ${#names[@]} tests"
meson test -C "$build" --no-rebuild --suite unit --timeout-multiplier 4 "${names[@]}" >"$build/coverage-tests.log" 2>&1 || {
	grep -E ' (FAIL|TIMEOUT|ERROR) ' "$build/coverage-tests.log"
	echo "a test has failed (log: $build/meson-logs/testlog.txt)"
	status=1
}
echo "== power cuts"
"$build"/tests/powercut/powercut --cuts 3000 --seed 1 >"$build/coverage-powercut.log" 2>&1 || {
	cat "$build/coverage-powercut.log"
	status=1
}

echo "== lines run"
find "$build/src/journal" -name '*.gcda' -exec gcov --json-format --stdout {} + 2>/dev/null |
	/usr/bin/python3 -c '
import json, os, sys
least, missed, build = float(sys.argv[1]), sys.argv[2], sys.argv[3]
runs = {}
for document in filter(None, map(str.strip, sys.stdin)):
    document = json.loads(document)
    for file in document["files"]:
        name = os.path.relpath(os.path.join(document["current_working_directory"], file["file"]))
        if not name.startswith("src/journal/"):
            continue
        lines = runs.setdefault(name, {})
        for line in file["lines"]:
            lines[line["line_number"]] = lines.get(line["line_number"], 0) + line["count"]
if not runs:
    sys.exit("nothing was counted")
def say(name, n, total):
    print(f"{name:<32} {n:>5} of {total:>5}  {100 * n / total:6.1f} %")
n_run = n_all = 0
for name, lines in sorted(runs.items()):
    n = sum(count > 0 for count in lines.values())
    say(name, n, len(lines))
    n_run, n_all = n_run + n, n_all + len(lines)
    if missed:
        source = open(name).read().splitlines()
        for line in sorted(lines):
            if lines[line] == 0:
                print(f"  {name}:{line}: {source[line - 1].strip()}")
say("all", n_run, n_all)
if 100 * n_run < least * n_all:
    sys.exit(f"less than {least:g} %")
' "$least" "$missed" "$build" || status=1
exit $status
