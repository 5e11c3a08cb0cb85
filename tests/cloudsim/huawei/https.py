"""The devices' side by HTTPS: POST /v5/device-auth, then reports and messages with the token it gives."""
import hmac
import json
import re
import secrets
import time

from web import Web, respond

from . import login, payload
from .broker import Bucket

MAX_BODY_BYTES = 1 << 20
MAX_SUB_DEVICES = 50
GRACE_S = 30  # of a token after the next login
PATH = re.compile(r"/v5/devices/([A-Za-z0-9_-]{1,128})/sys/"
                  r"(properties/report|messages/up|gateway/sub-devices/properties/report)")
MEMBERS = {"device_id", "sign_type", "timestamp", "password"}
TOKEN, RATE, SIZE = (403, "IOTDA.000004"), (403, "IOTDA.021101"), (403, "IOTDA.021105")
INPUT, STRANGER = (400, "IOTDA.000006"), (400, "IOTDA.021104")


class Refused(Exception):
    """Ends a request with @how: a status of HTTP, or one and IoTDA's own code."""

    def __init__(self, how, why):
        super().__init__(why)
        self.status, self.code = how if isinstance(how, tuple) else (how, "IOTDA.%06d" % how)
        self.why = why


class Https:
    """@broker: whose devices, readings and events these are too. @call(function): runs it on the broker's thread."""

    def __init__(self, broker, call, tls=None):
        self._broker, self._call = broker, call
        self._tokens = {}  # token: (device id, when it ends)
        self._buckets = {}
        self.given = []  # tokens
        self.expires_in_s = 86399
        self.status = None       # every request is answered with this, untaken; "silent": not at all
        self.lose_answer_at = 0  # the n-th report from now is taken, but not answered
        self.answer_after_s = 0
        self._web = Web(self._handle, tls)
        self.url = self._web.url

    def stop(self):
        self._web.stop()

    def forget_tokens(self):
        """None of those given so far is accepted any more."""
        self._call(self._tokens.clear)

    # ---- requests, each on a thread of its own

    def _handle(self, request):
        if self.status == "silent":
            request.close_connection = True
            return
        status, body, is_answered = self._call(lambda: self._answer(request))
        if self.answer_after_s:
            time.sleep(self.answer_after_s)
        if is_answered:
            respond(request, status, json.dumps(body).encode())
        else:
            request.close_connection = True

    # ---- on the broker's thread

    def _answer(self, request):
        """(status, body, whether it is sent)"""
        number = getattr(request, "n_handled", 0) + 1
        request.n_handled = number
        try:
            if self.status:
                raise Refused(self.status, "told to")
            if request.command != "POST":
                raise Refused(405, "method %s" % request.command)
            if len(request.body) > MAX_BODY_BYTES:
                raise Refused(SIZE, "larger than 1 MB")
            if request.headers.get("Content-Type") != "application/json":
                raise Refused(415, "content type %s" % request.headers.get("Content-Type"))
            if request.path == "/v5/device-auth":
                return 200, self._login(payload.parse(request.body)), True
            found = PATH.fullmatch(request.path)
            if not found:
                raise Refused(404, "no such path")
            self._check_token(found[1], request.headers.get("access_token", ""))
            self._take(found[1], found[2], request.body, number)
        except Refused as refusal:
            self._broker.tell("https_refused", path=request.path, status=refusal.status, code=refusal.code,
                              why=refusal.why)
            return refusal.status, {"error_code": refusal.code, "error_msg": refusal.why}, True
        if self.lose_answer_at:
            self.lose_answer_at -= 1
            if not self.lose_answer_at:
                return 200, {}, False
        return 200, {}, True

    def _login(self, body):
        if body is None or set(body) != MEMBERS or not all(isinstance(body[k], str) for k in MEMBERS - {"sign_type"}):
            raise Refused(400, "not a sign-in")
        device_id, sign_type, timestamp = body["device_id"], body["sign_type"], body["timestamp"]
        if sign_type not in (0, 1) or not re.fullmatch(r"\d{10}", timestamp):
            raise Refused(400, "sign type or timestamp")
        known = self._broker.registry.logins.get(device_id, {})
        if "secret" not in known or known.get("is_bridge"):
            raise Refused(401, "device")
        if sign_type == 1 and not login.is_current(timestamp, self._broker.settings.skew_h, self._broker.now()):
            raise Refused(401, "timestamp")
        if not hmac.compare_digest(body["password"].encode(), login.password(known["secret"], timestamp).encode()):
            raise Refused(401, "password")
        if known.get("is_disabled"):
            raise Refused(403, "disabled")
        now = self._broker.elapsed()
        for token, (owner, until) in list(self._tokens.items()):
            if owner == device_id:
                self._tokens[token] = owner, min(until, now + GRACE_S)
        token = secrets.token_urlsafe(48)
        self._tokens[token] = device_id, now + self.expires_in_s
        self.given.append(token)
        self._broker.tell("https_login", device=device_id, timestamp=timestamp, sign_type=sign_type)
        return {"access_token": token, "expires_in": self.expires_in_s}

    def _check_token(self, device_id, token):
        owner, until = self._tokens.get(token, (None, 0))
        if owner is None or self._broker.elapsed() >= until:
            raise Refused(TOKEN, "token")
        if owner != device_id:
            raise Refused(TOKEN, "the token of %s" % owner)

    def _take(self, device_id, name, data, number):
        broker = self._broker
        bucket = self._buckets.setdefault(device_id, Bucket(broker.settings.messages_per_s, broker.elapsed))
        if not bucket.take(1):
            raise Refused(RATE, "rate limit")
        body = payload.parse(data)
        if body is None:
            raise Refused(INPUT, "not JSON")
        devices = body.get("devices")
        if isinstance(devices, list):
            if len(devices) > MAX_SUB_DEVICES:
                raise Refused(INPUT, "more than %d devices" % MAX_SUB_DEVICES)
            ids = {str(d["device_id"]) for d in devices if isinstance(d, dict) and "device_id" in d}
            if not ids <= broker.registry.behind(device_id):
                raise Refused(STRANGER, "not a sub-device")
        suffix = name.replace("sub-devices", "sub_devices")
        broker.tell("https_publish", device=device_id, path=name, payload=data.decode(errors="replace"),
                    on_connection=number)
        for fault in broker.store(device_id, suffix, data, body):
            broker.tell("suspect", device=device_id, why=fault)
