"""Client and shared attributes: what is stored, asked for, and notified."""
import json
import re

from . import protobuf

# How a device may subscribe to updates, and where they are then sent.
UPDATE_TOPICS = ("v1/devices/me/attributes", "v2/a", "v2/a/j", "v2/a/p")
REQUEST = re.compile(r"(v1/devices/me/attributes/request/|v2/a/req/j/|v2/a/req/p/|v2/a/req/)(\d+)$")
RESPONSES = {"v1/devices/me/attributes/request/": "v1/devices/me/attributes/response/",
             "v2/a/req/j/": "v2/a/res/j/", "v2/a/req/p/": "v2/a/res/p/", "v2/a/req/": "v2/a/res/"}


class Attributes:
    def __init__(self, server):
        self._server = server

    # ---- from tests and the REST side

    def set_shared(self, device, values):
        device.shared.update(values)
        self._notify(device, values)

    def delete_shared(self, device, keys, is_told_anyway=False):
        """What was there is removed, and told; with @is_told_anyway all of @keys. Returns what was there."""
        gone = [key for key in keys if key in device.shared]
        for key in gone:
            del device.shared[key]
        told = list(keys) if is_told_anyway else gone
        if told:
            self._notify(device, {"deleted": told})
        return gone

    def _notify(self, device, values):
        """Nothing waits for a device that is not listening."""
        if device.session:
            for topic in UPDATE_TOPICS:
                if topic in device.session.filters:
                    self._server.publish(device.session, topic, values, protobuf=(protobuf.update, values))
                    break
        if device.gateway and not device.is_deaf:
            self._server.publish(device.gateway, "v1/gateway/attributes", {"device": device.called, "data": values},
                                 protobuf=(protobuf.gateway_update, device.called, values))

    # ---- from devices

    def on_message(self, session, topic, body):
        if topic == "v1/gateway/attributes":
            for name, values in json.loads(body).items():
                if isinstance(values, dict) and name in session.subs:
                    session.subs[name].client.update(values)
        elif topic in UPDATE_TOPICS:
            session.device.client.update(json.loads(body))
        elif topic == "v1/gateway/attributes/request":
            self._answer_gateway(session, json.loads(body))
        else:
            request = REQUEST.match(topic)
            if not request:
                return False
            self._answer_device(session, request, json.loads(body))
        return True

    def _answer_gateway(self, session, body):
        device = session.subs.get(body["device"])
        if not device:
            return
        scope = device.client if body["client"] else device.shared
        answer = {"id": body["id"], "device": body["device"]}
        keys = [body["key"]] if "key" in body else body["keys"]
        found = {key: scope[key] for key in keys if key in scope}
        if not keys:
            found = dict(device.client, **device.shared)  # none asked for: all of both scopes
        # One key asked for: its bare value. It goes by the number asked, not by the member's name.
        if len(keys) == 1 and found:
            answer["value"] = found[keys[0]]
        elif found:
            answer["values"] = found
        client, shared = (found, {}) if body["client"] else ({}, found)
        self._server.publish(session, "v1/gateway/attributes/response", answer, protobuf=(
            protobuf.gateway_attributes, body["device"], body["id"], client, shared, len(keys) > 1))

    def _answer_device(self, session, request, body):
        def part(scope, wanted):
            if not body:
                return dict(scope)
            return {key: scope[key] for key in wanted.split(",") if key in scope}
        client = part(session.device.client, body.get("clientKeys", ""))
        shared = part(session.device.shared, body.get("sharedKeys", ""))
        prefix = RESPONSES[request[1]]
        answer = dict({"client": client} if client else {}, **({"shared": shared} if shared else {}))
        n_asked = sum(len(body[key].split(",")) for key in ("clientKeys", "sharedKeys") if body.get(key))
        self._server.publish(session, prefix + request[2], answer, matching=prefix + "+", protobuf=(
            protobuf.attributes, int(request[2]), client, shared, n_asked > 1))
