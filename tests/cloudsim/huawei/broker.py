"""The platform's side of MQTT: logins, take-over, topics, limits, and what becomes of each message. A script for
ScriptedBroker, on whose thread all of it runs: no real broker can be made to say CONNACK 2 or 4, or to send a
message again on a living connection."""
import collections
import gzip
import json
import time
import zlib

from scripted_broker import Script

from . import login, payload, topics
from .downlink import Downlink
from .ota import SERVICE, Ota
from .registry import MANAGER, Registry, event
from .shadow import Shadow

MAX_MESSAGE_BYTES = 1 << 20
MAX_SUBSCRIPTIONS = 100
MANAGER_NAMES = (MANAGER, MANAGER.lstrip("$"))


class Settings:
    """What tests may change; cloud.py's set() says what each means."""

    def __init__(self):
        self.versions = {3, 4}
        self.keep_alive_s = (30, 1200)
        self.skew_h = 1
        self.messages_per_s = 50
        self.bytes_per_s = 1 << 20
        self.repeat_s, self.n_repeats = 2, 3
        self.repeat_after_return_s, self.n_repeats_after_return = 10, 5
        self.command_timeout_s = 20
        self.subscribes_all = True
        self.names_own = True
        self.answers_events = True
        self.n_answers, self.answer_after_s = 1, 0
        self.refuse = None
        self.drop_at = self.lose_ack_at = 0
        self.is_silent = False
        self.slow_ms = 0


class Bucket:
    """@per_s, and as much at once."""

    def __init__(self, per_s, elapsed):
        self._per_s = self._level = per_s
        self._elapsed, self._at = elapsed, elapsed()

    def take(self, n):
        now = self._elapsed()
        self._level = min(self._per_s, self._level + (now - self._at) * self._per_s)
        self._at = now
        if self._level < n:
            return False
        self._level -= n
        return True


class Session:
    """One login."""

    def __init__(self, number, connection, device_id, settings, elapsed):
        self.number, self.connection, self.device_id = number, connection, device_id
        self.client_id, self.keep_alive = connection.connect.client_id, connection.connect.keep_alive
        self.filters = {}
        self.messages, self.bytes = Bucket(settings.messages_per_s, elapsed), Bucket(settings.bytes_per_s, elapsed)
        self._elapsed = elapsed
        self.hear()

    def hear(self):
        """A packet has come."""
        self.heard_s = self._elapsed()

    def qos_of(self, topic):
        """The highest QoS of the filters that match, None if none does."""
        return max((qos for filter_, qos in self.filters.items() if topics.matches(filter_, topic)), default=None)


