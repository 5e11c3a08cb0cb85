"""The benchmarks behind run.sh: measure, tell how it goes on stderr, print JSON."""
import argparse
import json
import os
import shutil
import signal
import sys
import tempfile

from command import command
from common import Failure, filesystem_of, on_signal, say, stop_all
from isolation import isolation
from journal import journal
from rss import rss
from uplink import uplink

BENCHMARKS = {"uplink": uplink, "isolation": isolation, "rss": rss, "journal": journal,
              "command": command}


def main():
    parser = argparse.ArgumentParser(prog="run.sh", add_help=False)
    parser.add_argument("--build", required=True)
    parser.add_argument("name", choices=list(BENCHMARKS))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--state")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--messages", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--backlog", type=int)
    parser.add_argument("--window", type=int, default=1000)
    parser.add_argument("--only", choices=["bridge", "fieldgate"])
    parser.add_argument("--commit-interval")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--perf")
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)
    args.rounds = args.rounds or {"journal": 9, "isolation": 7}.get(args.name, 3)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    parent = tempfile.mkdtemp(prefix="bench-", dir=args.state or args.build)
    if filesystem_of(parent) in ("tmpfs", "ramfs"):
        say("note: the state directory is in memory; syncing costs nothing there")
    try:
        result = BENCHMARKS[args.name](args, parent)
    except (Failure, FileNotFoundError) as failure:
        say(f"run.sh {args.name}: {failure}")
        return 1
    finally:
        stop_all()
        if not args.keep:
            shutil.rmtree(parent, ignore_errors=True)
    json.dump(result, sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
