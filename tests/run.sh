#!/bin/bash
# The test command: installs what is missing, builds, runs, and closes with "N passed, N failed".
set -u
cd "$(dirname "$0")/.."
top=$PWD

usage() {
	cat <<'EOT'
Usage: tests/run.sh [SUITE [NAME]]

Without arguments: the whole suite (unit, vectors, powercut, e2e, sanitize).

  unit [NAME]      modules, fuzz corpora, documentation checks
  vectors [CLOUD]  each cloud's conformance cases, one line a case
  powercut         20 000 simulated power cuts, and proof that the rig can fail
  e2e [NAME]       the daemon with real brokers and real clients
  sanitize         unit, vectors and e2e again: clang, AddressSanitizer, UBSan
  long [NAME]      what is too slow for every run
  coverage         how many lines of the journal its tests reach (tests/coverage.sh)

NAME is a part of a test's name. Needs root only when packages are missing.
Environment: BUILD (default "build"), SANITIZE_BUILD (default "build-sanitize").
Exit status: 0 all passed, 1 some failed, 2 wrong arguments or no build.
EOT
}

suite=${1:-all}
name=${2:-}
case $suite in
all | unit | vectors | powercut | e2e | sanitize | long) ;;
coverage) exec tests/coverage.sh ;;
-h | --help)
	usage
	exit 0
	;;
*)
	usage >&2
	exit 2
	;;
esac
[ $# -le 2 ] || { usage >&2; exit 2; }

build=${BUILD:-build}
sanitize_build=${SANITIZE_BUILD:-build-sanitize}
passed=0 failed=0 skipped=0
failures=()

# configure DIR [meson options]
configure() {
	local dir=$1
	shift
	if [ ! -f "$dir/build.ninja" ]; then
		meson setup "$dir" -Dtests=enabled -Dwerror=true "$@" >"$dir.setup.log" 2>&1 || {
			cat "$dir.setup.log"
			return 1
		}
		rm -f "$dir.setup.log"
	elif [ -n "${has_installed:-}" ]; then
		# Made by the quick start, with fewer packages: what was not there then has no test yet.
		meson setup --reconfigure "$dir" >/dev/null || return 1
	fi
	ninja -C "$dir" || return 1
}

# run DIR SUITE [NAME]: one line a test as meson prints it, counted from its log
run() {
	local dir=$1 what=$2 match=${3:-} names=() list p f s
	list=$(cd "$top" && meson test -C "$dir" --no-rebuild --suite "$what" --list 2>/dev/null | sed -n 's/^.* \/ //p')
	while IFS= read -r line; do
		[ -n "$line" ] && case $line in *"$match"*) names+=("$line") ;; esac
	done <<<"$list"
	if [ ${#names[@]} -eq 0 ]; then
		echo "no test of suite $what has \"$match\" in its name" >&2
		failed=$((failed + 1))
		return
	fi
	# Most tests wait more than they work. A slow machine is no failure.
	meson test -C "$dir" --no-rebuild --num-processes "$((2 * $(nproc)))" --timeout-multiplier 4 \
		--suite "$what" --print-errorlogs --no-stdsplit "${names[@]}" |
		grep -v -e '^$' -e '^Ok: ' -e '^Expected Fail' -e '^Fail: ' -e '^Unexpected Pass' -e '^Skipped: ' \
			-e '^Timeout: ' -e '^Full log' -e '^ninja: Entering'
	read -r p f s < <(/usr/bin/python3 - "$dir/meson-logs/testlog.json" <<'PY'
import json, sys
p = f = s = 0
for line in open(sys.argv[1], encoding="utf-8"):
    result = json.loads(line)["result"]
    if result in ("OK", "EXPECTEDFAIL"):
        p += 1
    elif result == "SKIP":
        s += 1
    else:
        f += 1
print(p, f, s)
PY
	)
	passed=$((passed + ${p:-0})) failed=$((failed + ${f:-1})) skipped=$((skipped + ${s:-0}))
	[ "${f:-1}" -eq 0 ] || failures+=("$what")
}

. tests/packages.sh
install_packages "${packages_build[@]}" "${packages_test[@]}" || exit 2

started=$SECONDS
if [ "$suite" != sanitize ]; then
	echo "== building in $build (gcc, warnings are errors)"
	configure "$build" | tail -n 1
	[ "${PIPESTATUS[0]}" -eq 0 ] || { ninja -C "$build"; exit 2; }
fi
if [ "$suite" = vectors ] && [ -n "$name" ] && [ ! -f "tests/vectors/$name.json" ] && [ ! -d "tests/vectors/$name" ]; then
	echo "no vectors for \"$name\"" >&2
	exit 2
fi

case $suite in
all) parts=(unit vectors powercut e2e) ;;
sanitize) parts=() ;;
*) parts=("$suite") ;;
esac
for part in ${parts[@]+"${parts[@]}"}; do
	echo "== $part"
	run "$build" "$part" "$name"
	# A conformance case is worth a line of its own.
	[ "$suite" = vectors ] && grep -ahE '^(ok|not ok|not yet) ' "$build/meson-logs/testlog.txt"
done
if [ "$suite" = all ] || [ "$suite" = sanitize ]; then
	echo "== building in $sanitize_build (clang, AddressSanitizer, UndefinedBehaviorSanitizer)"
	CC=clang configure "$sanitize_build" -Db_sanitize=address,undefined -Db_lundef=false | tail -n 1
	[ "${PIPESTATUS[0]}" -eq 0 ] || { ninja -C "$sanitize_build"; exit 2; }
	export ASAN_OPTIONS=detect_leaks=1:abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
	for part in unit vectors e2e; do
		echo "== $part, sanitized"
		run "$sanitize_build" "$part" "$name"
	done
fi

echo
echo "took $((SECONDS - started)) s"
[ ${#failures[@]} -eq 0 ] || echo "failed in: ${failures[*]} (logs in $build/meson-logs)"
if [ "$skipped" -gt 0 ]; then
	echo "$passed passed, $failed failed, $skipped skipped"
else
	echo "$passed passed, $failed failed"
fi
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
