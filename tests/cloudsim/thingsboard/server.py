"""What is behind the broker: devices, their sessions, and the parts that answer for them."""
import collections
import json
import os
import threading
import time
import uuid

from .acks import Acks
from .attributes import Attributes
from .client_rpc import ClientRpcs
from .claims import Claims
from .link import Link
from .ota import Ota
from .provisioning import Provisioning
from .rpc import Rpcs

NOTICE_LIFE_S, NOTICE_RETRIES = 86400, 3
TAIL_BYTES = 1 << 20  # of the record: more than can be on its way from a broker that dies


class Device:
    """A device of the tenant, with a login of its own or behind a gateway. Outlives its sessions."""

    def __init__(self, name, kind="default"):
        self.name, self.kind = name, kind
        self.id = str(uuid.uuid4())
        self.created_ms = int(time.time() * 1000)
        self.client, self.shared, self.private = {}, {}, {}  # attributes
        self.written = []       # (ts, key, value) of telemetry by the server itself
        self.packages = {}      # "fw" or "sw": ota.Package
        self.session = None     # its own login
        self.gateway = None     # the session of the gateway that speaks for it
        self.called = name      # under which name that gateway knows it
        self.is_deaf = False    # that gateway was over its limit: nothing comes down
        self.last_gateway = None  # the device that last announced it


class Session:
    """One login of a device or gateway."""

    def __init__(self, number, device, version, is_gateway, is_protobuf, mosquitto_id):
        self.number, self.device, self.version = number, device, version
        self.is_gateway, self.is_protobuf = is_gateway, is_protobuf
        self.mosquitto_id = mosquitto_id
        self.filters = {}  # filter: QoS
        self.subs = {}     # as the gateway calls it: Device
        self.sent, self.unacked = collections.deque(), {}  # see acks.py
        self.chunk_sizes, self.ota_requests = {}, {}       # see ota.py; by request number


def speaks_protobuf(session, topic):
    """Its profile decides, where the topic does not say it itself."""
    if topic.startswith("v2/"):
        words = topic.split("/")
        if "p" in words or "j" in words:
            return "p" in words
    return session.is_protobuf


