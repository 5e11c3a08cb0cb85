#!/usr/bin/python3
"""Run the end-to-end tests: run.py [NAME...]; a NAME is a test's, or a part of it. --list names them all, each
behind its suite and in front of its priority."""
import collections
import os
import sys
import time
import unittest
import warnings

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

warnings.simplefilter("ignore", DeprecationWarning)


def tests_of(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from tests_of(item)
        else:
            yield item


def name_of(test):
    return test.id().rsplit(".", 1)[1][len("test_"):]


class Result(unittest.TestResult):
    """One line a test, the trouble below it."""

    def __init__(self):
        super().__init__()
        self.problems, self.n_passed = [], 0

    def startTest(self, test):
        super().startTest(test)
        self.begin = time.monotonic()

    def _line(self, test, word, text=""):
        print("%-7s %6.1f s  %s" % (word, time.monotonic() - self.begin, name_of(test).replace("_", " ")))
        if text:
            print("".join("        %s\n" % line for line in text.splitlines()))
        sys.stdout.flush()

    def _problem(self, test, error):
        self.problems.append((test, error))
        test.has_failed = True

    def addSuccess(self, test):
        self.n_passed += 1
        self._line(test, "ok")

    def addFailure(self, test, error):
        self._problem(test, error)
        self._line(test, "FAILED", self._exc_info_to_string(error, test))

    addError = addFailure

    def addSubTest(self, test, subtest, error):
        if error:
            self._problem(test, error)
            self._line(test, "FAILED", "%s\n%s" % (subtest._subDescription(), self._exc_info_to_string(error, test)))

    def addExpectedFailure(self, test, error):
        self.n_passed += 1
        self._line(test, "known")

    def addUnexpectedSuccess(self, test):
        self._problem(test, None)
        self._line(test, "FAILED", "it works now: take the mark off")

    def addSkip(self, test, reason):
        self._line(test, "skipped", reason)


def main(arguments):
    tests = list(tests_of(unittest.TestLoader().discover(HERE, "test_*.py")))
    broken = [t for t in tests if isinstance(t, unittest.loader._FailedTest)]
    if broken:
        broken[0].debug()
    if arguments == ["--list"]:
        twice = {name for name, n in collections.Counter(map(name_of, tests)).items() if n > 1}
        if twice:
            print("two tests have one name: " + ", ".join(sorted(twice)), file=sys.stderr)
            return 1
        for test in tests:
            method = getattr(test, test._testMethodName)
            print("long" if getattr(method, "takes_long", False) else "e2e", name_of(test),
                  1 if getattr(method, "goes_first", False) else 0)
        return 0
    exact = [t for t in tests if name_of(t) in arguments]
    chosen = exact or [t for t in tests if not arguments or any(a in t.id() for a in arguments)]
    if not chosen:
        print("no such test: " + " ".join(arguments))
        return 2
    result = Result()
    for test in chosen:
        test.run(result)
    n_failed = len({id(test) for test, _ in result.problems})
    print("%d passed, %d failed" % (result.n_passed, n_failed))
    skipped = len(chosen) - result.n_passed - n_failed
    if skipped == len(chosen):
        return 77  # what meson takes for "skipped"
    return 1 if n_failed else 0


if __name__ == "__main__":
    os.environ.setdefault("FIELDGATE_BUILD", os.path.join(HERE, "..", "..", "build"))
    sys.exit(main(sys.argv[1:]))