class Broker(Script):
    def __init__(self, devices, model, custom_topics, now, elapsed):
        """@now(): seconds since 1970, as the platform's clock has it; @elapsed(): seconds since whenever."""
        self.settings = Settings()
        self.registry = Registry(devices)
        self.sessions = {}  # device id: Session
        self.downlink = Downlink(self)
        self.shadow = Shadow(self)
        self.ota = Ota(self)
        self.events, self.readings = [], []
        self._answers = []  # to events, that come late: (when, device id, body)
        self.now, self.elapsed = now, elapsed
        self._model, self._custom = model, custom_topics
        self._n_sessions = self._n_publishes = 0
        self._ids = {}  # of messages and events up: what stands behind each
        self._acks = collections.deque()  # (when it is due, connection, publish): late ones, see slow_ms

    def tell(self, what, session=None, **more):
        """Write down an event."""
        entry = {"event": what, "ms": int(time.time() * 1000)}
        if session:
            entry.update(session=session.number, client=session.client_id, device=session.device_id)
        self.events.append(dict(entry, **more))

    def _session(self, connection):
        return next((s for s in self.sessions.values() if s.connection is connection), None)

    def end(self, session, why):
        """Close a session, or note that it is gone."""
        if self.sessions.pop(session.device_id, None):
            self.tell("disconnect", session, why=why)
        session.connection.close()

    # ---- logins

    def on_connect(self, c, connect):
        if self._session(c) or self.settings.refuse == "silent":
            return c.close()
        code, why, device_id = login.judge(connect, c.peer_certificate, self.registry.logins, self.settings,
                                           self.now())
        if self.settings.refuse is not None:
            code, why = self.settings.refuse, "told to"
        if code != login.ACCEPTED:
            self.tell("refused", client=connect.client_id, device=device_id, code=code, why=why)
            if connect.version not in self.settings.versions:
                c.version = max(self.settings.versions)  # what it does not know it cannot answer in
            c.connack(login.MQTT5_CODES[code] if c.version == 5 else code)
            return c.close()
        if device_id in self.sessions:
            self.end(self.sessions[device_id], "taken over")
        self._n_sessions += 1
        session = self.sessions[device_id] = Session(self._n_sessions, c, device_id, self.settings,
                                                             self.elapsed)
        self.tell("connect", session, version=connect.version, clean=connect.clean, keep_alive=connect.keep_alive,
                  has_will=connect.has_will)
        c.connack(login.ACCEPTED)
        self.downlink.attach(session)
        for device in self.registry.behind(device_id) | {device_id}:
            self.shadow.send(device)

    def on_disconnect(self, c, body):
        session = self._session(c)
        if session:
            self.end(session, "DISCONNECT")
        c.close()

    def on_tls_error(self, c, why):
        self.tell("refused", client=None, device=None, code=None, why=why)

    def on_closed(self, c):
        session = self._session(c)
        if session:
            self.end(session, "closed")

    def on_ping(self, c):
        session = self._session(c)
        if not session:
            return c.close()
        session.hear()
        super().on_ping(c)

    def on_tick(self, server):
        now = self.elapsed()
        for session in list(self.sessions.values()):
            if now - session.heard_s > 1.5 * session.keep_alive:
                self.end(session, "keep-alive")
        due = [answer for answer in self._answers if answer[0] <= now]
        self._answers = [answer for answer in self._answers if answer[0] > now]
        for _, device_id, body in due:
            self.downlink.send(device_id, "events/down", json.dumps(body).encode())
        self._acknowledge()
        self.downlink.on_tick()
        self.ota.on_tick()

    # ---- subscriptions

    def on_subscribe(self, c, subscribe):
        session = self._session(c)
        if not session:
            return c.close()
        session.hear()
        codes = []
        for filter_, options in subscribe.filters:
            qos = options & 3
            is_granted = (qos < 2 and topics.may_subscribe(session.device_id, filter_, self._custom) and
                          (filter_ in session.filters or len(session.filters) < MAX_SUBSCRIPTIONS))
            if is_granted:
                session.filters[filter_] = qos
            self.tell("subscribe", session, topic=filter_, qos=qos, granted=is_granted)
            codes.append(qos if is_granted else 0x87 if c.version == 5 else 0x80)
        c.suback(subscribe.id, codes)

    def on_unsubscribe(self, c, unsubscribe):
        session = self._session(c)
        if not session:
            return c.close()
        for filter_, _ in unsubscribe.filters:
            session.filters.pop(filter_, None)
            self.tell("unsubscribe", session, topic=filter_)
        super().on_unsubscribe(c, unsubscribe)

    def on_ack(self, c, ack):
        session = self._session(c)
        if session:
            session.hear()
            self.downlink.acknowledged(session, ack.id)

    # ---- messages

    def on_publish(self, c, publish):
        session, settings = self._session(c), self.settings
        if not session:
            return c.close()
        session.hear()
        self._n_publishes += 1
        if settings.drop_at:
            settings.drop_at -= 1
            if not settings.drop_at:
                return self.end(session, "told to")
        why = self._refusal(session, publish)
        if why:
            self.tell("rejected", session, n=self._n_publishes, topic=publish.topic, why=why,
                      size=len(publish.payload), payload=publish.payload[:200].decode(errors="replace"))
            return self.end(session, why)
        self.tell("publish", session, n=self._n_publishes, topic=publish.topic, qos=publish.qos, dup=publish.dup,
                  size=len(publish.payload),
                  payload=publish.payload.decode(errors="replace"))
        for fault in self._take(session, publish):
            self.tell("suspect", session, n=self._n_publishes, why=fault)
        if settings.lose_ack_at:
            settings.lose_ack_at -= 1
            if not settings.lose_ack_at:
                return self.end(session, "told to")
        if not settings.is_silent:
            self._acks.append((time.monotonic() + settings.slow_ms / 1000, c, publish))
            self._acknowledge()

    def _acknowledge(self):
        while self._acks and self._acks[0][0] <= time.monotonic():
            _, c, publish = self._acks.popleft()
            super().on_publish(c, publish)

    def _refusal(self, session, publish):
        """Why the platform closes the connection over a message, None if it does not."""
        size = len(publish.payload)
        if publish.qos > 1:
            return "QoS 2"
        if size > MAX_MESSAGE_BYTES:
            return "larger than 1 MB"
        if not session.messages.take(1) or not session.bytes.take(size):
            return "rate limit"
        found = topics.split(session.device_id, publish.topic)
        if found and (found[0] in topics.UP or topics.ANSWER.fullmatch(found[0]) or
                      topics.SHADOW_GET.fullmatch(found[0])):
            return None
        return None if topics.is_custom(session.device_id, publish.topic, self._custom) else "unknown topic"

    def _take(self, session, publish):
        """Do what a message asks for; yields what is wrong with it, for which it is still acknowledged."""
        if publish.retain:
            yield "retain is not supported"
        found = topics.split(session.device_id, publish.topic)
        if not found or found[0] == "messages/up":
            yield from self._message(publish.payload)
            return
        name, query = found
        data = publish.payload
        if query.get("encoding") == "gzip":
            try:
                data = gzip.decompress(data)
            except (OSError, EOFError, zlib.error):
                yield "not gzip"
                return
            if len(publish.payload) >= len(data):
                yield "gzip that is larger than what is in it"
        body = payload.parse(data)
        answer, shadow = topics.ANSWER.fullmatch(name), topics.SHADOW_GET.fullmatch(name)
        if answer:
            self._response(session, answer[1], answer[2], body)
        elif body is None:
            yield "not JSON"
        elif name == "events/up":
            yield from self._event(session, body)
        elif shadow:
            yield from self._shadow(session, shadow[1], body)
        else:
            yield from self.store(session.device_id, name, data, body)

    def store(self, device_id, name, data, body):
        """A report, or a message, whose topic ends in @name and that says @body (@data: the same, as bytes); yields
        what is wrong with it."""
        if name == "messages/up":
            yield from self._message(data)
            return
        if len(data) > payload.MAX_PROPERTIES_BYTES:
            yield "properties of more than 64 KB"
            return
        report = payload.Report(self._model)
        if name == "properties/report":
            report.own(device_id, body)
        else:
            report.sub_devices(body, self.registry.behind(device_id))
        self.readings += report.readings
        self.shadow.reported(report.readings)
        yield from report.faults

    def _message(self, data):
        if payload.content_size(data) > payload.MAX_CONTENT_BYTES:
            yield "content of more than 256 KB"
        body = payload.parse(data)
        if body and body.get("id"):
            yield from self._note_id("message", body["id"], body)

    def _note_id(self, kind, id_, what):
        """Whoever sends a thing again gives it the same id, and another thing another one."""
        if self._ids.setdefault((kind, id_), what) != what:
            yield "the id %s of a %s stands for another one already" % (id_, kind)

    def _response(self, session, kind, id_, body):
        verdict = self.downlink.take(kind, id_, body)
        self.tell("response", session, kind=kind, id=id_, verdict=verdict, body=body)

    def _shadow(self, session, id_, body):
        device_id = body.get("object_device_id", session.device_id)
        if self.registry.login_of(device_id) != session.device_id:
            yield "the shadow of %s, which is not behind it" % device_id
            return
        shadow = self.shadow.describe(device_id, body.get("service_id"))
        self.downlink.send(session.device_id, "shadow/get/response/request_id=" + id_,
                           json.dumps({"object_device_id": device_id, "shadow": shadow}).encode())

    def _event(self, session, body):
        services = body.get("services")
        for entry in services if isinstance(services, list) and services else [None]:
            if not isinstance(entry, dict) or not isinstance(entry.get("paras"), dict):
                yield "an event without services or paras"
                continue
            service, kind, paras = entry.get("service_id"), entry.get("event_type"), entry["paras"]
            if "event_time" in entry and payload.event_time_ms(entry["event_time"]) is None:
                yield "event_time of an event: %s" % entry["event_time"]
            device_id = body.get("object_device_id", session.device_id)
            self.tell("reported", session, device=device_id, service=service, type=kind, paras=paras)
            if device_id != session.device_id and device_id not in self.registry.behind(session.device_id):
                yield "an event of %s, which is not behind it" % device_id
                continue
            if service in MANAGER_NAMES:
                if kind == "add_sub_device_request" and not entry.get("event_id"):
                    yield "%s without event_id" % kind
                answers, fault = self.registry.answer(session.device_id, kind, paras)
                if fault:
                    yield fault
            elif service == "$time_sync" and kind == "time_sync_request":
                now_ms = int(1000 * self.now())
                answers = [("time_sync_response", {"device_send_time": paras.get("device_send_time"),
                                                   "server_recv_time": now_ms, "server_send_time": now_ms})]
            elif service == SERVICE:
                yield from self.ota.on_event(device_id, kind, paras)
                continue
            else:
                if entry.get("event_id"):
                    yield from self._note_id("event", entry["event_id"], (device_id, service, kind, paras))
                continue
            for answer, told in answers if self.settings.answers_events else ():
                self._answer(session, event(session.device_id, service, answer, told, entry.get("event_id")))

    def _answer(self, session, body):
        for _ in range(self.settings.n_answers):
            if self.settings.answer_after_s:
                self._answers.append((self.elapsed() + self.settings.answer_after_s, session.device_id, body))
            else:
                self.downlink.send(session.device_id, "events/down", json.dumps(body).encode())
