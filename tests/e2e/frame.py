"""What the end-to-end tests are made of: the real daemon, real brokers, real clients, real certificates.

Every test has a directory of its own, ports come from the kernel, processes are ended by their pid, and nothing
sleeps where it can wait for a fact.
"""
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import paho.mqtt.client as paho

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "cloudsim"))

from certificates import Certificates  # noqa: E402,F401
from cloudsim import Mosquitto, ThingsBoard, die_with_parent, free_port, wait_for  # noqa: E402,F401
from scripted_broker import (Ack, Connect, Publish, Script, ScriptedBroker, Subscribe, field,  # noqa: E402,F401
                             packet)

BUILD = os.path.abspath(os.environ.get("FIELDGATE_BUILD", "build"))
DAEMON = os.path.join(BUILD, "src", "fieldgate")

TOPIC = "sensors/{device}/climate"
MAPPING = {"topic": TOPIC, "payload": "json", "telemetry": {"n": "$.n"}, "time": "$.ts"}
# Far enough from now that a sample stamped by the gateway's clock would show.
FIRST_TS = 1718000000000

TAKES_LONG = "takes_long"


def takes_long(test):
    """Marks a test of more than a minute: suite `long`."""
    setattr(test, TAKES_LONG, True)
    return test


def goes_first(test):
    """Marks a test of more than a quarter of a minute: if it were begun last, nothing would run beside it."""
    test.goes_first = True
    return test


def needs_root(test):
    can = subprocess.run(["unshare", "-m", "true"], stderr=subprocess.DEVNULL).returncode == 0
    return unittest.skipUnless(can, "needs root and a mount namespace of its own")(test)


def plugin_directory():
    """Where the build keeps the plugins."""
    for directory, _, names in sorted(os.walk(os.path.join(BUILD, "plugins"))):
        if "thingsboard.so" in names:
            return directory
    raise AssertionError("no thingsboard.so in %s/plugins" % BUILD)


class FieldBroker(Mosquitto):
    """The broker of the site: persistent, and it never drops what waits for the gateway."""

    def __init__(self, directory, name="field", config=(), tls=None):
        config = list(config)
        if not any(line.startswith("allow_anonymous") for line in config):
            config.append("allow_anonymous true")
        config += ["persistence true", "persistence_location %s/" % directory, "persistence_file %s.db" % name,
                   "autosave_interval 1", "max_queued_messages 0", "max_inflight_messages 0",
                   "log_type error", "log_type warning", "log_type notice", "log_type information",
                   "log_type subscribe", "log_type unsubscribe"]
        super().__init__(directory, name, config, tls)

    def wait_subscribed(self, client_id, timeout_s=20):
        """Wait until @client_id has subscribed: from then on nothing passes it by."""
        line = re.compile(r"^\d+: %s \d " % re.escape(client_id), re.M)
        wait_for(lambda: line.search(self.log()), timeout_s, "%s subscribes" % client_id)

    def use_passwords(self, **users):
        """Only these users. Call before start()."""
        path = os.path.join(self.directory, self.name + ".passwd")
        open(path, "w").close()
        os.chmod(path, 0o600)
        for user, password in users.items():
            subprocess.run(["mosquitto_passwd", "-b", path, user, password], check=True,
                           stderr=subprocess.DEVNULL)
        self.config = [line for line in self.config if not line.startswith("allow_anonymous")]
        self.config += ["allow_anonymous false", "password_file " + path]
        return self


class Publisher:
    """A field device, or many: publishes {"n": rising per device, "ts": …} and knows which were acknowledged."""

    def __init__(self, port, client_id="field-device", version=paho.MQTTv311, username=None, password=None, ca=None):
        arguments = {} if version == paho.MQTTv5 else {"clean_session": True}
        self.mqtt = paho.Client(client_id, protocol=version, **arguments)
        self.mqtt.max_inflight_messages_set(2000)
        self.mqtt.max_queued_messages_set(0)
        if username:
            self.mqtt.username_pw_set(username, password)
        if ca:
            self.mqtt.tls_set(ca)
        self._lock = threading.Lock()
        self._mids, self._early = {}, set()
        self.sent, self.acked = [], set()
        self._next = {}
        self._connected = threading.Event()
        self.mqtt.on_connect = lambda *_: self._connected.set()
        self.mqtt.on_publish = self._acked
        self.mqtt.connect("127.0.0.1" if not ca else "localhost", port)
        self.mqtt.loop_start()
        assert self._connected.wait(10), "the publisher does not get in"

    def _acked(self, _client, _user, mid):
        with self._lock:
            key = self._mids.pop(mid, None)
            if key is None:
                self._early.add(mid)
            else:
                self.acked.add(key)

    def publish(self, device="pump-1", topic=TOPIC, **more):
        """One sample of @device; returns (device, n)."""
        n = self._next.get(device, 0)
        self._next[device] = n + 1
        body = dict({"n": n, "ts": FIRST_TS + n}, **more)
        mid = self.mqtt.publish(topic.replace("{device}", device), json.dumps(body), 1).mid
        with self._lock:
            self.sent.append((device, n))
            if mid in self._early:
                self._early.remove(mid)
                self.acked.add((device, n))
            else:
                self._mids[mid] = (device, n)
        return device, n

    def raw(self, topic, payload):
        """Anything, on any topic."""
        self.mqtt.publish(topic, payload, 1)

    def burst(self, count, devices=("pump-1",)):
        for i in range(count):
            self.publish(devices[i % len(devices)])

    def wait_acked(self, timeout_s=30):
        """Until the broker has acknowledged everything published so far."""
        wait_for(lambda: len(self.acked) == len(self.sent), timeout_s, "all published messages acknowledged")

    def close(self):
        self.mqtt.disconnect()
        self.mqtt.loop_stop()


