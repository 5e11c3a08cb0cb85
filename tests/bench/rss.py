"""Memory of the gateway: idle, with a backlog for two clouds that are away, draining."""
import glob
import os
import struct
import tempfile
import time

from common import (FAR_SETTINGS, NEAR_SETTINGS, PROBE_N, WAIT_S, Failure, describe_machine,
                    filesystem_of, finish, free_port, hold_port, mosquitto_description,
                    probe_fdatasync, say, start_gateway, start_load, start_mosquitto, start_sink)

RECORD_KINDS = range(1, 6)


class JournalCounter:
    """Counts the message records of a journal's main lane from its files (src/journal/format.h)."""

    def __init__(self, state):
        self.state = state
        self.segments = {}  # path: [where to read on, messages so far]

    def count(self):
        for path in glob.glob(os.path.join(self.state, "**", "main", "*.seg"), recursive=True):
            at = self.segments.setdefault(path, [0, 0])
            with open(path, "rb") as f:
                at[0] = at[0] or struct.unpack_from("<H", f.read(16), 14)[0]  # the header's size
                f.seek(at[0])
                data = f.read()
            pos = 0
            while pos + 32 <= len(data):
                size, = struct.unpack_from("<I", data, pos + 4)
                if size < 32 or pos + size > len(data):
                    break
                at[1] += data[pos + 28] in RECORD_KINDS
                pos += (size + 7) & ~7
            at[0] += pos
        return sum(n for _, n in self.segments.values())


def settle(process, quiet_s=2.0, timeout_s=60):
    """Wait until the process neither writes nor uses more than 2 % of a CPU."""
    give_up = time.monotonic() + timeout_s
    while time.monotonic() < give_up:
        cpu, written = process.cpu_ns(), process.io()["write_bytes"]
        time.sleep(quiet_s)
        process.check()
        if process.io()["write_bytes"] == written and \
                process.cpu_ns() - cpu < quiet_s * 0.02 * 1e9:
            return
    raise Failure(f"{process.name} does not come to rest")


def rss(args, parent):
    n_messages = args.messages or 1_000_000
    directory = tempfile.mkdtemp(prefix="rss-", dir=parent)
    near_port = free_port()
    held = {"tb1": hold_port(), "tb2": hold_port()}
    ports = {name: s.getsockname()[1] for name, s in held.items()}
    near = start_mosquitto("near", directory, near_port, NEAR_SETTINGS)
    gateway = start_gateway(args, directory, near_port, ports)
    journal = JournalCounter(os.path.join(directory, "state"))

    # The broker drops what nobody subscribes to: ask with single samples until one is on disk.
    give_up = time.monotonic() + WAIT_S
    n_probes = 0
    while journal.count() == 0:
        gateway.check()
        if time.monotonic() > give_up:
            raise Failure("the gateway writes nothing\n" + gateway.tail())
        finish(start_load(args, directory, near_port, "--messages", "1", "--no-marker", "--first-n",
                          str(PROBE_N), "--prefix", "probe"), 10)
        n_probes += 1
        time.sleep(0.1)
    settle(gateway)
    n_before = journal.count()
    memory = {"idle": gateway.memory_kib()}
    say(f"  idle: RSS {memory['idle']['VmRSS']} KiB")

    before = {"cpu_ns": gateway.cpu_ns(), "io": gateway.io()}
    start = time.monotonic()
    sent = finish(start_load(args, directory, near_port, "--publishers", "20", "--messages",
                             str(n_messages), "--window", "200", "--no-marker", "--timeout", "600"),
                  610)
    give_up = time.monotonic() + 300
    while journal.count() - n_before < n_messages:
        gateway.check()
        if time.monotonic() > give_up:
            raise Failure(f"only {journal.count() - n_before} of {n_messages} records on disk\n"
                          + gateway.tail())
        time.sleep(0.2)
    fill_s = time.monotonic() - start
    settle(gateway)
    memory["backlog"] = gateway.memory_kib()
    cpu_fill_us = (gateway.cpu_ns() - before["cpu_ns"]) / n_messages / 1e3
    disk_fill = (gateway.io()["write_bytes"] - before["io"]["write_bytes"]) / (
        n_messages * sent["payload_bytes"])
    say(f"  {n_messages} records on disk after {fill_s:.1f} s: RSS {memory['backlog']['VmRSS']} KiB")

    sinks, far = {}, {}
    back_ns = {}
    before = {"cpu_ns": gateway.cpu_ns(), "io": gateway.io()}
    for name, s in held.items():
        # The sink knocks each millisecond from now on, so that it is subscribed before the gateway,
        # which waits longer between its attempts, gets there.
        sinks[name] = start_sink(args, directory, ports[name], "v1/gateway/telemetry", n_messages,
                                 "--connect-timeout", "60", "--timeout", "600")
        s.close()
        far[name] = start_mosquitto("far-" + name, directory, ports[name], FAR_SETTINGS)
        back_ns[name] = time.monotonic_ns()
        if sinks[name].child.stdout.readline() != b"ready\n":
            raise Failure("sink: " + sinks[name].tail())
    peak = dict.fromkeys(("VmRSS", "RssAnon", "RssFile"), 0)
    n_samples = 0
    while any(sink.child.poll() is None for sink in sinks.values()):
        gateway.check()
        now = gateway.memory_kib()
        peak = {key: max(value, now.get(key, 0)) for key, value in peak.items()}
        n_samples += 1
        time.sleep(0.05)
    cpu_drain_us = (gateway.cpu_ns() - before["cpu_ns"]) / n_messages / len(sinks) / 1e3
    drains = {}
    for name, sink in sinks.items():
        seen = finish(sink, 10)
        seconds = (seen["last_ns"] - seen["first_ns"]) / 1e9
        drains[name] = {"all_arrived": seen["done"], "arrived": seen["distinct"],
                        "duplicates": seen["duplicates"], "publishes": seen["publishes"],
                        "waited_s": round((seen["first_ns"] - back_ns[name]) / 1e9, 3),
                        "seconds": round(seconds, 3),
                        "messages_per_s": round(seen["distinct"] / seconds) if seconds > 0 else None}
        say(f"  {name}: {drains[name]['messages_per_s']} msg/s, {seen['distinct']} arrived")
    memory["draining_peak"] = {**peak, "samples": n_samples}
    settle(gateway)
    memory["after"] = gateway.memory_kib()
    gateway.stop()  # first, so that it need not mind the others' going
    return {
        "benchmark": "rss",
        "machine": describe_machine(),
        "state": {"filesystem": filesystem_of(parent), "fdatasync_us": [probe_fdatasync(parent)]},
        "load": {"payload_bytes": sent["payload_bytes"], "messages": n_messages, "links": len(ports),
                 "probes": n_probes},
        "mosquitto": mosquitto_description(),
        "memory_kib": memory,
        "fill": {"messages_per_s": round(n_messages / fill_s), "cpu_us_per_message":
                 round(cpu_fill_us, 3), "disk_bytes_per_payload_byte": round(disk_fill, 3)},
        "drain": {**drains, "cpu_us_per_message_and_link": round(cpu_drain_us, 3)},
    }
