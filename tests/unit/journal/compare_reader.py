#!/usr/bin/env python3
"""The reader that was written from the format's description finds what the daemon's own code wrote.

usage: compare_reader.py WRITE_SAMPLE JOURNAL_READER
"""
import glob
import json
import os
import subprocess
import sys
import tempfile


def fields(record):
    body = record["quarantined"]["body"] if "quarantined" in record else record.get("body", "")
    return "\t".join([record["lane"], str(record["seq"]), record["kind"], record["device"],
                      record["stream"], record.get("content_type", ""), record.get("ref", ""), body])


def read(reader, directory, *options):
    run = subprocess.run([sys.executable, reader, directory, "--json", *options],
                         capture_output=True, text=True)
    return run.returncode, [json.loads(line) for line in run.stdout.splitlines()], run.stderr


def main():
    write_sample, reader = sys.argv[1:]
    with tempfile.TemporaryDirectory() as directory:
        wrote = subprocess.run([write_sample, directory], capture_output=True, text=True, check=True)
        expected = wrote.stdout.splitlines()
        cursor = expected.pop().split("\t")
        status, records, errors = read(reader, directory)
        assert status == 0, errors
        found = [fields(record) for record in records
                 if "segment" not in record and record["kind"] != "cursors"]
        assert found == expected, f"{len(found)} records, {len(expected)} expected"
        assert len({record["segment"] for record in records if "segment" in record}) > 3
        _, cursors, _ = read(reader, directory, "--cursors")
        assert cursors[0][cursor[1]]["watermark"] == int(cursor[2]), cursors

        # One flipped byte in the middle of the second segment: both find the same record damaged.
        path = sorted(glob.glob(os.path.join(directory, "main", "*.seg")))[1]
        with open(path, "r+b") as file:
            file.seek(9000)
            byte = file.read(1)
            file.seek(9000)
            file.write(bytes([byte[0] ^ 0xFF]))
        status, records, errors = read(reader, directory)
        assert status == 1 and "damaged" in errors, errors
        assert sum(record.get("kind") in ("telemetry", "attributes", "presence", "command response",
                                          "event") for record in records) == len(expected) - 2
        print(f"{len(expected)} records agree")


if __name__ == "__main__":
    main()
