"""Commands: from the cloud's broker to the field's and back, and memory with many of them open."""
import os
import subprocess
import tempfile

from common import (FAR_SETTINGS, NEAR_SETTINGS, Failure, Process, describe_machine,
                    filesystem_of, finish, free_port, mosquitto_description, probe_fdatasync, say,
                    start_mosquitto, tool)

OPEN = 1000
LATENCY_RATE = 100
CONFIG = """gateway:
  name: bench
  state_directory: {state}
  max_commands: {max_commands}
local:
  brokers:
    - {{name: field, url: "mqtt://127.0.0.1:{near}", mqtt_version: 5}}
mappings:
  - {{topic: "sensors/{{device}}/climate", payload: json, telemetry: all}}
commands:
  - topic: "cmd/{{device}}/{{command}}/{{id}}"
    response: {{topic: "done/{{device}}/{{id}}", correlate: topic}}
    max_open: 100
    timeout: 5min
clouds:
  - {{name: tb, plugin: thingsboard, url: "mqtt://127.0.0.1:{far}", access_token: bench, rpc_timeout: 5min}}
"""


class Site:
    """Both brokers, and a gateway between them."""

    def __init__(self, args, parent):
        self.args = args
        self.directory = tempfile.mkdtemp(prefix="command-", dir=parent)
        self.near_port, self.far_port = free_port(), free_port()
        self.brokers = [
            start_mosquitto("far", self.directory, self.far_port, FAR_SETTINGS),
            start_mosquitto("near", self.directory, self.near_port, NEAR_SETTINGS)]
        state = os.path.join(self.directory, "state")
        os.makedirs(state)
        path = os.path.join(self.directory, "gateway.yaml")
        with open(path, "w") as f:
            f.write(CONFIG.format(state=state, near=self.near_port, far=self.far_port, max_commands=2 * OPEN))
        self.gateway = Process("fieldgate", [
            os.path.join(args.build, "src", "fieldgate"), "--config", path, "--plugin-dir",
            os.path.join(args.build, "plugins")], self.directory)

    def ends(self, *more, near=None, stdin=subprocess.DEVNULL):
        """Cloud and devices, started; finish() waits for them."""
        return Process("command", [tool(self.args, "command"), "--far", str(self.far_port), "--near",
                                   str(near or self.near_port), *more], self.directory,
                       stdout=subprocess.PIPE, stdin=stdin)

    def stop(self):
        for process in (self.gateway, *self.brokers):
            process.stop()


def latency(site, n):
    """The gateway's share of the way: what both brokers take for themselves is measured apart."""
    say("latency of %d commands, %d a second" % (n, LATENCY_RATE))
    rate = ("--commands", str(n), "--rate", str(LATENCY_RATE))
    through = finish(site.ends(*rate, "--devices", "20"), 120)
    echoes = {name: finish(site.ends(*rate, "--echo", near=port), 120)["down_us"]
              for name, port in (("far", site.far_port), ("near", site.near_port))}
    added = {p: round(through["down_us"][p] - echoes["far"][p] - echoes["near"][p], 1) for p in ("p50", "p99")}
    return {"down_us": through["down_us"], "up_us": through["up_us"], "broker_echo_us": echoes,
            "added_down_us": added, "twice": through["twice"]}


def outstanding(site):
    """Memory while so many devices have not answered."""
    say("%d commands open at %d devices" % (OPEN, OPEN))
    idle = site.gateway.memory_kib()
    ends = site.ends("--commands", str(OPEN), "--devices", str(OPEN), "--rate", "2000", "--hold", stdin=subprocess.PIPE)
    if ends.child.stdout.readline() != b"held\n":
        raise Failure("command: " + ends.tail())
    held = site.gateway.memory_kib()
    ends.child.stdin.write(b"go\n")
    ends.child.stdin.flush()
    result = finish(ends, 120)
    return {"commands": OPEN, "devices": OPEN, "twice": result["twice"], "down_us": result["down_us"],
            "memory_kib": {"before": idle, "open": held, "after": site.gateway.memory_kib()}}


def command(args, parent):
    sync = probe_fdatasync(parent)
    site = Site(args, parent)
    try:
        timed = latency(site, args.messages or 2000)
        memory = outstanding(site)
        site.gateway.check()
    finally:
        site.stop()
    limit_us = 2000 + sync["p50"]
    return {"benchmark": "command", "machine": describe_machine(), "mosquitto": mosquitto_description(),
            "filesystem": filesystem_of(parent), "fdatasync_us": sync, "latency": timed, "outstanding": memory,
            "goals": {"added_down_p50_us_at_most": limit_us,
                      "added_down_met": timed["added_down_us"]["p50"] <= limit_us,
                      "open_rss_kib_below": 16384,
                      "open_rss_met": memory["memory_kib"]["open"]["VmRSS"] < 16384,
                      "none_twice": timed["twice"] + memory["twice"] == 0}}
