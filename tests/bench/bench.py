"""The benchmarks behind run.sh: start brokers, the gateway, load and sink; measure; print JSON.

Everything runs on the loopback interface, on ports the kernel chose, in a directory of its own. Each
process started here is ended here, by its id, and dies with this one if it is killed.
"""
import argparse
import ctypes
import glob
import json
import os
import re
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

PROBE_N = 60_000_000  # "n" of the samples that only ask whether the way is open
PUBLISHED_RATE = 2000  # messages per second of the latency rounds
WAIT_S = 30

LOAD_BEFORE = os.getloadavg()[0]  # others at work spoil the figures: let the reader see them

libc = ctypes.CDLL(None, use_errno=True)
running = []


def say(text):
    print(text, file=sys.stderr, flush=True)


class Failure(Exception):
    pass


# ---------------------------------------------------------------- processes

def die_with_parent():
    libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG


class Process:
    def __init__(self, name, argv, directory, stdout=None):
        self.name = name
        self.log = os.path.join(directory, name + ".log")
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=stdout or log,
                                          stderr=log, cwd=directory, preexec_fn=die_with_parent)
        self.pid = self.child.pid
        running.append(self)

    def check(self):
        if self.child.poll() is not None:
            raise Failure(f"{self.name} ended with status {self.child.returncode}:\n{self.tail()}")

    def tail(self):
        with open(self.log, errors="replace") as log:
            return "".join(log.readlines()[-15:])

    def cpu_ns(self):
        """CPU time of all threads, in nanoseconds (they live as long as the process)."""
        total = 0
        for path in glob.glob(f"/proc/{self.pid}/task/*/schedstat"):
            with open(path) as f:
                total += int(f.read().split()[0])
        return total

    def thread_cpu_ns(self):
        times = {}
        for path in sorted(glob.glob(f"/proc/{self.pid}/task/*/schedstat")):
            with open(path) as f, open(os.path.dirname(path) + "/comm") as comm:
                name = comm.read().strip() + "/" + str(len(times))
                times[name] = int(f.read().split()[0])
        return times

    def io(self):
        with open(f"/proc/{self.pid}/io") as f:
            return {key: int(value) for key, value in (line.split(": ") for line in f)}

    def context_switches(self):
        total = 0
        for path in glob.glob(f"/proc/{self.pid}/task/*/status"):
            with open(path) as f:
                total += sum(int(n) for n in re.findall(r"ctxt_switches:\s+(\d+)", f.read()))
        return total

    def memory_kib(self):
        with open(f"/proc/{self.pid}/status") as f:
            return {key: int(value) for key, value in
                    re.findall(r"(VmRSS|VmHWM|RssAnon|RssFile|RssShmem):\s+(\d+) kB", f.read())}

    def stop(self):
        if self in running:
            running.remove(self)
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(10)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        if self.child.stdout:
            self.child.stdout.close()


def stop_all():
    for process in reversed(list(running)):
        process.stop()


def on_signal(number, _frame):
    raise SystemExit(128 + number)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(process, port):
    give_up = time.monotonic() + WAIT_S
    while True:
        process.check()
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > give_up:
            raise Failure(f"{process.name} does not listen")
        time.sleep(0.02)


# ---------------------------------------------------------------- what is measured

COMMON_SETTINGS = ["allow_anonymous true", "max_queued_messages 0", "max_inflight_messages 0",
                   "set_tcp_nodelay true", "sys_interval 1"]
NEAR_SETTINGS = ["persistence true"]
FAR_SETTINGS = ["persistence false"]
BRIDGE_SETTINGS = ["topic # out 1", "cleansession false", "notifications false"]


def start_mosquitto(name, directory, port, settings, bridge_port=None):
    home = os.path.join(directory, name)
    os.makedirs(home, exist_ok=True)
    lines = [f"listener {port} 127.0.0.1", *COMMON_SETTINGS, *settings, "log_dest stderr",
             "log_type error", "log_type warning", "log_type notice"]
    if os.geteuid() == 0:
        lines.append("user root")
    if "persistence true" in settings:
        lines.append(f"persistence_location {home}/")
    if bridge_port:
        lines += ["connection bench", f"address 127.0.0.1:{bridge_port}", *BRIDGE_SETTINGS]
    path = os.path.join(directory, name + ".conf")
    with open(path, "w") as f:
        f.write("\n".join(lines) + "\n")
    process = Process(name, [mosquitto_path(), "-c", path], directory)
    wait_port(process, port)
    return process


