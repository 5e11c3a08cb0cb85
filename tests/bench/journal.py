"""The journal alone, beside a bare loop of write and sync, and SQLite."""
import os
import shutil
import subprocess
import tempfile

from common import (Failure, Process, describe_machine, filesystem_of, finish, probe_fdatasync, say,
                    spread, tool)

JOURNAL_BATCHES = (1, 20, 200, 2000)
# Payload that ends a run early: fast ones would only fill the disk.
JOURNAL_RUN_BYTES = {1: 16 << 20, 20: 32 << 20, 200: 48 << 20, 2000: 96 << 20}
JOURNAL_WAYS = {
    "bare": ("bare",),
    "bare_rewriting": ("bare", "--rewriting"),
    "journal_waiting": ("journal", "waiting"),
    "journal_pipelined": ("journal", "pipelined"),
    "journal_1_cursor": ("journal", "waiting", "--cursors", "1"),
    "journal_5_cursors": ("journal", "waiting", "--cursors", "5"),
    "journal_5_cursors_trickling": ("journal", "waiting", "--cursors", "5", "--trickle"),
    "journal_2_lanes": ("journal", "waiting", "--cursors", "1", "--alarm-every", "10"),
    "sqlite": ("sqlite",),
    "sqlite_deleting_apart": ("sqlite", "--delete-apart"),
}
GIB = 1 << 30


def run_tool(args, directory, name, *more):
    return finish(Process(name, [tool(args, name), *more, directory], directory,
                          stdout=subprocess.PIPE), 600)


def journal_run(args, parent, way, batch):
    directory = tempfile.mkdtemp(prefix=way + "-", dir=parent)
    name, *command = JOURNAL_WAYS[way]
    result = run_tool(args, directory, name, "--batch", str(batch), "--seconds",
                      str(args.seconds or 0.5), "--bytes", str(JOURNAL_RUN_BYTES[batch]), *command)
    result["way"] = way
    if way == "bare_rewriting":
        # The kernel counts the whole of the large pages in which the file was written before.
        del result["disk_bytes_per_payload_byte"]
    shutil.rmtree(directory, ignore_errors=True)
    os.sync()  # so that the next one does not wait for what this one has left to do
    return result


def journal_appends(args, parent, ways, sync):
    rounds = []
    for i in range(args.rounds):
        say(f"round {i + 1} of {args.rounds}")
        sync.append(probe_fdatasync(parent))
        for batch in JOURNAL_BATCHES:
            # Whoever comes second may find a warmer or a busier machine: take turns.
            of_batch = {way: journal_run(args, parent, way, batch)
                        for way in (ways if i % 2 == 0 else reversed(ways))}
            bare = of_batch["bare"]["records_per_s"]
            for way in ways:
                of_batch[way]["to_bare"] = round(of_batch[way]["records_per_s"] / bare, 3)
            rounds.append({"batch": batch, "ways": of_batch})
            say(f"  {batch:4} a commit, records/s: " + ", ".join(
                f"{way} {of_batch[way]['records_per_s']:.0f}" for way in ways))
    return rounds


def summarise_appends(rounds, ways):
    figures = {"records_per_s": 0, "to_bare": 3, "disk_bytes_per_payload_byte": 3,
               "device_bytes_per_payload_byte": 3, "journal_bytes_per_payload_byte": 4}
    summary = {}
    for batch in JOURNAL_BATCHES:
        of_batch = [r["ways"] for r in rounds if r["batch"] == batch]
        summary[f"{batch}_a_commit"] = {
            way: {key: spread([r[way][key] for r in of_batch], digits)
                  for key, digits in figures.items() if key in of_batch[0][way]}
            for way in ways}
    return summary


