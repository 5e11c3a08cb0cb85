#!/usr/bin/env python3
"""Reads a journal as src/journal/format.h describes it, and nothing else: written from that page alone.

usage: journal_reader.py DIR [--json] [--cursors | --quarantined | --open LINK]

DIR is the journal's directory (with the directories main, alarm and quarantine in it). Prints one line for
each record, in order; with --json one JSON object a line. With --cursors prints only the newest cursor table
of each lane that has one, and the journal's clock in it. With --quarantined prints only the messages that are in
quarantine still, with --open only those that link LINK may still have to send. Changes nothing. Exit status 0; 1
when something was damaged or missing; 2 when it cannot be read at all.
"""
import argparse
import json
import os
import re
import struct
import sys

HEADER_LEAST, HEADER_MOST = 4096, 61440
RECORD_HEADER_BYTES = 32
LANES = "main", "alarm", "quarantine"
LANES_WITH_CURSORS = "main", "alarm"
KINDS = {1: "telemetry", 2: "attributes", 3: "presence", 4: "command response", 5: "event", 6: "request",
         128: "cursors", 129: "quarantined", 130: "quarantined message settled", 192: "command",
         193: "command state"}
MESSAGES = {KINDS[kind] for kind in range(1, 7)}
QUALITIES = {0: "device", 1: "gateway", 2: "gateway not synchronised"}


def make_table():
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


CRC_TABLE = make_table()


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283


class Unreadable(Exception):
    pass


class Segment:
    """One file: its header, and its records on demand."""

    def __init__(self, path):
        self.path = path
        with open(path, "rb") as file:
            self.data = file.read()
        data = self.data
        if len(data) < HEADER_LEAST or data[:8] != b"FGJRNL\r\n":
            raise Unreadable(f"{path}: not a segment")
        crc, version, header_size, _, incompatible, self.first_seq, self.made_us = \
            struct.unpack_from("<IHHIIQQ", data, 8)
        if header_size % HEADER_LEAST or not HEADER_LEAST <= header_size <= min(HEADER_MOST, len(data)):
            raise Unreadable(f"{path}: header of {header_size} bytes")
        if crc32c(data[12:header_size]) != crc:
            raise Unreadable(f"{path}: wrong CRC in the header")
        if version != 1 or incompatible != 0:
            raise Unreadable(f"{path}: version {version}, features {incompatible:#x}: too new for me")
        self.records_at = header_size
        self.id = data[40:56]
        self.seed = crc32c(self.id)
        table_size, = struct.unpack_from("<I", data, 56)
        self.table = Table(data[64:64 + table_size])

    def record_at(self, offset, seq=None):
        """(size, seq) of the record at offset, or None. seq: the only one that will do."""
        if offset + RECORD_HEADER_BYTES > len(self.data):
            return None
        crc, size, found = struct.unpack_from("<IIQ", self.data, offset)
        if size < RECORD_HEADER_BYTES or offset + size > len(self.data):
            return None
        if seq is not None and found != seq:
            return None
        if crc32c(self.data[offset + 4:offset + size], self.seed) != crc:
            return None
        return size, found

    def walk(self, end_seq):
        """Yields ("record", offset, size) and ("lost", first, last), up to end_seq or the last record."""
        offset, seq = self.records_at, self.first_seq
        while end_seq is None or seq < end_seq:
            found = self.record_at(offset, seq)
            if found:
                yield "record", offset, found[0]
                offset += (found[0] + 7) // 8 * 8
                seq += 1
                continue
            for offset in range(offset, len(self.data) - RECORD_HEADER_BYTES + 1, 8):
                if self.data[offset:offset + 8] == bytes(8):
                    continue
                found = self.record_at(offset)
                if found and seq < found[1] and (end_seq is None or found[1] < end_seq):
                    yield "lost", seq, found[1] - 1
                    seq = found[1]
                    break
            else:
                break
        if end_seq is not None and seq < end_seq:
            yield "lost", seq, end_seq - 1

    def decode(self, offset, size):
        data = self.data[offset:offset + size]
        record = {}
        record["seq"], record["time_us"], record["batch_index"], kind, flags, device_size, \
            stream_size = struct.unpack_from("<QqIBBBB", data, 8)
        at = RECORD_HEADER_BYTES

        def take(n):
            nonlocal at
            if at + n > len(data):
                raise Unreadable(f"record {record['seq']}: parts do not add up")
            at += n
            return data[at - n:at]

        record["kind"] = KINDS.get(kind, str(kind))
        record["time_quality"] = QUALITIES.get(flags & 3, "?")
        record["device"] = text(take(device_size))
        record["stream"] = text(take(stream_size))
        if flags & 4:
            record["content_type"] = text(take(take(1)[0]))
        if flags & 8:
            for _ in range(take(1)[0]):
                extension, value_size = take(1)[0], take(1)[0]
                value = take(value_size)
                if extension == 1:
                    record["ref"] = text(value)
                elif extension == 2 and len(value) == 24:
                    record["boot_id"] = value[:16].hex()
                    record["monotonic_us"], = struct.unpack("<Q", value[16:])
                elif extension == 3:
                    record["link"] = text(value)
                elif extension == 4 and len(value) == 1:
                    record["lane_of_message"] = LANES[value[0]] if value[0] < len(LANES) else str(value[0])
        body = take(len(data) - at)
        if kind == 128:
            table = Table(body)
            record["cursors"], record["clock"] = table.cursors, table.clock
        elif kind == 129:
            record["quarantined"] = decode_quarantined(body)
            record["quarantined"]["lane"] = record.pop("lane_of_message", "main")
        elif kind == 130 and len(body) == 8:
            record["settled"], = struct.unpack("<Q", body)
        else:
            record["body"] = text(body)
        return record


