"""The provisioning service: tells a device at which IoTDA it is at home, and lets it in there. Registered devices show
what they would show IoTDA; a device of a registration group shows the scope of its group, and a secret derived from
the group's or a certificate of the group's CA."""
import base64
import hashlib
import hmac
import json
import re
import time

from scripted_broker import Script, ScriptedBroker

from . import login
from .cloud import server_side

KEYWORD = "baseStrategyKeyword"
HOUR = re.compile(r"[0-9]{10}")


def derived(device_id, group_secret):
    """What a device of a group signs in with: here the id is the key."""
    return hmac.new(device_id.encode(), base64.b64decode(group_secret, validate=True), hashlib.sha256).hexdigest()


def take_apart(client_id, device_id):
    """(scope id or None, signature or None, hour or None) of what follows the device's id, None if it is no such id."""
    if not device_id or not client_id.startswith(device_id + "_0_"):
        return None
    rest = client_id[len(device_id) + 3:].split("_")
    has_hour = len(rest) in (2, 3) and rest[-2] in ("0", "1", "2") and HOUR.fullmatch(rest[-1])
    if has_hour:
        return rest[0] if len(rest) == 3 else None, rest[-2], rest[-1]
    return (rest[0], None, None) if len(rest) == 1 and rest[0] else None


class Service(Script):
    def __init__(self, devices, groups, now):
        self.devices, self.groups, self.now = devices, groups, now
        self.versions, self.keep_alive_s = {3, 4}, (30, 1200)
        self.faults = []      # of the answers to come, one after the other
        self.refuse = None
        self.events = []
        self.sessions = {}    # connection: (device id, secret it goes on with unless it is given one, home)

    def tell(self, what, **more):
        self.events.append(dict(more, event=what))

    def _judge(self, connect, certificate):
        """(code, why, home, secret): @home is the entry that says what the device is told."""
        found = take_apart(connect.client_id, connect.username)
        if connect.version not in self.versions:
            return login.WRONG_VERSION, "protocol version %d" % connect.version, None, None
        if not found or not self.keep_alive_s[0] <= connect.keep_alive <= self.keep_alive_s[1]:
            return login.WRONG_CLIENT_ID, "client id or keep-alive", None, None
        scope, signature, hour = found
        home = self.devices.get(connect.username) if scope is None else self.groups.get(scope)
        if not home:
            return login.WRONG_CREDENTIALS, "unknown device or scope", None, None
        if scope is not None and (signature is None) != ("secret" not in home):
            return login.WRONG_CLIENT_ID, "an hour or none, as the group has a secret or certificates", None, None
        if signature is None or "secret" not in home:
            is_good, secret = certificate is not None and connect.password is None, None
        else:
            secret = home["secret"] if scope is None else derived(connect.username, home["secret"])
            is_good = hmac.compare_digest((connect.password or "").encode(),
                                          login.password(secret, hour, signature).encode())
            if signature != login.UNCHECKED and not login.is_current(hour, 1, self.now()):
                is_good = False
        if not is_good:
            return login.WRONG_CREDENTIALS, "password or certificate", None, None
        return login.ACCEPTED, None, home, secret

    def on_connect(self, c, connect):
        code, why, home, secret = self._judge(connect, c.peer_certificate)
        if self.refuse is not None:
            code, why = self.refuse, "told to"
        if code != login.ACCEPTED:
            self.tell("refused", client=connect.client_id, code=code, why=why)
            c.version = 4 if connect.version not in self.versions else c.version
            c.connack(code)
            return c.close()
        self.sessions[c] = (connect.username, secret, home)
        self.tell("connect", client=connect.client_id, device=connect.username)
        c.connack(code)

    def on_disconnect(self, c, body):
        self.on_closed(c)
        c.close()

    def on_closed(self, c):
        if self.sessions.pop(c, None):
            self.tell("disconnect")

    def on_subscribe(self, c, subscribe):
        granted = []
        for filter_, options in subscribe.filters:
            is_granted = c in self.sessions and filter_ == self._topic(c, "down") and options & 3 < 2
            granted.append(options & 3 if is_granted else 0x80)
            c.has_subscribed = getattr(c, "has_subscribed", False) or is_granted
            self.tell("subscribe", topic=filter_, granted=is_granted)
        c.suback(subscribe.id, granted)

    def _topic(self, c, direction):
        return "$oc/devices/%s/sys/bootstrap/%s" % (self.sessions[c][0], direction)

    def on_publish(self, c, publish):
        if c not in self.sessions or publish.topic != self._topic(c, "up") or publish.qos > 1:
            self.tell("rejected", topic=publish.topic)
            return c.close()
        try:
            keyword = json.loads(publish.payload)[KEYWORD] if publish.payload else None
        except (ValueError, KeyError, TypeError):
            self.tell("rejected", topic=publish.topic, payload=publish.payload)
            return c.close()
        super().on_publish(c, publish)
        fault = self.faults.pop(0) if self.faults else {}
        self.tell("request", device=self.sessions[c][0], keyword=keyword, fault=fault)
        if fault.get("cut_before"):
            return c.close()
        if not fault.get("silent") and getattr(c, "has_subscribed", False):
            for payload in self._answers(c, keyword, fault):
                c.publish(self._topic(c, "down"), payload, 1)
        if fault.get("cut_after"):
            c.close()

    def _answers(self, c, keyword, fault):
        if "answers" in fault:
            return fault["answers"]
        device_id, secret, home = self.sessions[c]
        answer = {"address": home.get("keywords", {}).get(keyword) or home["address"]}
        if "gives" in home:
            answer["deviceSecret"] = secret = home["gives"]
        if home.get("register") and secret:
            home["register"](device_id, secret)
        self.tell("answer", device=device_id, **answer)
        return [json.dumps(answer).encode()] * fault.get("times", 1)