def journal_backlog(args, parent):
    """Reading, starting and memory, on one large journal. None when the disk has no room for it."""
    n_bytes = (args.backlog or 2048) << 20
    free = shutil.disk_usage(parent).free
    if free < 3 * n_bytes:
        say(f"note: {free / GIB:.1f} GiB free, {3 * n_bytes / GIB:.1f} GiB wanted: reading, start-up "
            "and memory are left out (--backlog MIB for a smaller one)")
        return None
    directory = tempfile.mkdtemp(prefix="backlog-", dir=parent)
    filled = run_tool(args, directory, "journal", "--bytes", str(n_bytes), "fill")
    say(f"  {filled['records']} records, {filled['bytes'] / GIB:.2f} GiB written in "
        f"{filled['seconds']:.1f} s")
    killed = run_tool(args, directory, "journal", "open")
    starts = {"warm": [], "cold": []}
    reads = []
    n_records = min(args.messages or 2_000_000, filled["records"])
    for _ in range(args.rounds):
        starts["warm"].append(run_tool(args, directory, "journal", "open"))
        starts["cold"].append(run_tool(args, directory, "journal", "--cold", "open"))
        reads.append(run_tool(args, directory, "journal", "--records", str(n_records), "read"))
        if reads[-1]["records"] != n_records:
            raise Failure("a cursor has not read all")
    work = run_tool(args, directory, "journal", "work")
    if work["read"] < filled["records"]:
        raise Failure("the backlog was not drained")
    shutil.rmtree(directory, ignore_errors=True)
    summary = {
        "bytes": filled["bytes"], "records": filled["records"],
        "reading": {key: spread([r[key] for r in reads], digits) for key, digits in
                    (("records_per_s", 0), ("cpu_us_per_record", 3), ("plain_read_mib_per_s", 0))},
        "start_s": {"after_kill": killed["seconds"],
                    **{name: spread([r["seconds"] for r in of_name], 4)
                       for name, of_name in starts.items()}},
        "memory_kib": work,
    }
    say(f"  reading {summary['reading']['records_per_s']['median']} records/s, start warm "
        f"{summary['start_s']['warm']['median']} s, cold {summary['start_s']['cold']['median']} s, "
        f"memory grown by {work['grown_by_kib']} KiB")
    return summary


def journal_goals(appends, backlog):
    goals = {}

    def goal(name, measured, limit, at_most=True):
        goals[name] = {"measured": measured, "at_most" if at_most else "at_least": limit,
                       "met": measured <= limit if at_most else measured >= limit}

    for name, of_batch in appends.items():
        for way in ("journal_waiting", "journal_pipelined"):
            goal(f"{way}_to_bare_{name}", of_batch[way]["to_bare"]["median"], 0.8, at_most=False)
    for name, limit in (("20_a_commit", 2.5), ("200_a_commit", 1.3)):
        bytes_of = {way: appends[name][way]["disk_bytes_per_payload_byte"]["median"]
                    for way in ("journal_1_cursor", "journal_5_cursors",
                                "journal_5_cursors_trickling")}
        for way, measured in bytes_of.items():
            goal(f"disk_bytes_per_payload_byte_{way}_{name}", measured, limit)
        goal(f"5_cursors_against_1_{name}", round(
            abs(bytes_of["journal_5_cursors"] / bytes_of["journal_1_cursor"] - 1), 4), 0.05)
    if backlog:
        goal("reading_records_per_s", backlog["reading"]["records_per_s"]["median"], 2_000_000,
             at_most=False)
        goal("start_warm_s", backlog["start_s"]["warm"]["median"], 1)
        goal("start_cold_s", backlog["start_s"]["cold"]["median"], 1)
        goal("memory_grown_by_kib", backlog["memory_kib"]["grown_by_kib"], 4096)
    for name, of_name in goals.items():
        if not of_name["met"]:
            say(f"  goal missed: {name}: {of_name['measured']}")
    return goals


def journal(args, parent):
    ways = list(JOURNAL_WAYS)
    if not os.path.exists(tool(args, "sqlite")):
        say("note: built without libsqlite3-dev, so there is nothing of SQLite to compare with")
        ways = [way for way in ways if not way.startswith("sqlite")]
    sync = []  # in each round: a disk in a data centre slows down when it has had its fill
    rounds = journal_appends(args, parent, ways, sync)
    appends = summarise_appends(rounds, ways)
    backlog = journal_backlog(args, parent)
    sync.append(probe_fdatasync(parent))
    result = {
        "benchmark": "journal",
        "machine": describe_machine(),
        "state": {"filesystem": filesystem_of(parent), "fdatasync_us": sync},
        "load": {"payload_bytes": 200, "producers": 8, "seconds": args.seconds or 0.5,
                 "read_batch": 512, "rounds": args.rounds},
        "goals": journal_goals(appends, backlog),
        "appending": appends,
        "backlog": backlog or "left out: not enough room on the disk",
        "rounds": rounds,
    }
    if "sqlite" in ways:
        result["sqlite"] = {"version": rounds[0]["ways"]["sqlite"]["version"],
                            "journal_mode": "WAL", "synchronous": "FULL"}
    return result
