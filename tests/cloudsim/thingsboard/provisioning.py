"""Devices that ask for a credential of their own: a session called `provision`."""
import base64
import binascii
import hashlib
import json
import secrets
import string

REQUEST, RESPONSE = "/provision/request", "/provision/response"
CLOSE_AFTER_S = 60
ALPHABET = string.ascii_letters + string.digits
FAULTS = ("answer_twice", "cut_before", "cut_after", "silent", "delay_s")
WORDS = {"NOT_FOUND": "Provision data was not found!", "FAILURE": "Failed to provision device!"}


class Refused(Exception):
    """@status: FAILURE or NOT_FOUND."""

    def __init__(self, status):
        super().__init__(status)
        self.status = status


class Profile:
    """One key with its secret. @waiting: None, any device is created; else only these names are let in, once."""

    def __init__(self, secret, waiting, fault):
        self.secret, self.waiting = secret, None if waiting is None else set(waiting)
        self.fault = dict(fault or {})
        unknown = set(self.fault) - set(FAULTS)
        if unknown:
            raise ValueError("no such fault of provisioning: %s" % ", ".join(sorted(unknown)))


def random_text(n=20):
    return "".join(secrets.choice(ALPHABET) for _ in range(n))


def certificate_sha256(text):
    """Hex of a certificate's DER; @text: PEM, with or without its first and last line."""
    body = "".join(line for line in text.splitlines() if not line.startswith("-----"))
    try:
        der = base64.b64decode("".join(body.split()), validate=True)
    except binascii.Error:
        raise Refused("FAILURE") from None
    if not der:
        raise Refused("FAILURE")
    return hashlib.sha256(der).hexdigest()


def credential(body):
    """(what the device has to log in with, credentialsType, credentialsValue)"""
    kind = body.get("credentialsType", "ACCESS_TOKEN")
    if kind == "ACCESS_TOKEN":
        token = body.get("token") or random_text()
        return {"token": token}, kind, token
    if kind == "MQTT_BASIC":
        basic = {ours: body[theirs] for ours, theirs in (
            ("client_id", "clientId"), ("username", "username"), ("password", "password")) if body.get(theirs)}
        if not basic:
            raise Refused("FAILURE")
        return {"basic": basic}, kind, {"clientId": body.get("clientId"), "userName": body.get("username"),
                                        "password": body.get("password")}
    if kind == "X509_CERTIFICATE":
        return {"certificate_sha256": certificate_sha256(body.get("hash") or "")}, kind, body["hash"]
    raise Refused("FAILURE")


class Provisioning:
    def __init__(self, server):
        self._server = server
        self.profiles = {}  # key: Profile
        self.close_after_s = CLOSE_AFTER_S

    def on_message(self, session, topic, body):
        if topic != REQUEST:
            return False
        request = json.loads(body)
        profile = self.profiles.get(request["provisionDeviceKey"])
        fault = profile.fault if profile else {}
        try:
            login, kind, value = self._provision(profile, request)
            answer = {"credentialsType": kind, "credentialsValue": value, "status": "SUCCESS"}
            device = login["name"]
        except Refused as refused:
            answer = {"errorMsg": WORDS[refused.status], "status": refused.status}
            device = request.get("deviceName")
        self._server.note("provision", device=device, status=answer["status"],
                          type=request.get("credentialsType", "ACCESS_TOKEN"))
        if fault.pop("cut_before", False):
            self._server.kick(session)
        elif not fault.get("silent"):
            self._server.link.after(fault.get("delay_s", 0), lambda: self._answer(session, answer, fault))
        self._server.link.after(self.close_after_s, lambda: self._server.kick(session))
        return True

    def _answer(self, session, answer, fault):
        self._server.publish(session, RESPONSE, answer)
        if fault.get("answer_twice"):
            self._server.publish(session, RESPONSE, answer)
        if fault.pop("cut_after", False):
            self._server.kick(session, ticks=3)

    def _provision(self, profile, request):
        if not profile or profile.secret != request["provisionDeviceSecret"]:
            raise Refused("NOT_FOUND")
        name = (request.get("deviceName") or "").strip() or random_text()
        if profile.waiting is None:
            if self._server.login(name) or name in self._server.devices:
                raise Refused("FAILURE")
        elif name not in profile.waiting:
            raise Refused("FAILURE")
        login, kind, value = credential(request)
        if any(other.get(key) == of for other in self._server.logins for key, of in login.items()):
            raise Refused("FAILURE")  # somebody has it already
        if profile.waiting is not None:
            profile.waiting.remove(name)
        login = dict({"name": name, "gateway": bool(request.get("gateway", False))}, **login)
        self._server.set_logins(self._server.logins + [login])
        return login, kind, value