class Bootstrap:
    """The service at @port. @devices: {device id: entry}, @groups: {scope id: entry}; an entry has "address" (of
    IoTDA, HOST:PORT), "secret" (a group's is Base64; absent: certificates), "gives" (a secret that the device gets),
    "keywords" ({keyword: another address}) and "register" (called with the id and the secret the device goes on
    with: Huawei.register). @tls: as of Huawei."""

    def __init__(self, devices=None, groups=None, now=time.time, tls=None):
        self._service = Service(devices or {}, groups or {}, now)
        self._server = ScriptedBroker(self._service, tls=server_side(tls) if tls else None)
        self.port = self._server.port

    def start(self):
        self._server.start()
        return self

    def stop(self):
        self._server.stop()
        if self._server.errors:
            raise AssertionError("the stand-in has gone wrong:\n" + self._server.errors[0])

    def fault(self, *faults):
        """What becomes of the next requests: {"silent": True}, {"times": 2} (answered twice), {"cut_before": True},
        {"cut_after": True}, {"answers": [bytes, …]} instead of the right one; {} is none."""
        self._server.call(lambda: self._service.faults.extend(faults))

    def set(self, **settings):
        """refuse= a CONNACK code for everybody, or None."""
        self._server.call(lambda: vars(self._service).update(settings))

    def change(self, where, **entry):
        """Another entry, or a part of one: @where is a device id or a scope id."""
        def run():
            known = self._service.devices if where in self._service.devices else self._service.groups
            known.setdefault(where, {}).update(entry)
        self._server.call(run)

    def outage(self):
        self._server.call(lambda: [c.close() for c in list(self._service.sessions)])
        self._server.refuse()

    def resume(self):
        self._server.accept()

    def events(self, kind=None):
        return [e for e in list(self._service.events) if kind in (None, e["event"])]

    def requests(self):
        """The devices that have asked, each time they did."""
        return [e["device"] for e in self.events("request")]

    def complaints(self):
        """Everything a well-behaved device never causes."""
        return [e for e in self.events() if e["event"] == "rejected" or e["event"] == "refused" and
                not e["why"].startswith("protocol version") or e["event"] == "subscribe" and not e["granted"]]
