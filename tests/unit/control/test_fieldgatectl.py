#!/usr/bin/env python3
"""fieldgatectl on journals that are whole, damaged, and made up; the reader in Python is the oracle.

usage: test_fieldgatectl.py FIELDGATECTL WRITE_SAMPLE JOURNAL_READER
"""
import base64
import fcntl
import importlib.util
import json
import os
import pty
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import unittest

CTL = WRITE_SAMPLE = READER = reader = None
N_FLIPS = 250
N_ROUNDS = 40
HEADER = 4096


def ctl(*words):
    """(exit status, standard output, standard error). A crash or a sanitizer's complaint is a failure."""
    run = subprocess.run([CTL, *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
                         env=dict(os.environ, ASAN_OPTIONS="exitcode=99", UBSAN_OPTIONS="halt_on_error=1:exitcode=99"))
    errors = run.stderr.decode(errors="replace")
    assert run.returncode in (0, 1, 2), "%s: exit status %s\n%s" % (words, run.returncode, errors)
    return run.returncode, run.stdout, errors


def contents(path):
    with open(path, "rb") as file:
        return file.read()


def objects(*words):
    status, out, _ = ctl(*words, "--json")
    return status, [json.loads(line) for line in out.splitlines()]


def record(seq, body=b"{}", device=b"dev", kind=1, batch_index=0, flags=0, stream=b"", time_us=0, id=b"J" * 16,
           more=b""):
    data = struct.pack("<QqIBBBB", seq, time_us, batch_index, kind, flags, len(device), len(stream)) + \
        device + stream + more + body
    data = struct.pack("<I", len(data) + 8) + data
    data = struct.pack("<I", reader.crc32c(data, reader.crc32c(id))) + data
    return data + bytes(-len(data) % 8)


def segment(first_seq, records=(), version=1, incompatible=0, id=b"J" * 16, table=b"\0\0"):
    head = struct.pack("<HHIIQq16sII", version, HEADER, 0, incompatible, first_seq, 0, id, len(table), 0) + table
    head += bytes(HEADER - 12 - len(head))
    return b"FGJRNL\r\n" + struct.pack("<I", reader.crc32c(head)) + head + b"".join(records)


def quarantined(link, reason, topic, body, attempts=3, whole=None):
    return bytes([len(link)]) + link + struct.pack("<H", len(reason)) + reason + struct.pack("<H", len(topic)) + \
        topic + struct.pack("<BBIQ", 1, 1, attempts, len(body) if whole is None else whole) + body


class Journal(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="fieldgatectl-")
        self.addCleanup(shutil.rmtree, self.dir)

    def sample(self):
        subprocess.run([WRITE_SAMPLE, self.dir], check=True, stdout=subprocess.DEVNULL)

    def make(self, lane, *segments):
        """Writes segments, {first_seq: bytes}-wise by their headers."""
        os.makedirs(os.path.join(self.dir, lane), exist_ok=True)
        for data in segments:
            first_seq, = struct.unpack_from("<Q", data, 24)
            with open(self.path(lane, "%016x.seg" % first_seq), "wb") as file:
                file.write(data)

    def path(self, lane, name):
        return os.path.join(self.dir, lane, name)

    def segments(self, lane="main"):
        directory = os.path.join(self.dir, lane)
        return [os.path.join(directory, name) for name in sorted(os.listdir(directory)) if name.endswith(".seg")]

    def lane(self, found, lane="main"):
        return next(o for o in found if o["type"] == "lane" and o["lane"] == lane)

    # ---- against the reader in Python

    def compare(self):
        """Both find the same records, the same holes and the same cursors. Returns the exit status."""
        complaints, theirs = [], []
        cursors = {}
        for lane in reader.LANES:
            directory = os.path.join(self.dir, lane)
            if not os.path.isdir(directory):
                continue
            for r in reader.read_lane(directory, complaints.append):
                if lane in reader.LANES_WITH_CURSORS and "cursors" in r:
                    cursors[lane] = r["cursors"]
                if "segment" not in r:
                    kind = "settled" if "settled" in r else r["kind"].replace(" ", "-")
                    theirs.append((lane, r["seq"], r["time_us"], r["batch_index"], kind,
                                   r["device"], r["stream"], r.get("content_type", ""), r.get("ref", ""),
                                   r.get("link", ""), self.their_body(r)))
        _, found = objects("journal", "dump", self.dir)
        ours = [(o["lane"], o["seq"], o["time_us"], o["batch_index"], o["kind"], o.get("device", ""),
                 o.get("stream", ""), o.get("content_type", ""), o.get("ref", ""), o.get("link", ""),
                 self.our_body(o)) for o in found]
        self.assertEqual(ours, theirs)
        status, found = objects("journal", "verify", self.dir)
        self.assertEqual([(o["first_seq"], o["last_seq"]) for o in found if o["type"] in ("damaged", "missing")],
                         [(int(a), int(b)) for c in complaints for a, b in re.findall(r"records (\d+)\.\.(\d+)", c)])
        self.assertEqual(status, 1 if complaints else 0)
        messages = "telemetry", "attributes", "presence", "command-response", "event", "request"
        self.assertEqual([o for o in found if o["type"] == "cursor"], [
            {"type": "cursor", "lane": lane, "link": name, "watermark": c["watermark"],
             "backlog": sum(1 for r in theirs if r[0] == lane and r[4] in messages and r[9] in ("", name) and
                            r[1] > c["watermark"] and not any(a <= r[1] <= b for a, b in c["ranges"])),
             "ranges": len(c["ranges"]), "left_behind": len(c["left_behind"])}
            for lane, table in cursors.items() for name, c in table.items()])
        return status

    def their_body(self, r):
        if "cursors" in r:
            return {name: {"watermark": c["watermark"], "ranges": len(c["ranges"]),
                           "left_behind": len(c["left_behind"])} for name, c in r["cursors"].items()}
        if "settled" in r:
            return r["settled"]
        return r["quarantined"]["body"] if "quarantined" in r else r["body"]

    def our_body(self, o):
        if "cursors" in o:
            return o["cursors"]
        if "settled" in o:
            return o["settled"]
        o = o.get("quarantined", o)
        if "body_base64" in o:
            return base64.b64decode(o["body_base64"]).decode()
        return o["body_text"] if "body_text" in o else json.dumps(o["body"], separators=(",", ":"))

    def test_both_readers_agree_on_a_whole_journal(self):
        self.sample()
        self.assertEqual(self.compare(), 0)

    def test_both_readers_agree_on_damaged_journals(self):
        self.sample()
        dice = random.Random(1)
        n_damaged = 0
        for _ in range(N_ROUNDS):
            path = dice.choice(self.segments())
            with open(path, "r+b") as file:
                whole = file.read()
                data = bytearray(whole)
                for _ in range(dice.randint(1, 3)):
                    at = dice.randrange(HEADER, len(data))
                    n = dice.choice([1, 8, 300, 4096])
                    data[at:at + n] = dice.choice([bytes(n), dice.randbytes(n)])[:len(data) - at]
                if dice.random() < 0.2:
                    del data[dice.randrange(HEADER, len(data)):]
                file.seek(0)
                file.write(data)
                file.truncate()
            n_damaged += self.compare()
            with open(path, "wb") as file:
                file.write(whole)
        self.assertGreater(n_damaged, N_ROUNDS // 2)
        self.assertEqual(self.compare(), 0)

    # ---- damage

    def test_every_flipped_bit_of_a_record_is_found(self):
        self.sample()
        dice = random.Random(2)
        places = []
        for i, path in enumerate(self.segments()):
            s = reader.Segment(path)
            end = reader.Segment(self.segments()[i + 1]).first_seq if i + 1 < len(self.segments()) else None
            places += [(path, offset, size, struct.unpack_from("<Q", s.data, offset + 8)[0])
                       for kind, offset, size in s.walk(end) if kind == "record"]
        n_torn = 0
        last = places[-8:]
        for i in range(N_FLIPS):
            path, offset, size, seq = dice.choice(last if i % 10 == 0 else places)
            at, bit = offset + dice.randrange(size), 1 << dice.randrange(8)
            self.flip(path, at, bit)
            status, found = objects("journal", "verify", self.dir)
            damaged = [o for o in found if o["type"] == "damaged"]
            torn = [o for o in found if o["type"] == "torn"]
            if torn:
                n_torn += 1
                self.assertEqual((torn[0]["after_seq"], status, damaged), (seq - 1, 0, []))
                self.assertLessEqual(torn[0]["offset"], at)
                self.assertEqual(path, self.segments()[-1])
            else:
                self.assertEqual(([(o["first_seq"], o["last_seq"]) for o in damaged], status), ([(seq, seq)], 1))
            ctl("journal", "dump", self.dir)
            self.flip(path, at, bit)
        self.assertGreater(n_torn, 0)
        self.assertEqual(ctl("journal", "verify", self.dir)[0], 0)

    def flip(self, path, at, bit):
        with open(path, "r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ bit]))

    def test_every_flipped_bit_of_a_header_is_found(self):
        self.sample()
        dice = random.Random(3)
        for _ in range(40):
            path, at, bit = dice.choice(self.segments()), dice.randrange(HEADER), 1 << dice.randrange(8)
            self.flip(path, at, bit)
            status, found = objects("journal", "verify", self.dir)
            self.assertEqual((status, [o["file"] for o in found if o["type"] == "file"]),
                             (1, [os.path.basename(path)]))
            self.flip(path, at, bit)

    def test_nonsense_crashes_nothing(self):
        self.sample()
        dice = random.Random(4)
        wholes = {path: contents(path) for path in self.segments() + self.segments("quarantine")}
        for _ in range(N_ROUNDS):
            for path, whole in wholes.items():
                data = bytearray(whole)
                for _ in range(dice.randint(0, 60)):
                    at = dice.randrange(len(data))
                    if dice.random() < 0.3:  # sizes, sequence numbers, lengths of parts
                        at = HEADER + dice.randrange(0, (len(data) - HEADER) // 8) * 8
                    n = dice.choice([1, 4, 8])
                    data[at:at + n] = dice.choice([bytes(n), b"\xff" * n, dice.randbytes(n)])
                # With the right CRC the parts are looked at, too.
                if dice.random() < 0.5:
                    self.mend_crcs(whole, data)
                with open(path, "wb") as file:
                    file.write(data[:dice.randrange(len(data))] if dice.random() < 0.2 else data)
            self.assertIn(ctl("journal", "verify", "-v", self.dir)[0], (0, 1))
            self.assertIn(objects("journal", "dump", self.dir)[0], (0, 1))
            ctl("journal", "dump", self.dir)
            ctl("quarantine", "list", self.dir)
            ctl("quarantine", "show", self.dir, "1")

    def mend_crcs(self, whole, data):
        seed, at = reader.crc32c(whole[40:56]), HEADER
        data[:HEADER] = whole[:HEADER]
        while at + 32 <= len(whole):
            size = struct.unpack_from("<I", whole, at + 4)[0]
            if size < 32 or at + size > len(whole):
                return
            data[at + 4:at + 16] = whole[at + 4:at + 16]
            struct.pack_into("<I", data, at, reader.crc32c(bytes(data[at + 4:at + size]), seed))
            at += (size + 7) // 8 * 8

    def test_a_missing_segment_in_the_middle_is_told(self):
        self.sample()
        gone = reader.Segment(self.segments()[2]).first_seq
        after = reader.Segment(self.segments()[3]).first_seq
        os.unlink(self.segments()[2])
        status, found = objects("journal", "verify", self.dir)
        self.assertEqual([(o["type"], o["first_seq"], o["last_seq"]) for o in found if o["type"] == "missing"],
                         [("missing", gone, after - 1)])
        self.assertEqual((status, self.lane(found)["missing"]), (1, after - gone))
        self.compare()

    def test_missing_oldest_segments_are_in_order(self):
        self.sample()
        os.unlink(self.segments()[0])
        self.assertEqual(ctl("journal", "verify", self.dir)[0], 0)

    def test_a_torn_tail_is_not_damage_but_a_hole_that_was_synced_is(self):
        whole = [record(1), record(2, batch_index=1), record(3), record(4, batch_index=1)]
        broken = bytearray(whole[2])
        broken[20] ^= 1
        # Record 4 was written with record 3: neither was acknowledged.
        self.make("main", segment(1, [*whole[:2], bytes(broken), whole[3], bytes(64)]))
        status, found = objects("journal", "verify", self.dir)
        self.assertEqual((status, [(o["type"], o.get("after_seq")) for o in found if o["type"] in ("torn", "damaged")]),
                         (0, [("torn", 2)]))
        # Record 4 opens a commit of its own: record 3 had been synced.
        self.make("main", segment(1, [*whole[:2], bytes(broken), record(4), bytes(64)]))
        status, found = objects("journal", "verify", self.dir)
        self.assertEqual((status, [(o["type"], o["first_seq"]) for o in found if o["type"] in ("torn", "damaged")]),
                         (1, [("damaged", 3)]))
        self.compare()

    def test_what_a_failed_commit_left_in_the_older_segment_is_no_part_of_the_journal(self):
        self.make("main", segment(1, [record(1), record(2)]), segment(2, [record(2, b'{"a":1}')]))
        self.assertEqual(self.compare(), 0)
        self.assertEqual([o.get("body") for o in objects("journal", "dump", self.dir)[1]], [{}, {"a": 1}])

    def test_a_segment_of_a_later_version_is_told_and_the_rest_is_read(self):
        for later in segment(9, [record(9)], version=2), segment(9, [record(9)], incompatible=4):
            self.make("main", segment(1, [record(1)]), later)
            status, out, _ = ctl("journal", "verify", self.dir)
            self.assertEqual(status, 1)
            self.assertIn(b"later version", out)
            self.assertIn(b"records 1..1, segments=1 records=1 ", out)

    def test_files_that_are_not_of_this_journal_are_told(self):
        self.make("main", segment(1, [record(1)]), segment(2, [record(2)]), segment(7, [record(7)], id=b"x" * 16))
        os.rename(self.path("main", "%016x.seg" % 7), self.path("main", "%016x.seg" % 3))
        with open(self.path("main", "%016x.seg" % 5), "wb") as file:
            file.write(segment(5, id=b"x" * 16))
        for name in "next.tmp", "readme", "0000000000000001.seg.damaged", "0000000000000001.seg.damaged3":
            open(self.path("main", name), "wb").close()
        os.mkdir(self.path("main", "%016x.seg" % 6))
        os.symlink("/dev/zero", self.path("main", "%016x.seg" % 8))
        os.mkfifo(self.path("main", "%016x.seg" % 9))
        status, found = objects("journal", "verify", self.dir)
        told = {int(o["file"][:16], 16): o["what"] for o in found if o["type"] == "file"}
        self.assertEqual((status, sorted(told)), (1, [3, 5, 6, 8, 9]))
        self.assertIn("disagree", told[3])
        self.assertIn("another journal", told[5])
        self.assertEqual((self.lane(found)["records"], self.lane(found)["files_set_aside"]), (2, 2))

    def test_a_sequence_number_at_the_end_of_all_numbers_is_borne(self):
        end = 2 ** 64 - 1
        self.make("main", segment(1, [record(1)]), segment(end - 1, [record(end - 1), record(end), bytes(80)]))
        self.assertEqual(ctl("journal", "verify", self.dir)[0], 1)
        self.assertEqual(ctl("journal", "dump", self.dir)[0], 1)

    def test_large_records_are_read_and_their_damage_is_found(self):
        big = b'{"x":"' + b"y" * 300000 + b'"}'
        self.make("main", segment(1, [record(1), record(2, big), record(3)]))
        status, found = objects("journal", "dump", self.dir)
        self.assertEqual((status, [o["seq"] for o in found], len(found[1]["body"]["x"])), (0, [1, 2, 3], 300000))
        self.flip(self.segments()[0], HEADER + 200000, 1)
        self.assertEqual([(o["first_seq"], o["last_seq"]) for o in objects("journal", "verify", self.dir)[1]
                          if o["type"] == "damaged"], [(2, 2)])

    def test_kinds_of_a_later_version_are_counted_and_misfits_are_problems(self):
        self.make("main", segment(1, [record(1, kind=77)]))
        status, found = objects("journal", "verify", self.dir)
        self.assertEqual((status, self.lane(found)["of_unknown_kind"]), (0, 1))
        self.assertEqual(objects("journal", "dump", "--kind", "77", self.dir)[1][0]["kind"], "kind-77")
        self.make("main", segment(1, [record(1, flags=4, more=b"\xff")]))
        status, found = objects("journal", "verify", self.dir)
        self.assertEqual((status, self.lane(found)["misfits"]), (1, 1))
        self.assertEqual(ctl("journal", "dump", self.dir)[0], 1)

    # ---- what is printed

    def test_dump_selects(self):
        self.sample()

        def seqs(*words):
            status, found = objects("journal", "dump", *words, self.dir)
            self.assertEqual(status, 0)
            return [(o["lane"], o["seq"]) for o in found]
        every = objects("journal", "dump", self.dir)[1]
        self.assertEqual(seqs("--lane", "quarantine"), [("quarantine", n) for n in range(1, 8)])
        self.assertEqual([o["settled"] for o in objects("journal", "dump", "--kind", "settled", self.dir)[1]], [1, 4])
        self.assertEqual(seqs("--from", "200", "--to", "230", "--lane", "main"),
                         [("main", n) for n in range(200, 231)])
        self.assertEqual(seqs("--limit", "7"), [("main", n) for n in range(1, 8)])
        self.assertEqual(seqs("--from", "999"), [])
        for pattern in "pump-*", "s?ge", "s??ge", "[x]", "none":
            wanted = {"pump-*": "pump-01", "s??ge": "säge", "[x]": "x"}.get(pattern)
            self.assertEqual(seqs("--device", pattern),
                             [(o["lane"], o["seq"]) for o in every if wanted and o.get("device") == wanted])
        for kind in "telemetry", "command-response", "cursors", "quarantined", "command", "settled":
            self.assertEqual(seqs("--kind", kind), [(o["lane"], o["seq"]) for o in every if o["kind"] == kind])

    def test_no_byte_of_a_message_reaches_the_terminal_unseen(self):
        evil = b"a\x1b[2J\n\r\t\x00\x7f\\\xff\xc2\x9b\xe2\x80\xae"
        self.make("main", segment(1, [record(1, evil, device=evil, stream=evil)]))
        self.make("quarantine", segment(1, [record(1, quarantined(evil, evil, evil, evil), kind=129)]))
        safe = b"a\\x1b[2J\\n\\r\\t\\x00\\x7f\\\\\\xff\\u{009b}\\u{202e}"
        _, out, _ = ctl("journal", "dump", "--lane", "main", self.dir)
        self.assertEqual(out.count(safe), 3)
        for words in (["journal", "dump"], ["quarantine", "list"]):
            out = ctl(*words, self.dir)[1]
            self.assertTrue(set(out) <= set(range(0x20, 0x7f)) | {0x0a}, out)
        out = ctl("quarantine", "show", self.dir, "1")[1]
        self.assertEqual(out.count(safe), 4)
        self.assertEqual(objects("journal", "dump", self.dir)[1][0]["body_base64"], base64.b64encode(evil).decode())
        self.assertEqual(objects("quarantine", "list", self.dir)[1][0]["link"],
                         "a\x1b[2J\n\r\t\0\x7f\\\ufffd\x9b\u202e")

    def test_lines_end_where_the_terminal_does(self):
        self.make("main", segment(1, [record(1, "ü".encode() * 300), record(2, b"\x01" * 300)]))
        for options, widths in ([], [60, 60]), (["--full"], [353, 1253]):
            try:
                master, slave = pty.openpty()
            except OSError as e:
                self.skipTest("no terminal to be had: %s" % e)
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
            subprocess.run([CTL, "journal", "dump", *options, self.dir], stdout=slave, check=True)
            os.close(slave)
            out = b""
            try:
                while True:
                    out += os.read(master, 4096)
            except OSError:  # what the end looks like
                os.close(master)
            lines = out.decode().splitlines()
            self.assertEqual([len(line) <= width and len(line) > width - 4 for line, width in zip(lines, widths)],
                             [True, True], lines)
            self.assertEqual([line.endswith("…") for line in lines], [not options] * 2)

    def test_bodies_are_json_text_or_base64(self):
        bodies = [b'{"n" : 1.50,\n "t":[true]}', b'{"n":NaN}', b'{"n":"NaN \\" I"}', b"plain", b"\xfe"]
        opaque = record(6, b"{}", flags=4, more=b"\x01t")
        self.make("main", segment(1, [record(i + 1, b) for i, b in enumerate(bodies)] + [opaque]))
        found = objects("journal", "dump", self.dir)[1]
        self.assertEqual([(o.get("body"), o.get("body_text"), o.get("body_base64")) for o in found],
                         [({"n": 1.5, "t": [True]}, None, None), (None, '{"n":NaN}', None),
                          ({"n": 'NaN " I'}, None, None), (None, "plain", None), (None, None, "/g=="),
                          (None, None, "e30=")])
        self.assertIn(b'"body":{"n" : 1.50,  "t":[true]}', ctl("journal", "dump", "--json", self.dir)[1])

    def test_times_before_1970_and_out_of_all_bounds_are_printed(self):
        self.make("main", segment(1, [record(i + 1, time_us=t) for i, t in
                                      enumerate([0, -1, 2 ** 63 - 1, -2 ** 63])]))
        self.assertEqual([o["time"] for o in objects("journal", "dump", self.dir)[1]],
                         ["1970-01-01T00:00:00.000000Z", "1969-12-31T23:59:59.999999Z",
                          "294247-01-10T04:00:54.775807Z", "-290308-12-21T19:59:05.224192Z"])

    def test_settled_messages_are_not_in_quarantine_any_more(self):
        def message(seq):
            return record(seq, quarantined(b"tb", b"no", b"t", b"%d" % seq), kind=129)

        def settles(seq, number):
            return record(seq, struct.pack("<Q", number), kind=130, device=b"")

        # A record that settles what comes behind it, or itself, settles nothing.
        self.make("quarantine", segment(1, [message(1), message(2), settles(3, 1), settles(4, 6), settles(5, 5)]),
                  segment(6, [message(6), settles(7, 2), message(8)]))
        status, found = objects("quarantine", "list", self.dir)
        self.assertEqual((status, [o["number"] for o in found]), (0, [6, 8]))
        self.assertEqual([ctl("quarantine", "show", self.dir, str(n))[0] for n in (1, 2, 6, 8)], [1, 1, 0, 0])
        self.assertEqual(self.lane(objects("journal", "verify", self.dir)[1], "quarantine")["settled"], 4)
        self.make("quarantine", segment(9, [settles(9, 6), settles(10, 8)]))
        self.assertIn("empty", ctl("quarantine", "list", self.dir)[2])

    def test_quarantine_is_listed_over_any_gap_in_its_numbers(self):
        last = 1 << 60
        self.make("quarantine", segment(1, [record(1, quarantined(b"", b"a", b"", b"1"), kind=129)]),
                  segment(1 << 40, [record(1 << 40, quarantined(b"", b"b", b"", b"2"), kind=129)]),
                  segment(last, [record(last, quarantined(b"", b"c", b"", b"3"), kind=129),
                                 record(last + 1, struct.pack("<Q", 1 << 40), kind=130, device=b"")]))
        self.assertEqual([o["number"] for o in objects("quarantine", "list", self.dir)[1]], [1, last])

    def test_where_a_quarantined_message_was_is_told(self):
        more = b"\x04cbor" + bytes([2, 1, 3]) + b"cmd" + bytes([4, 1, 1])
        body = quarantined(b"tb", b"no", b"t", b"\0\1")
        self.make("quarantine", segment(1, [record(1, body, kind=129, flags=12, more=more), record(2, body, kind=129)]))
        found = objects("quarantine", "list", self.dir)[1]
        self.assertEqual([(o["message_lane"], o.get("content_type"), o.get("ref")) for o in found],
                         [("alarm", "cbor", "cmd"), ("main", None, None)])
        out = ctl("quarantine", "show", self.dir, "1")[1].decode()
        for line in "lane      alarm", "type      cbor", "ref       cmd":
            self.assertIn(line, out)

    def test_header_may_be_larger_than_a_page(self):
        table = struct.pack("<H", 1) + b"\2tb" + struct.pack("<QHH", 0, 1, 1000) + struct.pack("<QQ", 2, 3) + \
            b"".join(struct.pack("<QQ", key, 1) for key in range(1000))
        for size, is_good in (16384, True), (12288, False), (61440, True), (65536, False), (20481, False):
            data = bytearray(segment(1, [], table=table[:HEADER - 64]))
            struct.pack_into("<H", data, 14, size & 0xFFFF)
            struct.pack_into("<I", data, 56, len(table))
            data[64:] = table + bytes(max(0, size - 64 - len(table)))
            del data[size:]
            data[8:12] = struct.pack("<I", reader.crc32c(bytes(data[12:])))
            self.make("main", bytes(data) + record(1) + record(2) + record(3) + record(4))
            status, found = objects("journal", "verify", self.dir)
            self.assertEqual(status, 0 if is_good else 1, size)
            if is_good:
                self.assertIn({"type": "cursor", "lane": "main", "link": "tb", "watermark": 0, "backlog": 2,
                               "ranges": 1, "left_behind": 1000}, found)

    def test_records_for_one_link_are_backlog_of_that_only(self):
        table = struct.pack("<H", 2) + b"\1a" + struct.pack("<QHH", 0, 0, 0) + b"\1b" + struct.pack("<QHH", 0, 0, 0)
        self.make("alarm", segment(1, [record(1), record(2, flags=8, more=bytes([1, 3, 1]) + b"b"),
                                       record(3, kind=192, device=b"")], table=table))
        status, found = objects("journal", "verify", self.dir)
        self.assertEqual({o["link"]: o["backlog"] for o in found if o["type"] == "cursor"}, {"a": 1, "b": 2})
        self.assertEqual(self.lane(found, "alarm")["notes"], 1)
        self.assertEqual([o.get("link") for o in objects("journal", "dump", self.dir)[1]], [None, "b", None])

    def test_the_quarantine_is_listed_and_shown(self):
        blob = bytes(range(256))
        self.make("quarantine", segment(1, [
            record(1, quarantined(b"tb", b"too large", b"a/b", blob, whole=1000), kind=129, device=b"pump-1"),
            record(2, quarantined(b"", b"no rule", b"a/c", b'{"x":1}', attempts=0), kind=129, device=b"")]))
        status, out, _ = ctl("quarantine", "list", self.dir)
        lines = out.decode().splitlines()
        self.assertEqual(status, 0)
        self.assertEqual(lines[0], "1 1970-01-01T00:00:00.000000Z tb pump-1 attempts=3 1000 bytes: too large")
        self.assertEqual(lines[1], "2 1970-01-01T00:00:00.000000Z gateway a/c attempts=0 7 bytes: no rule")
        self.assertEqual(ctl("quarantine", "list", "--state", self.dir)[1], out)
        self.assertEqual(ctl("quarantine", "show", "--raw", self.dir, "1")[:2], (0, blob))
        self.assertIn(b"cut to the first 256", ctl("quarantine", "show", self.dir, "1")[1])
        status, found = objects("quarantine", "show", self.dir, "2")
        self.assertEqual((found[0]["body"], found[0]["is_cut"], found[0]["link"]), ({"x": 1}, False, "gateway"))
        self.assertEqual(ctl("quarantine", "show", self.dir, "3")[0], 1)
        self.assertEqual(ctl("quarantine", "show", "--state", self.dir, "2")[0], 0)

    # ---- where the journal is

    def test_all_three_directories_will_do(self):
        os.mkdir(os.path.join(self.dir, "journal"))
        state, self.dir = self.dir, os.path.join(self.dir, "journal")
        self.addCleanup(setattr, self, "dir", state)
        self.assertEqual(ctl("journal", "verify", state)[:2], (0, b"Empty: nothing has been written yet.\n"))
        self.sample()
        lanes = {path: [o["lane"] for o in objects("journal", "verify", path)[1] if o["type"] == "lane"]
                 for path in (state, self.dir, self.dir + "/main", self.dir + "/quarantine", self.dir + "/main/")}
        self.assertEqual(list(lanes.values()), [["main", "alarm", "quarantine"]] * 2 + [["main"], ["quarantine"], ["main"]])
        os.rename(self.dir + "/main", state + "/copy")
        self.assertEqual([o["lane"] for o in objects("journal", "verify", state + "/copy")[1] if o["type"] == "lane"],
                         ["copy"])

    def test_wrong_arguments_and_no_journal_are_told_apart(self):
        for words in ([], ["journal"], ["frob"], ["journal", "frob"], ["quarantine", "show"],
                      ["quarantine", "show", self.dir], ["quarantine", "show", self.dir, "0"],
                      ["journal", "verify", self.dir, "more"], ["journal", "verify", "--frob", self.dir],
                      ["journal", "dump", "--from", "-1", self.dir], ["journal", "dump", "--kind", "x", self.dir],
                      ["journal", "dump", "--to", "99999999999999999999", self.dir]):
            self.make("main", segment(1))
            status, out, errors = ctl(*words)
            self.assertEqual((status, out), (2, b""), words)
            self.assertTrue(errors)
        for path in os.path.join(self.dir, "none"), "/proc/self/fd", "/dev/null":
            status, _, errors = ctl("journal", "verify", path)
            self.assertEqual(status, 1)
            self.assertIn(path, errors)
        self.assertEqual(ctl("quarantine", "show", self.dir, "x")[0], 2)
        for words in ["--help"], ["--version"], ["journal", "verify", "--help"], ["quarantine", "show", "-h"]:
            self.assertEqual((ctl(*words)[0], ctl(*words)[2]), (0, ""))

    def test_output_that_does_not_arrive_is_a_failure(self):
        self.sample()
        with open("/dev/full", "wb") as full:
            run = subprocess.run([CTL, "journal", "dump", self.dir], stdout=full, stderr=subprocess.PIPE)
        self.assertEqual(run.returncode, 1)
        self.assertIn(b"cannot write", run.stderr)

    def test_nothing_is_written(self):
        self.sample()

        def state():
            return [(p, contents(p), os.stat(p).st_mtime_ns) for p in
                    self.segments() + self.segments("quarantine")] + os.listdir(os.path.join(self.dir, "main"))
        self.flip(self.segments()[-1], 9000, 1)
        self.flip(self.segments()[1], 9, 1)
        before = state()
        ctl("journal", "verify", self.dir)
        ctl("journal", "dump", self.dir)
        ctl("quarantine", "list", self.dir)
        self.assertEqual(state(), before)


if __name__ == "__main__":
    CTL, WRITE_SAMPLE, READER = sys.argv[1:4]
    spec = importlib.util.spec_from_file_location("journal_reader", READER)
    reader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reader)
    unittest.main(argv=sys.argv[:1] + sys.argv[4:])
