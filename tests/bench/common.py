"""What the benchmarks share: processes, brokers, the gateway, load and sink, the machine.

Everything runs on the loopback interface, on ports the kernel chose, in a directory of its own. Each
process started here is ended here, by its id, and dies with this one if it is killed.
"""
import ctypes
import glob
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

PROBE_N = 60_000_000  # "n" of the samples that only ask whether the way is open
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
    def __init__(self, name, argv, directory, stdout=None, stdin=subprocess.DEVNULL):
        self.name = name
        self.log = os.path.join(directory, name + ".log")
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(argv, stdin=stdin, stdout=stdout or log,
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


def spread(values, digits=2):
    return {"median": round(statistics.median(values), digits), "min": round(min(values), digits),
            "max": round(max(values), digits)}


def hold_port():
    """A port that refuses connections for as long as the socket is open: bound, never listening."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", 0))
    return s


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