def mosquitto_path():
    path = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if not path:
        raise Failure("mosquitto is not installed")
    return path


def start_gateway(args, directory, field_port, cloud_ports):
    state = os.path.join(directory, "state")
    os.makedirs(state, exist_ok=True)
    plugins = os.path.join(args.build, "plugins")
    clouds = "".join(f"  - name: {name}\n    plugin: thingsboard\n"
                     f"    url: mqtt://127.0.0.1:{port}\n    access_token: bench-{name}\n"
                     for name, port in cloud_ports.items())
    journal = ""
    if args.commit_interval:
        journal = f"journal:\n  commit_interval: {args.commit_interval}\n"
    path = os.path.join(directory, "gateway.yaml")
    with open(path, "w") as f:
        f.write(f"gateway:\n  name: bench\n  state_directory: {state}\n"
                f"local:\n  brokers:\n    - name: field\n"
                f"      url: mqtt://127.0.0.1:{field_port}\n      mqtt_version: 5\n"
                f"mappings:\n  - topic: \"sensors/{{device}}/climate\"\n    payload: json\n"
                f"    telemetry: all\nclouds:\n{clouds}{journal}")
    return Process("fieldgate", [os.path.join(args.build, "src", "fieldgate"), "--config", path,
                                 "--plugin-dir", plugins], directory)


def tool(args, name):
    return os.path.join(args.build, "tests", "bench", "bench-" + name)


def start_sink(args, directory, port, topic, expect, *more):
    sink = Process("sink", [tool(args, "sink"), "--port", str(port), "--topic", topic, "--expect",
                            str(expect), *more], directory, stdout=subprocess.PIPE)
    if "--connect-timeout" not in more and sink.child.stdout.readline() != b"ready\n":
        raise Failure("sink: " + sink.tail())
    return sink


def start_load(args, directory, port, *more):
    return Process("load", [tool(args, "load"), "--port", str(port), *more], directory,
                   stdout=subprocess.PIPE)


def finish(process, timeout_s):
    """Wait for a tool's end; returns the JSON object it printed."""
    try:
        out, _ = process.child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise Failure(f"{process.name} does not end:\n{process.tail()}")
    finally:
        process.stop()
    lines = out.decode().strip().splitlines()
    if not lines or not lines[-1].startswith("{"):
        raise Failure(f"{process.name} failed:\n{process.tail()}")
    return json.loads(lines[-1])


class Way:
    """One way from the publishers to a sink: the processes of one round."""

    def __init__(self, args, kind, parent):
        self.args = args
        self.kind = kind
        self.directory = tempfile.mkdtemp(prefix=kind + "-", dir=parent)
        self.near_port = free_port()
        self.far_port = free_port()
        far = start_mosquitto("far", self.directory, self.far_port, FAR_SETTINGS)
        if kind == "bridge":
            near = start_mosquitto("near", self.directory, self.near_port, NEAR_SETTINGS,
                                   bridge_port=self.far_port)
            self.parts = {"near_broker": near, "far_broker": far}
            self.subject = near
        else:
            near = start_mosquitto("near", self.directory, self.near_port, NEAR_SETTINGS)
            gateway = start_gateway(args, self.directory, self.near_port, {"tb": self.far_port})
            self.parts = {"near_broker": near, "gateway": gateway, "far_broker": far}
            self.subject = gateway
        self.n_probes = self.open_up()

    def topic(self, plain):
        return plain if self.kind == "bridge" else "v1/gateway/telemetry"

    def open_up(self):
        """Send single samples until one comes out at the far end: then all sessions stand."""
        sink = start_sink(self.args, self.directory, self.far_port, self.topic("sensors/#"),
                          PROBE_N + 1, "--until-last", "--timeout", str(WAIT_S))
        n = 0
        while sink.child.poll() is None:
            for part in self.parts.values():
                part.check()
            finish(start_load(self.args, self.directory, self.near_port, "--messages", "1",
                              "--no-marker", "--first-n", str(PROBE_N), "--prefix", "probe"), 10)
            n += 1
            time.sleep(0.1)
        if not finish(sink, 10)["done"]:
            raise Failure(f"{self.kind}: nothing arrives\n{self.subject.tail()}")
        return n

    def snapshot(self):
        return {name: {"cpu_ns": part.cpu_ns(), "io": part.io(),
                       "switches": part.context_switches()} for name, part in self.parts.items()}

    def close(self):
        self.subject.stop()  # first, so that it need not mind the others' going
        for part in self.parts.values():
            part.stop()
        if not self.args.keep:
            shutil.rmtree(self.directory, ignore_errors=True)


