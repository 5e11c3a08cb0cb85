"""ThingsBoard for tests: start it, set faults, send down, ask what came."""
import contextlib
import json
import os
import threading
import uuid

from arrivals import Arrivals
from mosquitto import Mosquitto
from package_shelf import PackageShelf

from . import store
from .ota import Package
from .provisioning import Profile
from .rest import Rest
from .rpc import RpcError
from .server import Server


class ThingsBoard(Arrivals, Mosquitto):
    """ThingsBoard as a gateway sees it; README.md says what it enforces."""

    TOKEN = "GATEWAY-TOKEN"

    def __init__(self, directory, build, name="thingsboard", devices=None, tls=None, provisioning=None):
        """@devices: [{"name", "gateway": bool, "protobuf": bool (what its profile says), "token" | "basic":
        {"client_id", "username", "password"} | "certificate_sha256"}], one gateway with TOKEN unless given.
        @provisioning: {key: secret} of device profiles that create devices; see also allow_provisioning()."""
        logins = devices or [{"name": "the gateway", "gateway": True, "token": self.TOKEN}]
        paths = {what: os.path.join(directory, "%s.%s" % (name, what)) for what in ("devices", "record", "core")}
        core = "core-" + uuid.uuid4().hex
        config = [
            "persistence false",
            "set_tcp_nodelay true",
            "max_inflight_messages 100",
            # Without a limit (0) the broker takes every refused message for one too many.
            "max_queued_messages 1000000",
            "log_type all",
            "plugin " + os.path.join(os.path.abspath(build), "tests/cloudsim/thingsboard_broker.so"),
            "plugin_opt_devices " + paths["devices"],
            "plugin_opt_record " + paths["record"],
            "plugin_opt_core " + core,
            "listener 0 " + paths["core"],
        ]
        if all("token" in d for d in logins) and not provisioning:
            # "The newest login of a device wins" is what a broker does to equal client ids.
            config.insert(0, "use_username_as_clientid true")
        super().__init__(directory, name, config, tls)
        self.record_path, self._devices_path, self._core_path = paths["record"], paths["devices"], paths["core"]
        self._server = Server(paths["core"], core, self.record_path, self.log_path, logins, self._save_logins)
        self._takes_provisioning = bool(provisioning)
        self._enforces_limits = False
        self._settings = {}  # of the plugin, to be told again to each new process
        self._shelf = self._rest = None
        self._reading = threading.Lock()
        self._offset = 0
        self._events = []
        self._samples, self._n_sampled = [], 0
        for key, secret in (provisioning or {}).items():
            self.allow_provisioning(key, secret)

    def _save_logins(self, logins):
        with open(self._devices_path, "w") as f:
            json.dump(logins, f)

    def start(self):
        self._save_logins(self._server.logins)
        super().start()
        self._server.link.attach()
        self.control(set=self._settings)
        return self

    def stop(self):
        super().stop()
        self._server.close()
        for web in (self._shelf, self._rest):
            if web:
                web.stop()
        if self._server.link.errors:
            raise AssertionError("the stand-in has gone wrong:\n" + self._server.link.errors[0])

    # ---- faults

    def outage(self):
        """Close all connections and refuse new ones. What was acknowledged stays on record."""
        self.kill()

    def resume(self):
        """Accept connections again, on the same port."""
        self.start()

    def control(self, **request):
        """Send one request to the broker's plugin; returns the counters. It has acted on it when this returns."""
        return self._server.call(request)

    def set(self, **faults):
        """refuse="credentials"|"silent"|"", refuse_new_devices=, messages_per_s=, ack_limited=, drop_at=,
        lose_ack_at=, poison=, slow_ms=, shared={device: {key: value}} (nobody is told), limits={…} (the answer to
        getSessionLimits; None: a server that does not know it), enforce_limits=bool, inactivity_ms= (after it a
        sub-device's session ends, silently), rpc_ack_timeout_s= (for the PUBACK of a persistent command),
        provision_close_s= (after an answer). refuse, refuse_new_devices, messages_per_s, ack_limited, drop_at,
        lose_ack_at, poison and slow_ms end with the broker's process, at an outage(); the rest stays."""
        with self._server.lock:
            for name, values in faults.pop("shared", {}).items():
                self._server.device(name).shared = dict(values)
            if "limits" in faults:
                self._server.client_rpcs.limits = faults.pop("limits")
                if self._enforces_limits:
                    faults["rate_limits"] = self._server.client_rpcs.limits
            if "enforce_limits" in faults:
                self._enforces_limits = faults.pop("enforce_limits")
                faults["rate_limits"] = self._server.client_rpcs.limits if self._enforces_limits else None
            if "rpc_ack_timeout_s" in faults:
                self._server.rpcs.ack_timeout_s = faults.pop("rpc_ack_timeout_s")
            if "provision_close_s" in faults:
                self._server.provisioning.close_after_s = faults.pop("provision_close_s")
        self._settings.update({name: faults[name] for name in ("rate_limits", "inactivity_ms") if name in faults})
        return self.control(set=faults)

    def push(self, topic, payload, to=None):
        """Send a message down: to the device @to, or to all."""
        if not isinstance(payload, bytes):
            payload = payload.encode()
        return self._server.push(topic, payload, to)

    def kick(self):
        """Throw every client out."""
        return self.control(kick={"in": 1})

    def counters(self):
        return self.control()

    def not_listening(self):
        """A context in which the server behind the broker does nothing: the broker acknowledges what comes, and
        nobody takes it further."""
        return self._server.lock

    @contextlib.contextmanager
    def _caught_up(self):
        """The server's lock, once it has taken in all that the broker has acknowledged: what is on record, where
        tests see it first, may have yet to reach the server."""
        if self.process:
            self.control()  # answered behind all that
        with self._server.lock:
            yield

    # ---- commands

    def rpc(self, device, method, params=None, timeout_s=10, oneway=False, persistent=False, retries=None):
        """Send a command to @device and wait. Returns the reply, parsed; None if @oneway; the UUID at once if
        @persistent. Raises RpcError with code TIMEOUT, or NO_ACTIVE_CONNECTION if nobody listened for it in
        all of @timeout_s. params may be any JSON."""
        rpc = self.rpc_begin(device, method, params, timeout_s, oneway, persistent, retries)
        return rpc.id if persistent else rpc.wait()

    def rpc_begin(self, device, method, params=None, timeout_s=10, oneway=False, persistent=False, retries=None):
        """As rpc(), but returns at once an Rpc: wait(), is_done, state, reply, error, request_id, deliveries."""
        with self._caught_up():
            return self._server.rpcs.begin(self._server.device(device), method, params, timeout_s, oneway,
                                           persistent, retries)

    def rpc_find(self, id_):
        """The Rpc with that UUID, None if there is none."""
        with self._caught_up():
            return self._server.rpcs.find(id_)

    def rpc_state(self, id_):
        """QUEUED, SENT, DELIVERED, SUCCESSFUL, TIMEOUT, EXPIRED or FAILED."""
        rpc = self.rpc_find(id_)
        if not rpc:
            raise RpcError("NOT_FOUND")
        return rpc.state

    def replies(self, verdict=None, device=None):
        """Events {"device", "id", "verdict", "data"} of all replies that came. Verdicts: "answered", "not JSON",
        "late" (its caller has given up), "duplicate", "one-way" (nobody waits for it), "unknown" (no such id)."""
        return [e for e in self.events("reply")
                if (verdict is None or e["verdict"] == verdict) and (device is None or e["device"] == device)]

    def restart_actor(self, device):
        """The server's actor of @device restarts: ids begin at 0 again, pending persistent commands come again
        under another id, others are forgotten."""
        with self._caught_up():
            self._server.rpcs.restart_actor(self._server.device(device))

    def answer_client_rpc(self, method, answer, timeout_s=None):
        """What a device's own call of @method is answered with: JSON, or a function (device, params) → JSON.
        @timeout_s: when calls of other methods get {"error": "timeout"}, 60 unless set."""
        with self._caught_up():
            self._server.client_rpcs.methods[method] = answer
            if timeout_s is not None:
                self._server.client_rpcs.timeout_s = timeout_s

    # ---- attributes

    def set_shared(self, device, values):
        """Set shared attributes {key: value}; who is subscribed is told."""
        with self._caught_up():
            self._server.attributes.set_shared(self._server.device(device), values)

    def delete_shared(self, device, *keys):
        """Delete shared attributes; who is subscribed is told. Returns which there were."""
        with self._caught_up():
            return self._server.attributes.delete_shared(self._server.device(device), keys)

    def shared(self, device):
        """{key: value} of the shared attributes."""
        with self._caught_up():
            return dict(self._server.device(device).shared)

    def client_attributes(self, device):
        """{key: value} of the client attributes the device has published."""
        with self._caught_up():
            return dict(self._server.device(device).client)

    # ---- sub-devices

    def expire(self, device):
        """End the sub-device's session as its inactivity would: the gateway is not told."""
        return self.control(expire=device)

    def is_connected(self, device):
        """Whether a session of its own or a gateway's speaks for it."""
        with self._caught_up():
            found = self._server.devices.get(device)
            return bool(found and (found.session or found.gateway))

    def is_subscribed(self, device, topic):
        """Whether @device's own session has subscribed to @topic (and was within its limits)."""
        with self._caught_up():
            found = self._server.devices.get(device)
            return bool(found and found.session and topic in found.session.filters)

    def gateway_of(self, device):
        """The name of the gateway that speaks for @device now, None if none does."""
        with self._caught_up():
            found = self._server.devices.get(device)
            return found.gateway.device.name if found and found.gateway else None

    def rename(self, old, new):
        """An operator renames a sub-device; the gateway is told by a command on its own topic, after which it
        still knows the device by the old name until it connects again. Returns the Rpc, None if no gateway
        has ever announced it."""
        with self._caught_up():
            return self._server.rename(self._server.devices[old], new)

    def delete(self, device):
        """An operator deletes a sub-device; the gateway is told by a command. Returns the Rpc or None."""
        with self._caught_up():
            return self._server.delete(self._server.devices[device])

    def gateway_disconnect(self, device, reason=150):
        """Tell the gateway (MQTT 5 only) that the session of @device has ended: 150 rate limit, 128 unspecified,
        129 QoS 0. False: nobody is there to be told."""
        with self._caught_up():
            found = self._server.device(device)
            if not found.gateway or found.gateway.version != 5:
                return False
            self._server.publish(found.gateway, "v1/gateway/disconnect", {"device": found.called, "reason": reason})
            return True

    # ---- firmware and software

    def assign_firmware(self, device, title, version, data, algorithm="SHA256", tag=None, url=False, fault=None):
        """Assign a firmware package (bytes) to a device. @algorithm: MD5, SHA256, SHA384, SHA512, CRC32,
        MURMUR3_32 or MURMUR3_128. @url: served by HTTP and told as fw_url; a text is told as it is. Returns the
        package; its .fault may be changed, .n_chunks_sent read.

        @fault: "checksum": True, a wrong one is told; "size": n, that size is told; once each, when chunk n is
        asked for: "cut_at_chunk": n closes the connection, "silent_at_chunk": n says nothing, "error_at_chunk": n
        says FAILURE and closes; "corrupt_chunk": n, always. With @url: "cut_at": n closes after n bytes, once;
        "length": n as Content-Length; "status": n, such as 404; "delay_s": before the answer; "no_range": True;
        "corrupt_at": n, that byte is wrong."""
        return self._assign("fw", device, title, version, data, algorithm, tag, url, fault)

    def assign_software(self, device, title, version, data, algorithm="SHA256", tag=None, url=False, fault=None):
        """The same for a software package (sw_…)."""
        return self._assign("sw", device, title, version, data, algorithm, tag, url, fault)

    def _assign(self, kind, device, title, version, data, algorithm, tag, url, fault):
        package = Package(kind, title, version, data, algorithm, tag, fault)
        if isinstance(url, str):
            package.url = url
        elif url:
            self._shelf = self._shelf or PackageShelf()
            package.url = self._shelf.put(package)
        with self._caught_up():
            self._server.ota.assign(self._server.device(device), package)
        return package

    def unassign(self, device, kind="fw"):
        """Take the package away: its nine keys are deleted."""
        with self._caught_up():
            self._server.ota.unassign(self._server.device(device), kind)

    def package_requests(self):
        """[(path, Range header or None, status)] of the HTTP requests for packages."""
        return list(self._shelf.requests) if self._shelf else []

    def ota_states(self, device, kind="fw"):
        """[fw_state …] as the device has reported them, in order."""
        return [v for d, _, k, v in self.samples() if d == device and k == kind + "_state"]

    # ---- provisioning and the REST side

    def allow_provisioning(self, key, secret, fault=None, waiting=None):
        """Take provisioning requests with this key and secret: create the device, or with @waiting, a list of
        names, let in each of these once. Constructed without @provisioning: before start() only.

        @fault: "answer_twice": True; "cut_before": True, once, the device is made and the connection closed
        instead of an answer; "cut_after": True, once, closed behind the answer; "silent": True; "delay_s"."""
        if self.process and not self._takes_provisioning:
            raise AssertionError("allow provisioning before start(), or when constructing")
        if not self._takes_provisioning:
            self._takes_provisioning = True
            self.config = [line for line in self.config if not line.startswith("use_username_as_clientid")]
        with self._caught_up():
            self._server.provisioning.profiles[key] = Profile(secret, waiting, fault)

    def provisioned(self):
        """Events {"device", "status", "type"} of all provisioning requests, in order."""
        return self.events("provision")

    def login(self, device):
        """What @device logs in with: {"token" | "basic" | "certificate_sha256"}; None if it cannot."""
        with self._caught_up():
            return self._server.login(device)

    def set_logins(self, devices):
        """Replace who may log in, as @devices when constructing; whose entry is gone or has changed is thrown
        out."""
        with self._caught_up():
            self._server.set_logins(list(devices))
        self.control()

    def claims(self):
        """Events {"device", "secret", "duration_ms"} of all claims."""
        return self.events("claim")

    @property
    def rest_url(self):
        """http://127.0.0.1:PORT of the REST side, started at first use. It knows one user,
        tenant@thingsboard.org with the password tenant."""
        self._rest = self._rest or Rest(self._server, lambda: self.events("publish"))
        return self._rest.url

    def set_rest(self, min_timeout_ms):
        """The least time-out of a command the REST side takes, 5000 unless set."""
        assert self.rest_url
        self._rest.min_timeout_ms = min_timeout_ms

    # ---- what it has seen

    def events(self, kind=None):
        """All of the record up to now, in order, or only the events called @kind."""
        with self._reading:
            try:
                with open(self.record_path, "rb") as f:
                    f.seek(self._offset)
                    data = f.read()
            except FileNotFoundError:
                data = b""
            data = data[:data.rfind(b"\n") + 1]
            self._offset += len(data)
            self._events += [json.loads(line.decode(errors="replace")) for line in data.splitlines()]
            now = list(self._events)
        return [e for e in now if e["event"] == kind] if kind else now

    def publishes(self, topic=None):
        """[(topic, payload parsed)] of what was taken; what is not JSON comes as text."""
        return [(e["topic"], store.parsed(e["payload"])) for e in self.events("publish")
                if topic is None or e["topic"] == topic]

    def samples(self):
        """[(device, ts, key, value)] of all telemetry taken, in order of arrival. ts None: server time."""
        events = self.events()
        with self._reading:
            for e in events[self._n_sampled:]:
                if e["event"] == "publish":
                    self._samples += store.entries(e)
            self._n_sampled = max(self._n_sampled, len(events))
            return list(self._samples)

    def attributes(self):
        """{device: {key: value}} as last written."""
        now = {}
        for topic, body in self.publishes("v1/gateway/attributes"):
            for device, values in body.items():
                now.setdefault(device, {}).update(values)
        return now

    def devices(self):
        """{name: type} of the sub-devices that exist."""
        now = {}
        for e in self.events():
            if e["event"] == "device":
                now[e["device"]] = e["type"]
            elif e["event"] == "forgotten":
                now.pop(e["device"], None)
        return now

    def complaints(self):
        """Everything a well-behaved gateway never causes: rejected and suspect messages, refused
        subscriptions and logins, sub-devices that were not announced, sessions that are to be stored."""
        return [e for e in self.events()
                if e["event"] in ("rejected", "suspect", "refused")
                or e["event"] == "subscribe" and not e["granted"]
                or e["event"] == "device" and e["implicit"]
                or e["event"] == "connect" and not e["clean"]]
