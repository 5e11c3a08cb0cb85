#!/usr/bin/python3
"""check_cases.py BUILD: every case of a cloud's specification is there, as data or as another test.

The data are the files beside this one; a case that *needs* something does not count. README.md beside them has a table of
those that are tested elsewhere, each with the name of a test that is there.
"""
import glob
import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))

from check_readme import all_tests, is_test  # noqa: E402

# cloud: how its cases are called, and how many its specification has
CASES = {"thingsboard": ("TB-%02d", 40), "huawei": ("W%02d", 40)}


def in_data(cloud):
    """The ids of all cases that are played."""
    found = set()
    for path in glob.glob(os.path.join(HERE, cloud, "*.json")):
        with open(path, encoding="utf-8") as f:
            found |= {case["id"] for case in json.load(f) if "id" in case and "needs" not in case}
    return found


def elsewhere():
    """{case: [name of a test]} of the table."""
    with open(os.path.join(HERE, "README.md"), encoding="utf-8") as f:
        rows = [re.fullmatch(r"\| (TB-\d\d|W\d\d) \|(.*)\|\n", line) for line in f]
    return {row[1]: re.findall(r'"([^"]+)"', row[2]) for row in rows if row}


def main(build):
    tests, others, wrong = all_tests(build, os.path.join(HERE, "..")), elsewhere(), []
    for case, names in others.items():
        wrong += ["%s: README.md names no test of it" % case] if not names else []
        wrong += ["%s: no test is called %s" % (case, name) for name in names if not is_test(name, tests)]
    for cloud, (form, count) in CASES.items():
        ids = in_data(cloud)
        for case in (form % n for n in range(1, count + 1)):
            if case not in others and not any(re.fullmatch(case + "[a-z]?", id_) for id_ in ids):
                wrong.append("%s: %s has no test" % (cloud, case))
    print("\n".join(wrong) or "all cases are there")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