def text(data):
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "hex:" + data.hex()


class Table:
    """A cursor table: what each link has settled, and the journal's clock when it was made."""

    def __init__(self, data):
        self.cursors, self.clock = {}, None
        if len(data) < 2:
            return
        count, = struct.unpack_from("<H", data)
        at = 2
        try:
            for _ in range(count):
                name = data[at + 1:at + 1 + data[at]]
                at += 1 + data[at]
                watermark, n_ranges, n_left_behind = struct.unpack_from("<QHH", data, at)
                at += 12
                pairs = [struct.unpack_from("<QQ", data, at + 16 * i) for i in range(n_ranges + n_left_behind)]
                at += 16 * len(pairs)
                if not 1 <= len(name) <= 63 or 0 in name:
                    continue
                left_behind = {}
                for key, first in pairs[n_ranges:]:
                    key = f"{key:016x}"
                    left_behind[key] = min(first, left_behind.get(key, first))
                self.cursors[text(name)] = {
                    "watermark": watermark,
                    "ranges": [list(pair) for pair in pairs[:n_ranges] if pair[1] > watermark and pair[0] <= pair[1]],
                    "left_behind": left_behind}
            if len(data) > at:
                clock_ms, utc_us, newest_ms = struct.unpack_from("<QqQ", data, at)
                self.clock = {"clock_ms": clock_ms, "utc_us": utc_us, "newest_message_ms": newest_ms}
        except (struct.error, IndexError):
            self.cursors = {}


def decode_quarantined(data):
    quarantined = {"link": text(data[1:1 + data[0]])}
    at = 1 + data[0]
    for field in "reason", "topic":
        size, = struct.unpack_from("<H", data, at)
        quarantined[field] = text(data[at + 2:at + 2 + size])
        at += 2 + size
    kind, quality, quarantined["attempts"], quarantined["whole_size"] = \
        struct.unpack_from("<BBIQ", data, at)
    quarantined["kind"] = KINDS.get(kind, str(kind)) if kind else ""
    quarantined["time_quality"] = QUALITIES.get(quality, "?")
    quarantined["body"] = text(data[at + 14:])
    return quarantined


def open_lane(directory, complain):
    segments = []
    for name in sorted(os.listdir(directory)):
        if not re.fullmatch(r"[0-9a-f]{16}\.seg", name):
            continue
        try:
            segment = Segment(os.path.join(directory, name))
            if segment.first_seq != int(name[:16], 16):
                raise Unreadable(f"{name}: the header says {segment.first_seq:016x}")
            segments.append(segment)
        except Unreadable as error:
            complain(str(error))
    if segments:
        ids = [segment.id for segment in segments]
        best = next((segment.id for segment in segments if 2 * ids.count(segment.id) > len(ids)), ids[-1])
        segments = [segment for segment in segments if segment.id == best]
    return segments