class SteadyLoad:
    """Publishes at a pace on a thread of its own until stopped."""

    def __init__(self, publisher, per_s, devices=("pump-1", "pump-2", "pump-3")):
        self._publisher, self._per_s, self._devices = publisher, per_s, devices
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        begin, n = time.monotonic(), 0
        while not self._stop.wait(0.01):
            due = int((time.monotonic() - begin) * self._per_s)
            while n < due:
                self._publisher.publish(self._devices[n % len(self._devices)])
                n += 1

    def stop(self):
        self._stop.set()
        self._thread.join()


class Gateway:
    """The daemon. Configured from dicts; YAML takes JSON as it is."""

    def __init__(self, directory, brokers=(), clouds=(), mappings=None, journal=None, gateway=None, name="gw"):
        self.directory, self.name = directory, name
        self.state = os.path.join(directory, name + ".state")
        self.config_path = os.path.join(directory, name + ".yaml")
        self.log_path = os.path.join(directory, name + ".log")
        os.makedirs(self.state, exist_ok=True)
        self.config = {
            "gateway": dict({"name": name, "state_directory": self.state}, **(gateway or {})),
            "local": {"brokers": list(brokers)},
            "mappings": mappings or [MAPPING],
            "clouds": list(clouds),
        }
        if journal:
            self.config["journal"] = journal
        self.process = None
        self._mark = 0

    def client_id(self, broker="field"):
        return "fieldgate-%s-%s" % (self.name, broker)

    def write(self):
        """Writes the configuration. A peer that is back is found within two seconds, unless a test says otherwise."""
        for peer in self.config["local"]["brokers"] + self.config["clouds"]:
            peer.setdefault("max_reconnect_delay", "2s")
        with open(self.config_path, "w") as f:
            json.dump(self.config, f, indent=1)

    def start(self, env=None, prefix=(), level="debug"):
        """Start it; log() then begins here. @prefix: a command to run it under that ends in exec."""
        self.write()
        self._mark = os.path.getsize(self.log_path) if os.path.exists(self.log_path) else 0
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen(
                list(prefix) + [DAEMON, "--config", self.config_path, "--plugin-dir", plugin_directory(),
                                "--log-level", level],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent,
                env=dict(os.environ, **(env or {})))
        return self

    def check(self):
        """Run --check; returns (exit status, what it printed)."""
        self.write()
        return check(self.config_path)

    def log(self, whole=False):
        with open(self.log_path, errors="replace") as f:
            f.seek(0 if whole else self._mark)
            return f.read()

    def wait_log(self, pattern, timeout_s=20):
        """Until a line of this run's log matches; returns the match."""
        return wait_for(lambda: self.is_up() and re.search(pattern, self.log(), re.M | re.I), timeout_s,
                        "in the log: " + pattern)

    def is_up(self):
        assert self.process.poll() is None, "the daemon has ended: %s" % self.process.returncode
        return True

    def kill9(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def term(self, timeout_s=20):
        """Ask it to end; returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout_s)
        self.process = None
        return status

    def wait_end(self, timeout_s=20):
        """Until it ends by itself; returns its exit status."""
        status = self.process.wait(timeout_s)
        self.process = None
        return status

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def status(self):
        """What SIGUSR1 has it say: {"link tb": {"state": "online", "backlog": 0, …}, "journal": …}"""
        before = len(self.log())
        self.process.send_signal(signal.SIGUSR1)
        lines = re.compile(r"(link \S+|broker \S+|journal): ([a-z]+),? (.*=.*)$", re.M)
        wait_for(lambda: self.is_up() and len(lines.findall(self.log()[before:])) >= 1 +
                 len(self.config["clouds"]) + len(self.config["local"]["brokers"]), 20, "a status in the log")
        return {who: dict({k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", rest)}, state=state)
                for who, state, rest in lines.findall(self.log()[before:])}

    def quarantine(self):
        """[(link, reason, topic, body)] of what stands in quarantine."""
        return [parse_quarantine(body) for kind, body in records(self.state, "quarantine") if kind == 129]

    def journalled(self, lane="main"):
        """How many messages the journal on disk holds."""
        return sum(1 for kind, _ in records(self.state, lane) if kind < 128)


def check(path, *more):
    """`fieldgate --check` on a file; returns (exit status, what it printed)."""
    done = subprocess.run([DAEMON, "--config", path, "--check", *more] +
                          ([] if "--plugin-dir" in more else ["--plugin-dir", plugin_directory()]),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    return done.returncode, done.stdout.decode(errors="replace")


def records(state, lane):
    """Yield (kind, body) of a lane's records, after src/journal/format.h."""
    directory = os.path.join(state, "journal", lane)
    names = sorted(n for n in os.listdir(directory) if re.fullmatch("[0-9a-f]{16}\\.seg", n)) \
        if os.path.isdir(directory) else []
    for i, name in enumerate(names):
        with open(os.path.join(directory, name), "rb") as f:
            data = f.read()
        at, seq = struct.unpack_from("<H", data, 14)[0], struct.unpack_from("<Q", data, 24)[0]
        end = int(names[i + 1][:16], 16) if i + 1 < len(names) else None
        while at + 32 <= len(data):
            size, found = struct.unpack_from("<IQ", data, at + 4)
            if size < 32 or at + size > len(data) or found != seq or seq == end:
                break
            kind, flags, device, stream = data[at + 28:at + 32]
            body = at + 32 + device + stream
            if flags & 4:
                body += 1 + data[body]
            if flags & 8:
                n, body = data[body], body + 1
                for _ in range(n):
                    body += 2 + data[body + 1]
            yield kind, data[body:at + size]
            at, seq = (at + size + 7) // 8 * 8, seq + 1


def parse_quarantine(body):
    def take(n):
        nonlocal body
        head, body = body[:n], body[n:]
        return head
    link = take(take(1)[0]).decode()
    reason = take(struct.unpack("<H", take(2))[0]).decode(errors="replace")
    topic = take(struct.unpack("<H", take(2))[0])
    take(14)
    return link, reason, topic, body


def set_disk(shim, **faults):
    """What the disk does from now on, by the directory @shim that slow_sync.c looks into."""
    for name in ("delay", "fail", "full", "unreadable"):
        path = os.path.join(shim, name)
        if faults.get(name) is not None:
            with open(path + ".new", "w") as f:
                f.write(str(faults[name]))
            os.rename(path + ".new", path)
        elif os.path.exists(path):
            os.unlink(path)


class EndToEnd(unittest.TestCase):
    """One test: a directory, and short names for what is mostly needed."""

    has_failed = False  # run.py knows, and tells: the directory is then kept

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="fieldgate-e2e-")
        self.gateways = []
        self.addCleanup(self._clean_up)

    def _clean_up(self):
        if self.has_failed or os.environ.get("FIELDGATE_KEEP"):
            print("        kept: %s" % self.directory)
            for gateway in self.gateways:
                try:
                    tail = gateway.log(whole=True).splitlines()[-40:]
                except OSError:
                    continue
                print("".join("        %s: %s\n" % (gateway.name, line) for line in tail), flush=True)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.directory, name)

    def field(self, start=True, **how):
        broker = FieldBroker(self.directory, **how)
        self.addCleanup(broker.stop)
        return broker.start() if start else broker

    def thingsboard(self, start=True, **how):
        cloud = ThingsBoard(self.directory, BUILD, **how)
        self.addCleanup(cloud.stop)
        return cloud.start() if start else cloud

    def scripted(self, script=None):
        server = ScriptedBroker(script).start()
        self.addCleanup(server.stop)
        return server

    def publisher(self, broker, **how):
        publisher = Publisher(broker.port, **how)
        self.addCleanup(publisher.close)
        return publisher

    def broker_config(self, broker, name="field", **more):
        return dict({"name": name, "url": "mqtt://127.0.0.1:%d" % broker.port}, **more)

    def cloud_config(self, cloud, name="tb", **more):
        config = {"name": name, "plugin": "thingsboard", "url": "mqtt://127.0.0.1:%d" % cloud.port,
                  "access_token": ThingsBoard.TOKEN}
        config.update(more)
        return {key: value for key, value in config.items() if value is not None}

    def gateway(self, broker=None, cloud=None, start=True, clouds=None, brokers=None, **how):
        """A gateway between one broker and one cloud, unless lists are given."""
        gateway = Gateway(self.directory,
                          brokers if brokers is not None else [self.broker_config(broker)],
                          clouds if clouds is not None else [self.cloud_config(cloud)], **how)
        self.gateways.append(gateway)
        self.addCleanup(gateway.stop)
        return gateway.start() if start else gateway

    def running(self, broker=None, cloud=None, **how):
        """A gateway that has subscribed and whose cloud has let it in."""
        gateway = self.gateway(broker, cloud, **how)
        broker.wait_subscribed(gateway.client_id())
        wait_for(lambda: gateway.is_up() and cloud.events("connect"), 20, "the cloud sees a login")
        return gateway

    def wait_delivered(self, cloud, expected, timeout_s=60):
        """Until every (device, n) of @expected is in @cloud."""
        expected = set(expected)

        def all_there():
            return expected <= {(d, v) for d, _, k, v in cloud.samples() if k == "n"}
        try:
            wait_for(all_there, timeout_s, every_s=0.1)
        except AssertionError:
            missing = sorted(expected - {(d, v) for d, _, k, v in cloud.samples() if k == "n"})
            raise AssertionError("%d of %d never arrive, first: %s" % (len(missing), len(expected), missing[:5]))
