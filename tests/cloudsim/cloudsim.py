"""Stand-in clouds: a real Mosquitto with a plugin that enforces one cloud's rules, and what it has taken.

    cloud = ThingsBoard("/tmp/x", "build")
    cloud.start()
    ...
    cloud.outage(); cloud.resume()
    cloud.samples()
    cloud.stop()
"""
import ctypes
import json
import os
import signal
import socket
import subprocess
import time

MOSQUITTO = "/usr/sbin/mosquitto"


def wait_for(fact, timeout_s=20.0, what="", every_s=0.01):
    """Poll @fact until it is true, and return it; AssertionError after @timeout_s."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = fact()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("after %g s still not: %s" % (timeout_s, what or fact))
        time.sleep(every_s)


def free_port():
    """A loopback port nobody uses now. The kernel chooses."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def die_with_parent():
    """In a child: do not outlive a test that was killed."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def is_listening(port):
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


class Mosquitto:
    """One broker process on a loopback port. Its port stays its own while the process is down."""

    def __init__(self, directory, name, config, tls=None):
        """@config: lines after the listener. @tls: {"ca", "certificate", "key", "require": bool}."""
        self.directory, self.name, self.config, self.tls = directory, name, config, tls
        self.port = None
        self.process = None
        self._placeholder = None

    def start(self):
        for _ in range(20):
            port = self.port or free_port()
            if self._launch(port):
                self.port = port
                return self
        raise AssertionError("%s does not start, see %s" % (self.name, self.log_path))

    @property
    def log_path(self):
        return os.path.join(self.directory, self.name + ".log")

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def _launch(self, port):
        path = os.path.join(self.directory, self.name + ".conf")
        lines = ["user root", "listener %d 127.0.0.1" % port]
        if self.tls:
            lines += ["certfile " + self.tls["certificate"], "keyfile " + self.tls["key"]]
            if self.tls.get("require"):
                lines += ["cafile " + self.tls["ca"], "require_certificate true"]
        with open(path, "w") as f:
            f.write("\n".join(lines + self.config) + "\n")
        self._release()
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen([MOSQUITTO, "-c", path], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, preexec_fn=die_with_parent)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                self.process = None
                return False
            if is_listening(port):
                return True
            time.sleep(0.01)
        self.kill()
        return False

    def _release(self):
        if self._placeholder:
            self._placeholder.close()
            self._placeholder = None

    def kill(self, how=signal.SIGKILL):
        """End the process. Connections to its port are refused from now on."""
        if not self.process:
            return
        self.process.send_signal(how)
        self.process.send_signal(signal.SIGCONT)
        self.process.wait()
        self.process = None
        # Bound but not listening: nobody else gets the port, and a client that keeps trying cannot end
        # up connected to itself, as it can on a free port of the range the kernel takes from.
        self._placeholder = socket.socket()
        self._placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._placeholder.bind(("127.0.0.1", self.port or 0))
        except OSError:
            self._release()

    def freeze(self):
        """Stop answering, but keep every connection: a network that swallows all packets."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        """End it in good order (a persistent broker saves its state)."""
        self.kill(signal.SIGTERM)
        self._release()


class ThingsBoard(Mosquitto):
    """ThingsBoard as a gateway sees it; see thingsboard_broker.c for what it enforces."""

    TOKEN = "GATEWAY-TOKEN"

    def __init__(self, directory, build, name="thingsboard", devices=None, tls=None):
        devices = devices or [{"name": "the gateway", "gateway": True, "token": self.TOKEN}]
        paths = {what: os.path.join(directory, "%s.%s" % (name, what))
                 for what in ("devices", "record", "control")}
        with open(paths["devices"], "w") as f:
            json.dump(devices, f)
        config = [
            "persistence false",
            "max_inflight_messages 100",
            "log_type all",
            "plugin " + os.path.join(os.path.abspath(build), "tests/cloudsim/thingsboard_broker.so"),
        ] + ["plugin_opt_%s %s" % item for item in paths.items()]
        if all("token" in d for d in devices):
            # "The newest login of a device wins" is what a broker does to equal client ids.
            config.insert(0, "use_username_as_clientid true")
        super().__init__(directory, name, config, tls)
        self.record_path, self.control_path = paths["record"], paths["control"]
        self._offset = 0
        self._events = []

    # ---- faults

    def outage(self):
        """Close all connections and refuse new ones. What was acknowledged stays on record."""
        self.kill()

    def resume(self):
        """Accept connections again, on the same port."""
        self.start()

    def control(self, **request):
        """Send one request; returns the counters. The broker has acted on it when this returns."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind("")  # an address of the kernel's choice, to be answered to
            s.settimeout(20)
            s.sendto(json.dumps(request).encode(), self.control_path)
            return json.loads(s.recv(65536))

    def set(self, **faults):
        """refuse="credentials"|"silent"|"", refuse_new_devices=, messages_per_s=, ack_limited=, drop_at=,
        lose_ack_at=, poison=, slow_ms=, shared={device: {key: value}}, limits={...}"""
        return self.control(set=faults)

    def push(self, topic, payload, to=None):
        """Send a message down: to the device @to, or to all."""
        return self.control(publish=dict(topic=topic, payload=payload, **({"to": to} if to else {})))

    def kick(self):
        """Throw every client out."""
        return self.control(kick=True)

    def counters(self):
        return self.control()

    # ---- what it has seen

    def events(self, kind=None):
        """All of the record up to now, in order, or only the events called @kind."""
        try:
            with open(self.record_path, "rb") as f:
                f.seek(self._offset)
                data = f.read()
        except FileNotFoundError:
            data = b""
        data = data[:data.rfind(b"\n") + 1]
        self._offset += len(data)
        self._events += [json.loads(line) for line in data.splitlines()]
        return [e for e in self._events if e["event"] == kind] if kind else list(self._events)

    def publishes(self, topic=None):
        """[(topic, payload parsed)] of what was taken."""
        return [(e["topic"], json.loads(e["payload"])) for e in self.events("publish")
                if topic is None or e["topic"] == topic]

    def samples(self):
        """[(device, ts, key, value)] of all telemetry taken, in order of arrival. ts None: server time."""
        found = []
        for e in self.events("publish"):
            if e["topic"] == "v1/gateway/telemetry":
                parts = json.loads(e["payload"]).items()
            elif e["topic"] in ("v1/devices/me/telemetry", "v2/t", "v2/t/j"):
                body = json.loads(e["payload"])
                parts = [(e["device"], body if isinstance(body, list) else [body])]
            else:
                continue
            for device, entries in parts:
                for entry in entries:
                    if "ts" in entry and "values" in entry:
                        found += [(device, entry["ts"], k, v) for k, v in entry["values"].items()]
                    else:
                        found += [(device, None, k, v) for k, v in entry.items()]
        return found

    def values(self, key, device=None):
        """All values of @key (of @device), in order of arrival."""
        return [v for d, _, k, v in self.samples() if k == key and (device is None or d == device)]

    def duplicates(self):
        """How many samples came again: same device, time, key and value."""
        samples = [(d, ts, k, json.dumps(v)) for d, ts, k, v in self.samples()]
        return len(samples) - len(set(samples))

    def disorder(self, key):
        """[(device, value, value before)] where the first arrivals of the rising @key go down."""
        newest, seen, wrong = {}, set(), []
        for device, _, k, v in self.samples():
            if k != key or (device, v) in seen:
                continue
            seen.add((device, v))
            if device in newest and v < newest[device]:
                wrong.append((device, v, newest[device]))
            newest[device] = max(v, newest.get(device, v))
        return wrong

    def attributes(self):
        """{device: {key: value}} as last written."""
        now = {}
        for topic, body in self.publishes("v1/gateway/attributes"):
            for device, values in body.items():
                now.setdefault(device, {}).update(values)
        return now

    def devices(self):
        """{name: type} of the sub-devices that exist."""
        return {e["device"]: e["type"] for e in self.events("device")}

    def complaints(self):
        """Everything a well-behaved gateway never causes: rejected and suspect messages, refused
        subscriptions and logins, sub-devices that were not announced, sessions that are to be stored."""
        return [e for e in self.events()
                if e["event"] in ("rejected", "suspect", "refused")
                or e["event"] == "subscribe" and not e["granted"]
                or e["event"] == "device" and e["implicit"]
                or e["event"] == "connect" and not e["clean"]]
