"""Claims: what a device says about who may have it. Nobody answers."""
import json

DEFAULT_DURATION_MS = 86400000


class Claims:
    def __init__(self, server):
        self._server = server

    def on_message(self, session, topic, body):
        if topic == "v1/devices/me/claim":
            self._note(session.device.name, json.loads(body))
        elif topic == "v1/gateway/claim":
            for name, claim in json.loads(body).items():
                self._note(session.subs[name].name, claim)
        else:
            return False
        return True

    def _note(self, device, claim):
        self._server.note("claim", device=device, secret=claim.get("secretKey", ""),
                          duration_ms=claim.get("durationMs", DEFAULT_DURATION_MS))
