"""The same load through a Mosquitto bridge and through fieldgate, in turn."""
import os
import shutil
import signal
import tempfile
import time

from common import (FAR_SETTINGS, NEAR_SETTINGS, PROBE_N, WAIT_S, Failure, Process,
                    describe_machine, filesystem_of, finish, free_port, mosquitto_description,
                    probe_fdatasync, say, spread, start_gateway, start_load, start_mosquitto,
                    start_sink)

PUBLISHED_RATE = 2000  # messages per second of the latency rounds


class Way:
    """One way from the publishers to a sink: the processes of one round.

    @more_clouds: ports of clouds that the gateway has beside the one where the sink is.
    """

    def __init__(self, args, kind, parent, more_clouds=()):
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
            clouds = {"tb": self.far_port}
            clouds.update((f"tb{i + 2}", port) for i, port in enumerate(more_clouds))
            gateway = start_gateway(args, self.directory, self.near_port, clouds)
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


def run_round(args, parent, kind, n_publishers, n_messages, rate=None, perf=None, more_clouds=()):
    way = Way(args, kind, parent, more_clouds)
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