def spread(values, digits=2):
    return {"median": round(statistics.median(values), digits), "min": round(min(values), digits),
            "max": round(max(values), digits)}


# ---------------------------------------------------------------- uplink

def run_round(args, parent, kind, n_publishers, n_messages, rate=None, perf=None):
    way = Way(args, kind, parent)
    idle_memory = way.subject.memory_kib()
    expect = n_messages + 1  # and the marker
    timeout_s = 60 + n_messages // 2000
    more = ["--timeout", str(timeout_s)]
    if rate:
        topic = way.topic("sensors/#")
        more.append("--latency")
    else:
        topic = way.topic("sensors/bench-end/climate")
        if kind == "bridge":
            # The sink costs the bridge nothing: it sees the marker only, and asks the broker how
            # much it got.
            more += ["--until-last", "--sys-received", str(way.n_probes + expect)]
    sink = start_sink(args, way.directory, way.far_port, topic, expect, *more)
    before = way.snapshot()
    profiler = None
    if perf:
        profiler = Process("perf", ["perf", "record", "-q", "-g", "-F", "2000", "-o",
                                    os.path.abspath(perf), "-p", str(way.subject.pid)],
                           way.directory)
        time.sleep(1)
        before = way.snapshot()
    window = args.window if n_publishers == 1 else max(1, args.window * 4 // n_publishers)
    load = start_load(args, way.directory, way.near_port, "--publishers", str(n_publishers),
                      "--messages", str(n_messages), "--window", str(window), "--timeout",
                      str(timeout_s), *(["--rate", str(rate)] if rate else []))
    sent = finish(load, timeout_s + 10)
    seen = finish(sink, timeout_s + 30)
    # What trails behind the last message (acknowledgements, cursors, $SYS) belongs to the bill.
    time.sleep(1.5)
    if profiler:
        profiler.child.send_signal(signal.SIGINT)
        profiler.child.wait(60)
        profiler.stop()
    for part in way.parts.values():
        part.check()
    after = way.snapshot()
    memory = way.subject.memory_kib()
    threads = way.subject.thread_cpu_ns()
    way.close()

    n_arrived = seen["distinct"]
    if kind == "bridge" and not rate:
        n_arrived = seen["sys_received"] - way.n_probes
    seconds = (seen["last_ns"] - sent["start_ns"]) / 1e9
    cpu = {name: (after[name]["cpu_ns"] - before[name]["cpu_ns"]) / n_messages / 1e3
           for name in way.parts}
    subject = "near_broker" if kind == "bridge" else "gateway"
    io = {key: after[subject]["io"][key] - before[subject]["io"][key]
          for key in after[subject]["io"]}
    result = {
        "way": kind, "publishers": n_publishers, "messages": n_messages, "seconds": round(seconds, 3),
        "messages_per_s": round(n_messages / seconds),
        "publisher_messages_per_s": round(n_messages / ((sent["acked_ns"] - sent["start_ns"]) / 1e9)),
        "cpu_us_per_message": {name: round(value, 3) for name, value in cpu.items()},
        "cpu_us_per_message_all": round(sum(cpu.values()), 3),
        "subject_cores": round((after[subject]["cpu_ns"] - before[subject]["cpu_ns"]) / 1e9 / seconds,
                               3),
        "subject_threads_cpu_ms": {name: round(ns / 1e6, 1) for name, ns in threads.items()},
        "subject_context_switches_per_message":
            round((after[subject]["switches"] - before[subject]["switches"]) / n_messages, 4),
        "arrived": n_arrived - 1 if n_arrived == expect else n_arrived,
        "all_arrived": n_arrived == expect,
        "duplicates": seen["duplicates"],
        "far_publishes": seen["publishes"],
        "memory_idle_kib": idle_memory, "memory_kib": memory,
        "disk_bytes_per_payload_byte":
            round(io["write_bytes"] / (n_messages * sent["payload_bytes"]), 3),
        "write_calls_bytes_per_payload_byte":
            round(io["wchar"] / (n_messages * sent["payload_bytes"]), 3),
        "write_and_read_calls_per_message": round((io["syscw"] + io["syscr"]) / n_messages, 4),
    }
    if rate:
        result["rate"] = rate
        result["latency_us"] = seen["latency_us"]
        result["load_late_max_us"] = sent["late_max_ns"] // 1000
    say(f"  {kind:9} {n_publishers:2} publisher(s)"
        + (f" at {rate}/s: p50 {seen['latency_us']['p50']} us, p99 {seen['latency_us']['p99']} us,"
           if rate else f": {result['messages_per_s']} msg/s,")
        + f" {subject} {cpu[subject]:.2f} us/msg, all {sum(cpu.values()):.2f} us/msg,"
        f" RSS {memory['VmRSS']} KiB" + ("" if result["all_arrived"] else "  NOT ALL ARRIVED"))
    return result


def summarise(rounds):
    subject = "near_broker" if rounds[0]["way"] == "bridge" else "gateway"
    summary = {
        "rounds": len(rounds),
        "all_arrived": all(r["all_arrived"] for r in rounds),
        "duplicates": sum(r["duplicates"] for r in rounds),
        "messages_per_s": spread([r["messages_per_s"] for r in rounds], 0),
        "cpu_us_per_message": {
            name: spread([r["cpu_us_per_message"][name] for r in rounds])
            for name in rounds[0]["cpu_us_per_message"]},
        "cpu_us_per_message_subject": spread([r["cpu_us_per_message"][subject] for r in rounds]),
        "cpu_us_per_message_all": spread([r["cpu_us_per_message_all"] for r in rounds]),
        "rss_kib": spread([r["memory_kib"]["VmRSS"] for r in rounds], 0),
        "rss_peak_kib": spread([r["memory_kib"]["VmHWM"] for r in rounds], 0),
        "rss_idle_kib": spread([r["memory_idle_kib"]["VmRSS"] for r in rounds], 0),
        "disk_bytes_per_payload_byte": spread([r["disk_bytes_per_payload_byte"] for r in rounds], 3),
    }
    if "latency_us" in rounds[0]:
        del summary["messages_per_s"]
        summary["latency_us"] = {key: spread([r["latency_us"][key] for r in rounds], 0)
                                 for key in rounds[0]["latency_us"]}
    return summary


def uplink(args, parent):
    kinds = [args.only] if args.only else ["bridge", "fieldgate"]
    n_messages = args.messages or 200_000
    rounds = []
    sync = [probe_fdatasync(parent)]
    perf = args.perf
    for i in range(args.rounds):
        say(f"round {i + 1} of {args.rounds}")
        for n_publishers, rate in ((1, None), (20, None), (20, PUBLISHED_RATE)):
            # Whoever comes second may find a warmer or a busier machine: take turns.
            for kind in kinds if i % 2 == 0 else reversed(kinds):
                profile = perf if kind == "fieldgate" and not rate else None
                if profile:
                    perf = None
                n = int(rate * (args.seconds or 10)) if rate else n_messages
                rounds.append(run_round(args, parent, kind, n_publishers, n, rate, profile))
    sync.append(probe_fdatasync(parent))

    results = {}
    for name, n_publishers, rate in (("throughput_1_publisher", 1, None),
                                     ("throughput_20_publishers", 20, None),
                                     (f"latency_at_{PUBLISHED_RATE}_per_s", 20, PUBLISHED_RATE)):
        of_name = {kind: [r for r in rounds if r["way"] == kind and r["publishers"] == n_publishers
                          and r.get("rate") == rate] for kind in kinds}
        results[name] = {kind: summarise(of_kind) for kind, of_kind in of_name.items()}
        if len(kinds) == 2:
            results[name]["fieldgate_to_bridge"] = ratios(results[name])
    return {
        "benchmark": "uplink",
        "machine": describe_machine(),
        "state": {"filesystem": filesystem_of(parent), "fdatasync_us": sync},
        "load": {"payload_bytes": 100, "qos": 1, "topic": "sensors/<device>/climate",
                 "commit_interval": args.commit_interval or "none",
                 "window_1_publisher": args.window, "window_20_publishers": args.window * 4 // 20},
        "mosquitto": mosquitto_description(),
        "results": results,
        "rounds": rounds,
    }


def ratios(of_kinds):
    def of(kind, *keys):
        value = of_kinds[kind]
        for key in keys:
            value = value[key]
        return value["median"]

    names = [("cpu_us_per_message_subject",), ("cpu_us_per_message_all",), ("rss_kib",)]
    if "latency_us" in of_kinds["bridge"]:
        names += [("latency_us", "p50"), ("latency_us", "p99")]
    else:
        names.append(("messages_per_s",))
    return {"_".join(keys): round(of("fieldgate", *keys) / of("bridge", *keys), 3)
            for keys in names if of("bridge", *keys)}


# ---------------------------------------------------------------- the machine

def filesystem_of(path):
    path = os.path.realpath(path)
    best = ("", "unknown")
    with open("/proc/mounts") as f:
        for line in f:
            _, where, kind = line.split()[:3]
            prefix = where.rstrip("/") + "/"
            if (path + "/").startswith(prefix) and len(prefix) > len(best[0]):
                best = (prefix, kind)
    return best[1]


def probe_fdatasync(directory, n=200):
    """Append 4 KiB and fdatasync(), n times: what one commit costs here at the least."""
    path = os.path.join(directory, "sync-probe")
    block = os.urandom(4096)
    times = []
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.posix_fallocate(fd, 0, 4096 * n)
        os.fsync(fd)
        for _ in range(n):
            os.write(fd, block)
            start = time.perf_counter_ns()
            os.fdatasync(fd)
            times.append((time.perf_counter_ns() - start) / 1e3)
    finally:
        os.close(fd)
        os.unlink(path)
    times.sort()
    return {"p50": round(times[n // 2], 1), "p99": round(times[n * 99 // 100], 1), "calls": n}


def describe_machine():
    model = "unknown"
    with open("/proc/cpuinfo") as f:
        found = re.search(r"model name\s*:\s*(.*)", f.read())
        if found:
            model = found.group(1)
    return {"cpus": os.cpu_count(), "cpu": model, "kernel": os.uname().release,
            "load_average_before": LOAD_BEFORE, "load_average_after": os.getloadavg()[0]}


def mosquitto_description():
    out = subprocess.run([mosquitto_path(), "-h"], stdout=subprocess.PIPE, check=False).stdout
    return {"version": out.decode().split("\n")[0], "all": COMMON_SETTINGS,
            "near_broker": NEAR_SETTINGS, "far_broker": FAR_SETTINGS, "bridge": BRIDGE_SETTINGS}


# ---------------------------------------------------------------- backlog

RECORD_KINDS = range(1, 6)


class JournalCounter:
    """Counts the message records of a journal's main lane from its files (src/journal/format.h)."""

    def __init__(self, state):
        self.state = state
        self.segments = {}  # path: [where to read on, messages so far]

    def count(self):
        for path in glob.glob(os.path.join(self.state, "**", "main", "*.seg"), recursive=True):
            at = self.segments.setdefault(path, [4096, 0])
            with open(path, "rb") as f:
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


def hold_port():
    """A port that refuses connections for as long as the socket is open: bound, never listening."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", 0))
    return s


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


# ---------------------------------------------------------------- journal

JOURNAL_BATCHES = (1, 20, 200, 2000)
# Payload that ends a run early: fast ones would only fill the disk.
JOURNAL_RUN_BYTES = {1: 16 << 20, 20: 32 << 20, 200: 48 << 20, 2000: 96 << 20}
JOURNAL_WAYS = {
    "bare": ("journal", "bare"),
    "bare_rewriting": ("journal", "bare_rewriting"),
    "journal_waiting": ("journal", "waiting"),
    "journal_pipelined": ("journal", "pipelined"),
    "journal_1_cursor": ("journal", "waiting", "--cursors", "1"),
    "journal_5_cursors": ("journal", "waiting", "--cursors", "5"),
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
                    for way in ("journal_1_cursor", "journal_5_cursors")}
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


# ---------------------------------------------------------------- main

def main():
    parser = argparse.ArgumentParser(prog="run.sh", add_help=False)
    parser.add_argument("--build", required=True)
    parser.add_argument("name", choices=["uplink", "rss", "journal"])
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
    args.rounds = args.rounds or (9 if args.name == "journal" else 3)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    parent = tempfile.mkdtemp(prefix="bench-", dir=args.state or args.build)
    if filesystem_of(parent) in ("tmpfs", "ramfs"):
        say("note: the state directory is in memory; syncing costs nothing there")
    try:
        result = {"uplink": uplink, "rss": rss, "journal": journal}[args.name](args, parent)
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
