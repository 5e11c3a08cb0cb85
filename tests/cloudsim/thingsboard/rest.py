"""The REST side: log in, find devices, send commands, read and write attributes, read telemetry; and the firmware
download of the device's HTTP API."""
import json
import re
import secrets
import time
import urllib.parse

from web import Web, respond

from . import rpc, store

USER, PASSWORD = "tenant@thingsboard.org", "tenant"
DEFAULT_TIMEOUT_MS, MIN_TIMEOUT_MS = 10000, 5000
SCOPES = ("CLIENT_SCOPE", "SHARED_SCOPE", "SERVER_SCOPE")
# What the caller gets for a command without a reply, by the family of the path.
NO_REPLY = {"/api/plugins/rpc/": {rpc.TIMEOUT: 408, rpc.NO_ACTIVE_CONNECTION: 409},
            "/api/rpc/": {rpc.TIMEOUT: 504, rpc.NO_ACTIVE_CONNECTION: 504}}
DEVICE = "/api/plugins/telemetry/DEVICE/([0-9a-f-]{36})"


class Error(Exception):
    """Ends a request with @status."""

    def __init__(self, status, message=""):
        super().__init__(message)
        self.status, self.message = status, message


class Rest:
    def __init__(self, server, events):
        """@events(): the record's `publish` events."""
        self._server, self._events = server, events
        self._tokens = set()
        self.min_timeout_ms = MIN_TIMEOUT_MS
        self._web = Web(self._handle)
        self.url = self._web.url
        self._routes = [(method, re.compile(pattern + "$"), call) for method, pattern, call in (
            ("GET", "/api/tenant/devices", self._find_device),
            ("GET", "/api/device/([0-9a-f-]{36})", self._device),
            ("DELETE", "/api/device/([0-9a-f-]{36})", self._delete_device),
            ("POST", "(/api/rpc/|/api/plugins/rpc/)(oneway|twoway)/([0-9a-f-]{36})", self._rpc),
            ("GET", "/api/rpc/persistent/([0-9a-f-]{36})", self._persistent),
            ("GET", DEVICE + "/values/timeseries", self._timeseries),
            ("GET", DEVICE + "/keys/timeseries", self._timeseries_keys),
            ("GET", DEVICE + "/values/attributes(?:/([A-Z_]+))?", self._attributes),
            ("POST", DEVICE + "/(?:attributes/)?([A-Z]+_SCOPE)", self._set_attributes),
            ("DELETE", DEVICE + "/([A-Z]+_SCOPE)", self._delete_attributes),
        )]

    def stop(self):
        self._web.stop()

    def _handle(self, request):
        url = urllib.parse.urlsplit(request.path)
        query = {key: values[-1] for key, values in urllib.parse.parse_qs(url.query).items()}
        try:
            status, body = 200, self._answer(request, url.path, query)
        except Error as error:
            status, body = error.status, {"status": error.status, "message": error.message,
                                          "timestamp": int(time.time() * 1000)}
        except ValueError as error:
            status, body = 400, {"status": 400, "message": str(error)}
        if isinstance(body, bytes):
            respond(request, status, body, "application/octet-stream")
        else:
            respond(request, status, b"" if body is None else json.dumps(body).encode())

    def _answer(self, request, path, query):
        if path == "/api/auth/login":
            return self._login(self._json(request))
        package = re.fullmatch("/api/v1/([^/]+)/(firmware|software)", path)
        if package:
            return self._package(urllib.parse.unquote(package[1]), package[2], query)
        words = (request.headers.get("X-Authorization") or request.headers.get("Authorization") or "").split()
        if len(words) != 2 or words[0] != "Bearer" or words[1] not in self._tokens:
            raise Error(401, "Authentication failed")
        for method, pattern, call in self._routes:
            found = pattern.match(path)
            if found and method == request.command:
                return call(request, query, *found.groups())
        raise Error(404, "Not found")

    @staticmethod
    def _json(request):
        try:
            body = json.loads(request.body)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise Error(400, "Invalid request body")
        return body

    def _login(self, body):
        if (body.get("username"), body.get("password")) != (USER, PASSWORD):
            raise Error(401, "Invalid username or password")
        token = secrets.token_urlsafe(32)
        self._tokens.add(token)
        return {"token": token, "refreshToken": secrets.token_urlsafe(32)}

    # ---- devices

    def _by_id(self, id_):
        for device in self._server.devices.values():
            if device.id == id_:
                return device
        raise Error(404, "Device with id [%s] is not found" % id_)

    @staticmethod
    def _show(device):
        return {"id": {"entityType": "DEVICE", "id": device.id}, "name": device.name, "type": device.kind,
                "label": None, "createdTime": device.created_ms}

    def _find_device(self, _request, query):
        with self._server.lock:
            device = self._server.devices.get(query.get("deviceName"))
            if not device:
                raise Error(404, "Requested item wasn't found!")
            return self._show(device)

    def _device(self, _request, _query, id_):
        with self._server.lock:
            return self._show(self._by_id(id_))

    def _delete_device(self, _request, _query, id_):
        with self._server.lock:
            self._server.delete(self._by_id(id_))

    # ---- commands

    def _rpc(self, request, _query, family, ways, id_):
        body = self._json(request)
        if not isinstance(body.get("method"), str):
            raise Error(400, "Invalid request body")
        now_ms = time.time() * 1000
        timeout_ms = max(self.min_timeout_ms, body.get("timeout", DEFAULT_TIMEOUT_MS))
        if "expirationTime" in body:
            timeout_ms = body["expirationTime"] - now_ms
        with self._server.lock:
            command = self._server.rpcs.begin(self._by_id(id_), body["method"], body.get("params"), timeout_ms / 1000,
                                              ways == "oneway", bool(body.get("persistent")), body.get("retries"))
        if command.is_persistent:
            return {"rpcId": command.id}
        try:
            reply = command.wait()
        except rpc.RpcError as error:
            raise Error(NO_REPLY[family][error.code], error.code) from None
        if command.raw_reply and reply is None and command.raw_reply.strip() != "null":
            raise Error(406, "the reply is not JSON")
        return reply

    def _persistent(self, _request, _query, id_):
        with self._server.lock:
            command = self._server.rpcs.find(id_)
            if not command or not command.is_persistent:
                raise Error(404, "Rpc with id [%s] is not found" % id_)
            return {"id": {"entityType": "RPC", "id": command.id}, "createdTime": command.created_ms,
                    "deviceId": {"entityType": "DEVICE", "id": command.device.id},
                    "expirationTime": int(command.created_ms + 1000 * command.timeout_s),
                    "request": {"id": command.id, "oneway": command.is_oneway, "persisted": True,
                                "retries": command.retries,
                                "body": {"method": command.method, "params": json.dumps(command.params)}},
                    "response": command.reply, "status": command.state}

    # ---- telemetry

    def _series(self, id_):
        with self._server.lock:
            device = self._by_id(id_)
            name = device.name
            found = store.series(self._events(), name)
            for ts, key, value in device.written:
                found.setdefault(key, {})[ts] = value
        return found

    def _timeseries_keys(self, _request, _query, id_):
        return sorted(self._series(id_))

    def _timeseries(self, _request, query, id_):
        found = self._series(id_)
        keys = query["keys"].split(",") if "keys" in query else sorted(found)
        show = (lambda value: value) if query.get("useStrictDataTypes") == "true" else store.spell
        if "startTs" not in query:
            return {key: [{"ts": max(found[key]), "value": show(found[key][max(found[key])])}]
                    for key in keys if found.get(key)}
        begin, end = int(query["startTs"]), int(query.get("endTs", 2 ** 63))
        answer = {}
        for key in keys:
            points = sorted((ts, value) for ts, value in found.get(key, {}).items() if begin <= ts < end)
            if query.get("orderBy", "DESC") != "ASC":
                points.reverse()
            if points:
                answer[key] = [{"ts": ts, "value": show(value)} for ts, value in points[:int(query.get("limit", 100))]]
        return answer

    # ---- attributes

    @staticmethod
    def _scope(device, scope):
        if scope not in SCOPES:
            raise Error(400, "Invalid scope")
        return {"CLIENT_SCOPE": device.client, "SHARED_SCOPE": device.shared, "SERVER_SCOPE": device.private}[scope]

    def _attributes(self, _request, query, id_, scope):
        with self._server.lock:
            device = self._by_id(id_)
            found = {}
            for one in [scope] if scope else SCOPES:
                found.update(self._scope(device, one))
        keys = query["keys"].split(",") if "keys" in query else list(found)
        return [{"lastUpdateTs": int(time.time() * 1000), "key": key, "value": found[key]}
                for key in keys if key in found]

    def _set_attributes(self, request, _query, id_, scope):
        values = self._json(request)
        with self._server.lock:
            device = self._by_id(id_)
            if scope == "SHARED_SCOPE":
                self._server.attributes.set_shared(device, values)
            elif scope == "SERVER_SCOPE":
                device.private.update(values)
            else:
                raise Error(400, "Invalid scope")

    def _delete_attributes(self, _request, query, id_, scope):
        if not query.get("keys"):
            raise Error(400, "No keys to delete")
        keys = query["keys"].split(",")
        with self._server.lock:
            device = self._by_id(id_)
            if scope == "SHARED_SCOPE":
                self._server.attributes.delete_shared(device, keys)
            else:
                for key in keys:
                    self._scope(device, scope).pop(key, None)

    # ---- the device's own HTTP API

    def _package(self, token, kind, query):
        with self._server.lock:
            login = next((login for login in self._server.logins if login.get("token") == token), None)
            if not login:
                raise Error(401)
            package = self._server.device(login["name"]).packages.get({"firmware": "fw", "software": "sw"}[kind])
        if not package or (query.get("title"), query.get("version")) != (package.title, package.version):
            raise Error(404)
        size, chunk = int(query.get("size", 0)), int(query.get("chunk", 0))
        return package.data[chunk * size:(chunk + 1) * size] if size else package.data
