"""IAM, which hands out tokens to an account's users: POST /v3/auth/tokens."""
import json
import secrets

from web import Web, respond

DOMAIN, USER, PASSWORD = "acme", "ops", "right-password"
TOKEN_S = 24 * 3600


class Iam:
    def __init__(self, project_id, now):
        """@now(): seconds since 1970."""
        self._project_id, self._now = project_id, now
        self._ends_s = {}  # token: when it ends
        self._web = Web(self._handle)
        self.url = self._web.url

    def stop(self):
        self._web.stop()

    def issue(self):
        # Tokens of IAM are base64, and longer than most headers.
        token = "MII" + secrets.token_urlsafe(3000) + "+a/b="
        self._ends_s[token] = self._now() + TOKEN_S
        return token

    def is_good(self, token):
        return self._now() < self._ends_s.get(token, 0)

    def _handle(self, request):
        headers = ()
        status, title = self._judge(request)
        if status == 201:
            body = {"token": {"methods": ["password"], "project": {"id": self._project_id}}}
            headers = (("X-Subject-Token", self.issue()),)
        else:
            body = {"error": {"code": status, "title": title, "message": title}}
        respond(request, status, json.dumps(body).encode(), headers=headers)

    def _judge(self, request):
        if request.path.partition("?")[0] != "/v3/auth/tokens":
            return 404, "Not Found"
        if request.command != "POST" or not request.headers.get("Content-Type", "").startswith("application/json"):
            return 405, "Method Not Allowed"
        try:
            auth = json.loads(request.body)["auth"]
            methods, user = auth["identity"]["methods"], auth["identity"]["password"]["user"]
            shown = user["domain"]["name"], user["name"], user["password"]
            project_id = auth["scope"]["project"]["id"]
        except (ValueError, KeyError, TypeError):
            return 400, "Bad Request"
        if methods != ["password"] or project_id != self._project_id:
            return 400, "Bad Request"
        if shown != (DOMAIN, USER, PASSWORD):
            return 401, "Unauthorized"
        return 201, "Created"
