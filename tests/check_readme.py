#!/usr/bin/python3
"""check_readme.py README BUILD: every test and every vector that the README names is there."""
import glob
import json
import os
import re
import subprocess
import sys


def is_test(name, tests):
    """"…" stands for anything."""
    pattern = ".*".join(re.escape(part.strip()) for part in name.split("…"))
    return any(re.search(pattern, test) for test in tests)


def all_tests(build, directory):
    """What the build knows; and what there is end to end, of which it knows only what it was configured with."""
    with open(os.path.join(build, "meson-info", "intro-tests.json"), encoding="utf-8") as f:
        tests = [test["name"] for test in json.load(f)]
    listed = subprocess.run([sys.executable, "-W", "ignore", os.path.join(directory, "e2e", "run.py"), "--list"],
                            check=True, stdout=subprocess.PIPE).stdout.decode()
    return tests + [line.split()[1].replace("_", " ") for line in listed.splitlines()]


def main(readme, build):
    directory = os.path.join(os.path.dirname(os.path.abspath(readme)), "tests")
    tests = all_tests(build, directory)
    directory = os.path.join(directory, "vectors")
    vectors = ""
    for name in glob.glob(os.path.join(directory, "*", "*.json")):
        with open(name, encoding="utf-8") as f:
            vectors += f.read()
    with open(readme, encoding="utf-8") as f:
        rows = [line for line in f if line.startswith("|")]
    named = [name for row in rows for name in re.findall(r'"([^"]+)"', row)]
    cases = [case for row in rows for case in re.findall(r"\b(?:TB-|W)\d\d\b", row)]
    wrong = [name for name in named if not is_test(name, tests)]
    wrong += [case for case in cases if '"id": "%s' % case not in vectors]
    for name in wrong:
        print("%s names what is not there: %s" % (readme, name))
    if not named or not cases:
        print("%s names no tests" % readme)
    return 1 if wrong or not named or not cases else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
