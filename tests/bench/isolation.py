"""One link whose cloud is there, alone and beside four whose clouds are dead (promise P4)."""
import contextlib
import socket
import statistics

from common import (describe_machine, filesystem_of, hold_port, mosquitto_description,
                    probe_fdatasync, say, spread)
from uplink import PUBLISHED_RATE, run_round, summarise

N_DEAD = 4
WITHIN = 0.05


def silent_port():
    """A port where connecting succeeds (the kernel does it) and nobody ever says a word."""
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen(16)
    return s


def take_turns(args, parent, dead_ports):
    """Rounds of both, each the first in half of them. Throughput and, at a fixed rate, latency."""
    rounds = []
    for i in range(args.rounds):
        say(f"round {i + 1} of {args.rounds}")
        for rate in (None, PUBLISHED_RATE):
            n = int(rate * (args.seconds or 5)) if rate else args.messages or 200_000
            pair = {}
            for beside in ("alone", "beside_dead") if i % 2 == 0 else ("beside_dead", "alone"):
                more = dead_ports if beside == "beside_dead" else ()
                pair[beside] = run_round(args, parent, "fieldgate", 20, n, rate, more_clouds=more)
            rounds.append({"rate": rate, **pair})
    return rounds


def ratios(pairs, value):
    """Of each round, so that a disk or a machine that gets slower spoils little."""
    return spread([value(p["beside_dead"]) / value(p["alone"]) for p in pairs], 3)


def isolation(args, parent):
    with contextlib.ExitStack() as held:
        # Half of them refuse, the others are black holes.
        ports = [held.enter_context(hold_port() if i % 2 else silent_port()).getsockname()[1]
                 for i in range(N_DEAD)]
        sync = [probe_fdatasync(parent)]
        rounds = take_turns(args, parent, ports)
        sync.append(probe_fdatasync(parent))
    fast = [p for p in rounds if not p["rate"]]
    paced = [p for p in rounds if p["rate"]]
    to_alone = {
        "messages_per_s": ratios(fast, lambda r: r["messages_per_s"]),
        "cpu_us_per_message": ratios(fast, lambda r: r["cpu_us_per_message"]["gateway"]),
        "latency_us_p50": ratios(paced, lambda r: r["latency_us"]["p50"]),
        "latency_us_p99": ratios(paced, lambda r: r["latency_us"]["p99"]),
    }
    goals = {
        "messages_per_s": to_alone["messages_per_s"]["median"] >= 1 - WITHIN,
        "latency_us_p99": to_alone["latency_us_p99"]["median"] <= 1 + WITHIN,
    }
    for name, is_met in goals.items():
        say(f"  {name}: {to_alone[name]['median']} of what it is alone"
            + ("" if is_met else ": goal missed"))
    # How much two rounds of the very same differ: what a ratio near 1 is to be seen against.
    alone = [p["alone"]["messages_per_s"] for p in fast]
    return {
        "benchmark": "isolation",
        "machine": describe_machine(),
        "state": {"filesystem": filesystem_of(parent), "fdatasync_us": sync},
        "load": {"payload_bytes": 100, "qos": 1, "publishers": 20, "rate": PUBLISHED_RATE,
                 "dead_clouds": N_DEAD},
        "mosquitto": mosquitto_description(),
        "beside_dead_to_alone": to_alone,
        "alone_relative_deviation": round(statistics.pstdev(alone) / statistics.mean(alone), 3),
        "goals": {name: {"met": is_met} for name, is_met in goals.items()},
        "results": {
            f"{name}_{beside}": summarise([p[beside] for p in pairs])
            for name, pairs in (("throughput", fast), ("latency", paced))
            for beside in ("alone", "beside_dead")},
        "rounds": rounds,
    }
