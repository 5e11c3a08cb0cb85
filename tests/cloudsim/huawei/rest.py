"""The application's side, /v5/iot/PROJECT/devices/DEVICE: what the platform knows of a device, its shadow, and
commands, whose answer it waits for."""
import json
import re

from web import Web, respond

from . import downlink

PATH = re.compile("/v5/iot/([^/]+)/devices/([^/]+)(/shadow|/commands)?")
DEVICE_ID = re.compile("[A-Za-z0-9_-]{1,128}")
INVALID, UNAUTHORIZED, NO_INSTANCE, NO_API = "IOTDA.000006", "IOTDA.000002", "IOTDA.000021", "IOTDA.000004"
TOO_OFTEN, BROKEN = "APIGW.0308", "IOTDA.000001"
# What a call that ended in an error is answered with. A time-out is a result, and comes with 200.
STATUS = {downlink.NO_DEVICE: 404, downlink.NOT_ONLINE: 403, downlink.NOT_SUBSCRIBED: 403, downlink.TIMED_OUT: 200}


class Error(Exception):
    """Ends a request with @status."""

    def __init__(self, status, code, message):
        super().__init__(message)
        self.status, self.body = status, {"error_code": code, "error_msg": message}


class Rest:
    def __init__(self, platform, iam, project_id, instance_id):
        """@platform: the Huawei this is the other side of. @instance_id: None if the edition asks for none."""
        self._platform, self._iam = platform, iam
        self._project_id, self._instance_id = project_id, instance_id
        self.fault = None  # an HTTP status everything is answered with
        self._web = Web(self._handle)
        self.url = self._web.url

    def stop(self):
        self._web.stop()

    def _handle(self, request):
        try:
            status, body = self._answer(request)
        except Error as error:
            status, body = error.status, error.body
        respond(request, status, json.dumps(body).encode())

    def _answer(self, request):
        if self.fault:
            raise Error(self.fault, TOO_OFTEN if self.fault == 429 else BROKEN, "Told to.")
        if not self._iam.is_good(request.headers.get("X-Auth-Token", "")):
            raise Error(401, UNAUTHORIZED, "Incorrect IAM authentication information.")
        found = PATH.fullmatch(request.path)
        if not found:
            raise Error(404, NO_API, "The API does not exist.")
        project_id, device_id, what = found.groups()
        if request.command != ("POST" if what == "/commands" else "GET"):
            raise Error(405, NO_API, "Method not allowed.")
        if project_id != self._project_id:
            raise Error(403, UNAUTHORIZED, "The project is not the token's.")
        if self._instance_id is not None and request.headers.get("Instance-Id") != self._instance_id:
            raise Error(403, NO_INSTANCE, "The instance is not subscribed to.")
        body = self._body(request) if what == "/commands" else None
        if not DEVICE_ID.fullmatch(device_id):
            raise Error(400, INVALID, "Invalid input. device_id")
        if what == "/commands":
            return self._command(device_id, body)
        device = self._platform.device(device_id)
        if not device:
            raise Error(404, downlink.NO_DEVICE, downlink.WORDS[downlink.NO_DEVICE])
        if what == "/shadow":
            return 200, {"device_id": device_id, "shadow": self._platform.shadow(device_id)}
        return 200, device

    def _command(self, device_id, body):
        call = self._platform.command_begin(device_id, body.get("command_name"), body["paras"], body.get("service_id"))
        try:
            return 200, {"command_id": call.id, "response": call.wait()}
        except downlink.CommandError as error:
            status = STATUS[error.code]
            answer = {"error_code": error.code, "error_msg": downlink.WORDS[error.code]}
            return status, dict({"command_id": call.id}, **answer) if status == 200 else answer

    @staticmethod
    def _body(request):
        try:
            body = json.loads(request.body)
        except ValueError:
            body = None
        if not isinstance(body, dict) or not isinstance(body.get("paras"), dict):
            raise Error(400, INVALID, "Invalid input. paras")
        for name, most in (("service_id", 64), ("command_name", 128)):
            if not isinstance(body.get(name, ""), str) or len(body.get(name, "")) > most:
                raise Error(400, INVALID, "Invalid input. " + name)
        return body
