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
    body = record["quarantined"]["body"] if "quarantined" in record else \
        str(record["settled"]) if "settled" in record else record.get("body", "")
    return "\t".join([record["lane"], str(record["seq"]), record["kind"], record["device"], record["stream"],
                      record.get("content_type", ""), record.get("ref", ""), record.get("link", ""), body])


def read(reader, directory, *options):
    run = subprocess.run([sys.executable, reader, directory, "--json", *options],
                         capture_output=True, text=True)
    return run.returncode, [json.loads(line) for line in run.stdout.splitlines()], run.stderr


def main():
    write_sample, reader = sys.argv[1:]
    with tempfile.TemporaryDirectory() as directory:
        wrote = subprocess.run([write_sample, directory], capture_output=True, text=True, check=True)
        expected = wrote.stdout.splitlines()
        cursors = [line.split("\t")[1:] for line in expected if line.startswith("cursor\t")]
        expected = [line for line in expected if not line.startswith("cursor\t")]
        status, records, errors = read(reader, directory)
        assert status == 0, errors
        found = [fields(record) for record in records
                 if "segment" not in record and record["kind"] != "cursors"]
        assert found == expected, f"{len(found)} records, {len(expected)} expected"
        segments = [record for record in records if "segment" in record]
        assert len(segments) > 3
        assert {record["header_bytes"] for record in segments} == {4096, 8192}, segments
        assert all(record["quarantined"]["lane"] == "alarm" for record in records if "quarantined" in record)
        _, tables, _ = read(reader, directory, "--cursors")
        found = [[table["lane"], name, str(c["watermark"]), json.dumps(c["ranges"]), str(len(c["left_behind"]))]
                 for table in tables for name, c in table["cursors"].items()]
        assert found == cursors, found
        assert tables[0]["cursors"]["hall"]["left_behind"] == {f"{key:016x}": 300 + key for key in range(1, 251)}
        assert all(0 < table["clock"]["newest_message_ms"] <= table["clock"]["clock_ms"] for table in tables), tables

        # What is left to do, as a link and an operator would see it; the reader first: links go on reading.
        found = [["open", link, record["lane"], str(record["seq"])] for link in ("hall", "yard")
                 for record in read(reader, directory, "--open", link)[1]]
        found += [["in quarantine", str(record["seq"])] for record in read(reader, directory, "--quarantined")[1]]
        left = subprocess.run([write_sample, directory, "left"], capture_output=True, text=True, check=True)
        left = [line.split("\t") for line in left.stdout.splitlines()]
        assert found == left, f"{len(found)} are left, {len(left)} expected"
        assert found[-3:] == [["in quarantine", number] for number in ("2", "3", "5")], found[-3:]
        assert len({tuple(line[:3]) for line in found if line[0] == "open"}) == 3

        # One flipped byte in the middle of the second segment: both find the same record damaged.
        path = sorted(glob.glob(os.path.join(directory, "main", "*.seg")))[1]
        with open(path, "r+b") as file:
            file.seek(9000)
            byte = file.read(1)
            file.seek(9000)
            file.write(bytes([byte[0] ^ 0xFF]))
        status, records, errors = read(reader, directory)
        assert status == 1 and "damaged" in errors, errors
        found = [fields(record) for record in records
                 if "segment" not in record and record["kind"] != "cursors"]
        assert len(found) == len(expected) - 1 and set(found) < set(expected)
        print(f"{len(expected)} records agree")


if __name__ == "__main__":
    main()
