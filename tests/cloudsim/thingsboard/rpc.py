"""Commands from the cloud to its devices: ids, queues, deliveries, states. What a device actor does, with its
timers; one-way and two-way, persistent or not."""
import json
import re
import threading
import time
import uuid

from . import protobuf

# How a device may subscribe to commands, and where they are then sent.
REQUEST_FILTERS = ("v1/devices/me/rpc/request/+", "v2/r/req/+", "v2/r/req/j/+", "v2/r/req/p/+")
RESPONSE = re.compile(r"(v1/devices/me/rpc/response/|v2/r/res/j/|v2/r/res/p/|v2/r/res/)(\d+)$")
GATEWAY_TOPIC = "v1/gateway/rpc"

# Of persistent ones, as the REST side names them.
QUEUED, SENT, DELIVERED, SUCCESSFUL = "QUEUED", "SENT", "DELIVERED", "SUCCESSFUL"
TIMEOUT, EXPIRED, FAILED = "TIMEOUT", "EXPIRED", "FAILED"

NO_ACTIVE_CONNECTION = "NO_ACTIVE_CONNECTION"


class RpcError(Exception):
    """A command without a reply. @code: TIMEOUT, NO_ACTIVE_CONNECTION or NOT_FOUND."""

    def __init__(self, code):
        super().__init__(code)
        self.code = code


class Rpc:
    """One command. Its caller reads: id (UUID text), request_id (the device sees it), state, reply (parsed JSON),
    raw_reply, error (code or None), deliveries [(ms, request id)], is_done."""

    def __init__(self, device, method, params, timeout_s, is_oneway, is_persistent, retries):
        self.id = str(uuid.uuid4())
        self.device, self.method, self.params = device, method, params
        self.is_oneway, self.is_persistent = is_oneway, is_persistent
        self.timeout_s, self.created_ms = timeout_s, int(time.time() * 1000)
        self.retries = retries
        self.n_timeouts = 0
        self.was_sent = False  # at once; later does not count for the caller's error
        self.request_id = None
        self.deliveries = []
        self.state = QUEUED
        self.reply = self.raw_reply = self.error = None
        self.timer = self.ack_timer = None
        self._done = threading.Event()

    @property
    def is_done(self):
        return self._done.is_set()

    def finish(self):
        self._done.set()

    def wait(self, timeout_s=None):
        """The reply, parsed; None for a one-way command that was sent. RpcError if there is none."""
        if not self._done.wait(self.timeout_s + 10 if timeout_s is None else timeout_s):
            raise AssertionError("the command %s to %s has not ended" % (self.method, self.device.name))
        if self.error:
            raise RpcError(self.error)
        return self.reply


class Actor:
    """What the server remembers of one device's commands while its actor lives."""

    def __init__(self):
        self.next_id = 0
        self.pending = {}  # request id: Rpc
        self.over = {}     # request id: what became of it