def torn_from(segment):
    """The first sequence number in the newest segment that no later record proves to have been synced, of
    those where something is missing; None when nothing is torn."""
    steps = list(segment.walk(None))
    proven = 0
    for kind, offset, _ in steps:
        if kind == "record":
            seq, _, index = struct.unpack_from("<QqI", segment.data, offset + 8)
            proven = max(proven, seq - index - 1)
    for kind, first, _ in steps:
        if kind == "lost" and first > proven:
            return first
    return None


def read_lane(directory, complain):
    """Yields each record as a dictionary."""
    segments = open_lane(directory, complain)
    expected = None
    for i, segment in enumerate(segments):
        is_newest = i + 1 == len(segments)
        end_seq = torn_from(segment) if is_newest else segments[i + 1].first_seq
        if expected is not None and expected != segment.first_seq:
            complain(f"{directory}: records {expected}..{segment.first_seq - 1} are missing")
        yield {"segment": os.path.basename(segment.path), "first_seq": segment.first_seq,
               "made_us": segment.made_us, "header_bytes": segment.records_at,
               "cursors": segment.table.cursors, "clock": segment.table.clock}
        for kind, a, b in segment.walk(end_seq):
            if kind == "record":
                yield segment.decode(a, b)
            else:
                complain(f"{segment.path}: records {a}..{b} are damaged or missing")
        expected = end_seq


def is_settled(cursor, seq):
    return seq <= cursor["watermark"] or any(first <= seq <= last for first, last in cursor["ranges"])


def still_open(records, link):
    """The messages that are not settled for the link, or are from where a session was left behind on."""
    table = next((record["cursors"] for record in reversed(records) if "cursors" in record), {})
    cursor = table.get(link)
    if cursor is None:
        return
    behind_from = min(cursor["left_behind"].values(), default=None)
    for record in records:
        if record.get("kind") not in MESSAGES or record.get("link", link) != link:
            continue
        if not is_settled(cursor, record["seq"]) or behind_from is not None and record["seq"] >= behind_from:
            yield record


def in_quarantine(records):
    done = {record["settled"] for record in records if "settled" in record and record["settled"] < record["seq"]}
    for record in records:
        if "quarantined" in record and record["seq"] not in done:
            yield record


def say(lane, record, as_json):
    if as_json:
        print(json.dumps({"lane": lane, **record}, ensure_ascii=False))
    elif "segment" in record:
        print(f"{lane} segment {record['segment']}")
    else:
        rest = next(record[key] for key in ("body", "cursors", "quarantined", "settled") if key in record)
        print(f"{lane} {record['seq']} {record['kind']} {record['device']}"
              f"{'/' + record['stream'] if record['stream'] else ''} {rest}")


def main():
    parser = argparse.ArgumentParser(description="Print what a fieldgate journal holds.")
    parser.add_argument("directory")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--cursors", action="store_true", help="only the newest cursor table")
    which.add_argument("--quarantined", action="store_true", help="only what is in quarantine still")
    which.add_argument("--open", metavar="LINK", help="only what this link may still have to send")
    arguments = parser.parse_args()
    status = 0

    def complain(what):
        nonlocal status
        status = 1
        print(f"journal_reader: {what}", file=sys.stderr)

    for lane in LANES:
        directory = os.path.join(arguments.directory, lane)
        if not os.path.isdir(directory):
            continue
        records = read_lane(directory, complain)
        if arguments.cursors or arguments.open or arguments.quarantined:
            records = list(records)
        if arguments.cursors:
            newest = next((record for record in reversed(records) if "cursors" in record), None)
            if newest and lane in LANES_WITH_CURSORS:
                print(json.dumps({"lane": lane, "cursors": newest["cursors"], "clock": newest["clock"]},
                                 ensure_ascii=False))
            continue
        if arguments.open is not None:
            records = still_open(records, arguments.open) if lane in LANES_WITH_CURSORS else []
        elif arguments.quarantined:
            records = in_quarantine(records) if lane == "quarantine" else []
        for record in records:
            say(lane, record, arguments.json)
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        print(f"journal_reader: {error}", file=sys.stderr)
        sys.exit(2)
