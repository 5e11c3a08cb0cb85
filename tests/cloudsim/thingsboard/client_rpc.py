"""Calls from devices to the cloud: a table of methods, and the built-in one. Only for a device's own session;
there is no way for sub-devices."""
import json
import re

from . import protobuf

REQUEST = re.compile(r"(v1/devices/me/rpc/request/|v2/r/req/j/|v2/r/req/p/|v2/r/req/)(\d+)$")
RESPONSES = {"v1/devices/me/rpc/request/": "v1/devices/me/rpc/response/",
             "v2/r/req/j/": "v2/r/res/j/", "v2/r/req/p/": "v2/r/res/p/", "v2/r/req/": "v2/r/res/"}
UNLIMITED = {
    "maxPayloadSize": 65536, "maxInflightMessages": 100,
    "rateLimits": {"messages": None, "telemetryMessages": None, "telemetryDataPoints": ""},
    "gatewayRateLimits": {"messages": None, "telemetryMessages": None, "telemetryDataPoints": ""},
}


class ClientRpcs:
    def __init__(self, server):
        self._server = server
        self.methods = {}        # name: the answer, or a function (device name, params) → answer
        self.limits = UNLIMITED  # None: a server older than 3.8, which does not know getSessionLimits
        self.timeout_s = 60

    def on_message(self, session, topic, body):
        request = REQUEST.match(topic)
        if not request:
            return False
        call = json.loads(body)
        method, prefix = call["method"], RESPONSES[request[1]]

        def answer(payload):
            if session.number in self._server.sessions:
                self._server.publish(session, prefix + request[2], payload, matching=prefix + "+",
                                     protobuf=(protobuf.call_answer, int(request[2]), payload))

        if method == "getSessionLimits" and self.limits is not None and topic.startswith("v1/"):
            limits = dict(self.limits)
            if not session.is_gateway:
                limits.pop("gatewayRateLimits", None)
            answer(limits)
        elif method in self.methods:
            found = self.methods[method]
            answer(found(session.device.name, call["params"]) if callable(found) else found)
        else:
            self._server.link.after(self.timeout_s, lambda: answer({"error": "timeout"}))
        return True