class Rpcs:
    def __init__(self, server):
        self._server = server
        self._actors = {}  # device name: Actor
        self._all = {}     # UUID: Rpc
        self.max_retries = 5
        self.ack_timeout_s = 10

    def actor(self, device):
        return self._actors.setdefault(device.id, Actor())

    def find(self, id_):
        return self._all.get(id_)

    # ---- from tests and the REST side

    def begin(self, device, method, params, timeout_s=10, is_oneway=False, is_persistent=False, retries=None):
        rpc = Rpc(device, method, params, timeout_s, is_oneway, is_persistent,
                  self.max_retries if retries is None else min(retries, self.max_retries))
        self._all[rpc.id] = rpc
        actor = self.actor(device)
        rpc.was_sent = self._register(actor, rpc)
        if rpc.was_sent and is_oneway and not is_persistent:
            # Nobody waits for it any more: it is not sent a second time either.
            self._forget(rpc, "one-way")
            rpc.finish()
        else:
            rpc.timer = self._server.link.after(timeout_s, lambda: self._on_expiry(rpc))
        return rpc

    def restart_actor(self, device):
        """The server moved the device to another node: ids begin at 0 again; what is persistent and not done
        comes again under a new id; what is not persistent is forgotten, its caller runs into its time-out."""
        old = self.actor(device)
        new = self._actors[device.id] = Actor()
        for rpc in old.pending.values():
            if rpc.is_persistent:
                self._register(new, rpc)

    # ---- sending

    def _register(self, actor, rpc):
        rpc.request_id = actor.next_id
        actor.next_id += 1
        actor.pending[rpc.request_id] = rpc
        return self._send(rpc)

    def _send(self, rpc):
        """To all that listen for the device; False: nobody does."""
        device, is_sent = rpc.device, False
        if device.session:
            for filter_ in REQUEST_FILTERS:
                if filter_ in device.session.filters:
                    self._send_to(rpc, device.session, filter_[:-1] + str(rpc.request_id),
                                  {"method": rpc.method, "params": rpc.params}, filter_,
                                  (protobuf.command, rpc.request_id, rpc.method, rpc.params))
                    is_sent = True
                    break
        if device.gateway and not device.is_deaf:
            self._send_to(rpc, device.gateway, GATEWAY_TOPIC, {"device": device.called, "data": {
                "id": rpc.request_id, "method": rpc.method, "params": rpc.params}}, GATEWAY_TOPIC,
                (protobuf.gateway_command, device.called, rpc.request_id, rpc.method, rpc.params,
                 int(rpc.created_ms + 1000 * rpc.timeout_s), rpc.is_oneway, rpc.is_persistent))
            is_sent = True
        return is_sent

    def _send_to(self, rpc, session, topic, body, filter_, in_protobuf):
        rpc.deliveries.append((int(time.time() * 1000), rpc.request_id))
        rpc.state = SENT
        if not rpc.is_persistent:
            self._server.publish(session, topic, body, filter_, protobuf=in_protobuf)
            return
        # Asked for by each delivery: a PUBACK of an older one does not stop the clock of the newest.
        n = len(rpc.deliveries)
        left_s = rpc.created_ms / 1000 + rpc.timeout_s - time.time()
        if rpc.ack_timer:
            self._server.link.cancel(rpc.ack_timer)
        rpc.ack_timer = self._server.link.after(min(self.ack_timeout_s, max(0, left_s)),
                                                lambda: self._on_no_ack(rpc))
        self._server.publish(session, topic, body, filter_, lambda: self._on_ack(rpc, n), in_protobuf)

    def on_subscribe(self, session, topic):
        if topic in REQUEST_FILTERS:
            self.on_listening(session.device)

    def on_listening(self, device):
        """All that is pending is sent again, under the id it has, at every subscription and announcement."""
        actor = self.actor(device)
        for rpc in list(actor.pending.values()):
            if self._send(rpc) and rpc.is_oneway and not rpc.is_persistent:
                self._forget(rpc, "one-way")
                self._end(rpc)

    # ---- whether a persistent one has arrived

    def _on_ack(self, rpc, n):
        if rpc.state not in (SENT, TIMEOUT) or n != len(rpc.deliveries):
            return
        self._server.link.cancel(rpc.ack_timer)
        rpc.state = DELIVERED
        if rpc.is_oneway:
            self._forget(rpc, "one-way")
            self._end(rpc)

    def _on_no_ack(self, rpc):
        """No PUBACK in time: it stays pending for the next subscription, until its retries are used up."""
        if rpc.state != SENT:
            return
        rpc.state = TIMEOUT
        if rpc.n_timeouts >= rpc.retries:
            self._forget(rpc, "failed")
            rpc.reply = {"error": "There was a Timeout and all retry attempts have been exhausted. Retry attempts "
                                  "set: %d" % rpc.retries}
            self._end(rpc, FAILED)
        rpc.n_timeouts += 1

    def _forget(self, rpc, verdict):
        """It is not pending any more; a reply that still comes gets @verdict."""
        actor = self.actor(rpc.device)
        if actor.pending.get(rpc.request_id) is rpc:
            del actor.pending[rpc.request_id]
            actor.over[rpc.request_id] = verdict

    # ---- how it ends

    def _end(self, rpc, state=None, error=None):
        if state:
            rpc.state = state
        rpc.error = error
        for timer in (rpc.timer, rpc.ack_timer):
            self._server.link.cancel(timer)
        rpc.finish()

    def _on_expiry(self, rpc):
        self._forget(rpc, "late")
        if not rpc.is_done:
            self._end(rpc, EXPIRED, TIMEOUT if rpc.was_sent else NO_ACTIVE_CONNECTION)

    def on_message(self, session, topic, body):
        if topic == GATEWAY_TOPIC:
            reply = json.loads(body)
            device = session.subs.get(reply["device"])
            if device:
                self._on_reply(device, reply["id"], json.dumps(reply["data"]))
            return True
        response = RESPONSE.match(topic)
        if response:
            self._on_reply(session.device, int(response[2]), body.decode(errors="replace"))
        return bool(response)

    def _on_reply(self, device, request_id, text):
        actor = self.actor(device)
        rpc = actor.pending.pop(request_id, None)
        verdict = "answered" if rpc else actor.over.get(request_id, "unknown")
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = None
            verdict = "not JSON" if rpc else verdict
        self._server.note("reply", device=device.name, id=request_id, verdict=verdict, data=text[:1000])
        if not rpc:
            return
        actor.over[request_id] = "duplicate"
        rpc.raw_reply, rpc.reply = text, parsed
        if verdict == "not JSON" and rpc.is_persistent:
            rpc.reply = {"error": text}
        self._end(rpc, SUCCESSFUL)