class Server:
    """State and its lock; all parts run under it, on the link's thread or a test's."""

    def __init__(self, path, client_id, record, log, logins, save_logins):
        self.lock = threading.RLock()
        self.logins, self._save_logins = logins, save_logins
        self._record = record
        self._record_fd = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self._last_n = 0    # of the messages heard of
        self.devices = {}   # name: Device
        self.sessions = {}  # number: Session
        self.link = Link(path, client_id, self.lock, self._on_message, self._on_lost)
        self.acks = Acks(self, log)
        self.attributes = Attributes(self)
        self.rpcs = Rpcs(self)
        self.client_rpcs = ClientRpcs(self)
        self.claims = Claims(self)
        self.provisioning = Provisioning(self)
        self.ota = Ota(self)
        self._parts = (self.rpcs, self.attributes, self.client_rpcs, self.claims, self.provisioning, self.ota)
        self._calls = {}
        self._next_call = 0
        for login in logins:
            self.device(login["name"])

    # ---- for the parts

    def device(self, name):
        """The device called @name, made if there is none."""
        if name not in self.devices:
            self.devices[name] = Device(name)
        return self.devices[name]

    def login(self, name):
        """Who may log in under that name, None if nobody."""
        return next((login for login in self.logins if login["name"] == name), None)

    def set_logins(self, logins):
        """From now on these may log in; whose entry is gone or changed is thrown out."""
        self.logins = logins
        for login in logins:
            self.device(login["name"])
        self._save_logins(logins)
        self.link.send({"devices": logins})

    def rename(self, device, new):
        """The gateway that last announced it is told, and knows it by its old name until it connects again."""
        old = device.name
        if self.login(old):
            raise ValueError("%s is no sub-device" % old)
        self.link.send({"rename": {"from": old, "to": new}})
        del self.devices[old]
        self.devices[new] = device
        device.name = new
        return self._tell_gateway(device, "gateway_device_renamed", {old: new})

    def delete(self, device):
        for name in {device.name, device.called}:
            self.link.send({"forget": name})
        del self.devices[device.name]
        if device.gateway:
            device.gateway.subs.pop(device.called, None)
        return self._tell_gateway(device, "gateway_device_deleted", device.name)

    def _tell_gateway(self, device, method, params):
        if not device.last_gateway:
            return None
        return self.rpcs.begin(device.last_gateway, method, params, NOTICE_LIFE_S, is_oneway=True,
                               is_persistent=True, retries=NOTICE_RETRIES)

    def publish(self, session, topic, payload, matching=None, on_ack=None, protobuf=None):
        """Send down to one session; QoS as subscribed with the filter @matching, 1 without. @payload: bytes, or
        what becomes JSON; @protobuf: (function, arguments …) that makes the bytes for whoever speaks that.
        @on_ack() is called at its PUBACK; with QoS 0 at once."""
        if protobuf and speaks_protobuf(session, topic):
            payload = protobuf[0](*protobuf[1:])
        if not isinstance(payload, bytes):
            payload = json.dumps(payload, separators=(",", ":")).encode()
        qos = min(1, session.filters.get(matching or topic, 1))
        self.link.send({"publish": {"session": session.number, "topic": topic, "qos": qos}}, payload)
        if qos == 1:
            self.acks.sent(session, topic, on_ack)
        elif on_ack:
            on_ack()

    def push(self, topic, payload, to=None):
        """Send down to the sessions of device @to, or to all, whatever they have subscribed to."""
        with self.lock:
            for session in self.sessions.values():
                if to is None or session.device.name == to:
                    self.acks.sent(session, topic)
        return self.call({"publish": dict(topic=topic, qos=1, **({"to": to} if to else {}))}, payload)

    def kick(self, session, ticks=1):
        """Close a session; what was sent before still goes out if @ticks is 3."""
        self.link.send({"kick": {"session": session.number, "in": ticks}})

    def note(self, event, **more):
        """Write a line into the record."""
        line = json.dumps(dict({"event": event, "ms": int(time.time() * 1000)}, **more))
        os.write(self._record_fd, (line + "\n").encode())

    def close(self):
        self.link.close()
        os.close(self._record_fd)

    def call(self, header, body=b"", timeout_s=20):
        """Have the broker do something; returns its counters when it has."""
        done = threading.Event()
        answer = {}
        with self.lock:
            self._next_call += 1
            self._calls[self._next_call] = (done, answer)
            if not self.link.send(dict(header, call=self._next_call), body):
                raise ConnectionError("the cloud is down")
        if not done.wait(timeout_s):
            raise TimeoutError("the cloud's broker does not answer")
        return answer

    # ---- what the broker tells

    def _on_message(self, header, body):
        getattr(self, "_on_%s_event" % header["event"])(header, body)

    def _on_answer_event(self, header, _body):
        done, answer = self._calls.pop(header.pop("call"), (None, None))
        if done:
            header.pop("event")
            answer.update(header)
            done.set()

    def _on_open_event(self, header, _body):
        device = self.device(header["device"])
        session = Session(header["session"], device, header["version"], header["gateway"],
                          header["protobuf"], header["mosquitto_id"])
        self.sessions[session.number] = session
        device.session = session

    def _on_close_event(self, header, _body):
        session = self.sessions.get(header["session"])
        if not session:
            return
        self.acks.forget(session)
        del self.sessions[session.number]
        for device in session.subs.values():
            if device.gateway is session:
                device.gateway = None
        if session.device.session is session:
            session.device.session = None

    def _on_lost(self):
        """The broker is gone. What it had acknowledged and not passed on stands in the record."""
        with open(self._record, "rb") as f:
            begin = max(0, os.fstat(f.fileno()).st_size - TAIL_BYTES)
            f.seek(begin)
            lines = f.read().split(b"\n")[1 if begin else 0:-1]
        for line in lines:
            event = json.loads(line.decode(errors="replace"))
            if event["event"] == "publish" and event["n"] > self._last_n and event["session"] in self.sessions:
                self._on_message_event(event, event["payload"].encode())
        self._last_n = 0
        for number in list(self.sessions):
            self._on_close_event({"session": number}, b"")

    def _on_sub_open_event(self, header, _body):
        session = self.sessions[header["session"]]
        device = self.device(header["device"])
        if device.gateway is None and device.last_gateway is None:
            device.kind = header["type"]
        device.gateway, device.called = session, header["device"]
        device.last_gateway = session.device
        device.is_deaf = header.get("deaf", False)
        session.subs[header["device"]] = device
        self.rpcs.on_listening(device)

    def _on_sub_close_event(self, header, _body):
        session = self.sessions.get(header["session"])
        device = session and session.subs.pop(header["device"], None)
        if device and device.gateway is session:
            device.gateway = None

    def _on_subscribe_event(self, header, _body):
        session = self.sessions[header["session"]]
        session.filters[header["topic"]] = header["qos"]
        self.rpcs.on_subscribe(session, header["topic"])

    def _on_unsubscribe_event(self, header, _body):
        self.sessions[header["session"]].filters.pop(header["topic"], None)

    def _on_message_event(self, header, body):
        session = self.sessions.get(header["session"])
        self._last_n = header["n"]
        for part in self._parts if session else ():
            if part.on_message(session, header["topic"], body):
                return
