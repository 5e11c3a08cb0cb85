"""What the platform sends down: commands and property calls with their time-out, messages that wait for their
device, and each of them again while it is not acknowledged. Everything here runs on the broker's thread, except
Call.wait()."""
import collections
import json
import threading
import time
import uuid

from . import topics

NO_DEVICE, NOT_ONLINE, TIMED_OUT, NOT_SUBSCRIBED = "IOTDA.014000", "IOTDA.014016", "IOTDA.014111", "IOTDA.014112"
WORDS = {
    NO_DEVICE: "The device does not exist.",
    NOT_ONLINE: "Operation not allowed. The device is not online.",
    TIMED_OUT: "Command request timed out. Check whether the device returns a response within the specified time "
               "after receiving the request.",
    NOT_SUBSCRIBED: "The device has not subscribed to the topic.",
}
COMMAND, SET, GET = "commands", "properties/set", "properties/get"
MAX_WAITING_MESSAGES = 20


class CommandError(Exception):
    """A command without a response. @code: IOTDA.0…"""

    def __init__(self, code):
        super().__init__("%s %s" % (code, WORDS[code]))
        self.code = code


class Call:
    """One command, property set or property get. Its caller reads id, response (parsed), error (code or None),
    is_done."""

    def __init__(self, kind, device_id, deadline):
        self.id = str(uuid.uuid4())
        self.kind, self.device_id, self.deadline = kind, device_id, deadline
        self.response = self.error = None
        self.suffix = self.payload = None  # as it was sent
        self.n_sent = self.n_responses = 0
        self._done = threading.Event()

    @property
    def is_done(self):
        return self._done.is_set()

    def finish(self, response=None, error=None):
        self.response, self.error = response, error
        self._done.set()

    def wait(self, timeout_s=120):
        """The response, parsed; CommandError if there is none."""
        if not self._done.wait(timeout_s):
            raise AssertionError("%s %s to %s has not ended" % (self.kind, self.id, self.device_id))
        if self.error:
            raise CommandError(self.error)
        return self.response


class Delivery:
    """One message on its way at QoS 1, until its PUBACK."""

    def __init__(self, topic, payload):
        self.topic, self.payload = topic, payload
        self.packet_id = None

    def begin(self, n, every_s):
        """Send it @n times, beginning now, to whatever session there is."""
        self.n_left, self.every_s, self.next_s = n, every_s, 0
        self.session = None


class Downlink:
    def __init__(self, broker):
        self._broker = broker
        self._calls = {}       # id: Call, those that have ended too
        self._deliveries = {}  # login's device id: [Delivery], oldest first
        self._waiting = {}     # login's device id: messages for when it is back

    # ---- calls

    def begin(self, kind, device_id, body, timeout_s):
        call = Call(kind, device_id, self._broker.elapsed() + timeout_s)
        self._calls[call.id] = call
        login = self._broker.registry.login_of(device_id)
        if not login:
            call.finish(error=NO_DEVICE)
        elif login not in self._broker.sessions:
            call.finish(error=NOT_ONLINE)
        else:
            if device_id != login or self._broker.settings.names_own:
                body = dict({"object_device_id": device_id}, **body)
            call.suffix, call.payload = "%s/request_id=%s" % (kind, call.id), json.dumps(body).encode()
            if not self.send(login, call.suffix, call.payload):
                call.finish(error=NOT_SUBSCRIBED)
        return call

    def take(self, kind, id_, body):
        """A response has come; returns what is to be said of it."""
        call = self._calls.get(id_)
        if not call or call.kind != kind:
            return "unknown"
        if kind == GET:
            is_good = isinstance(body, dict) and isinstance(body.get("services"), list)
        else:
            code = body.get("result_code") if isinstance(body, dict) else None
            is_good = isinstance(code, int) and not isinstance(code, bool)
        if not is_good:
            return "malformed"
        call.n_responses += 1
        if not call.is_done:
            call.finish(response=body)
            return "answered"
        if call.error:
            return "late"
        # Whoever is asked again may say the same again.
        return "repeated" if body == call.response and call.n_responses <= call.n_sent else "duplicate"

    def repeat(self, call):
        return self.send(self._broker.registry.login_of(call.device_id), call.suffix, call.payload)

    # ---- messages

    def message(self, device_id, payload):
        """Send on messages/down, or keep it for a device that is away: 20, the oldest gives way."""
        login = self._broker.registry.login_of(device_id)
        if login in self._broker.sessions:
            self.send(login, "messages/down", payload)
        else:
            self._waiting.setdefault(login, collections.deque(maxlen=MAX_WAITING_MESSAGES)).append(payload)

    def attach(self, session):
        """A login: what was not acknowledged before comes again, and what has waited."""
        settings = self._broker.settings
        for delivery in self._deliveries.get(session.device_id, ()):
            delivery.begin(settings.n_repeats_after_return, settings.repeat_after_return_s)
        for payload in self._waiting.pop(session.device_id, ()):
            self.send(session.device_id, "messages/down", payload)

    # ---- delivery

    def send(self, login, suffix, payload):
        """False: @login is not subscribed. Without a subscription of its own a device gets it at QoS 0."""
        session = self._broker.sessions[login]
        topic = topics.prefix(login) + suffix
        qos = session.qos_of(topic)
        if qos is None and not self._broker.settings.subscribes_all:
            return False
        if not qos:
            self._publish(session, topic, payload, 0)
            return True
        delivery = Delivery(topic, payload)
        delivery.begin(1 + self._broker.settings.n_repeats, self._broker.settings.repeat_s)
        self._deliveries.setdefault(login, []).append(delivery)
        self._transmit(session, delivery)
        return True

    def _publish(self, session, topic, payload, qos, packet_id=None, dup=False):
        call = self._calls.get(topic.partition("request_id=")[2])
        if call:
            call.n_sent += 1
        self._broker.tell("down", session, topic=topic, payload=payload.decode(errors="replace"), qos=qos, dup=dup)
        return session.connection.publish(topic, payload, qos, packet_id, dup)

    def _transmit(self, session, delivery):
        is_again = delivery.session is session
        delivery.packet_id = self._publish(session, delivery.topic, delivery.payload, 1,
                                           delivery.packet_id if is_again else None, is_again)
        delivery.session = session
        delivery.n_left -= 1
        delivery.next_s = self._broker.elapsed() + delivery.every_s

    def acknowledged(self, session, packet_id):
        mine = self._deliveries.get(session.device_id, [])
        mine[:] = [d for d in mine if d.session is not session or d.packet_id != packet_id]

    def count(self, login):
        return len(self._deliveries.get(login, ()))

    def on_tick(self):
        now = self._broker.elapsed()
        for login, session in list(self._broker.sessions.items()):
            for delivery in self._deliveries.get(login, ()):
                # After a new login it waits for the subscription: QoS 0 would be no delivery at all.
                if delivery.n_left and delivery.next_s <= now and session.qos_of(delivery.topic):
                    self._transmit(session, delivery)
        for call in self._calls.values():
            if not call.is_done and call.deadline <= now:
                call.finish(error=TIMED_OUT)
