"""Upgrades: asks a device for its versions, orders what is newer, serves the file to whoever has the token, and
judges what is reported. Runs on the broker's thread, the files apart."""
import hashlib
import json
import secrets
import threading

from .registry import event

SERVICE = "$ota"
CODES = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255}
MEMBERS = {"firmware": "fw_version", "software": "sw_version"}
FAULTS = ("sign", "size", "valid_for", "cut_at", "length", "status", "delay_s", "no_range", "corrupt_at")
VERSION_S, SILENCE_S, TOKEN_S = 180, 1800, 86400


class Upgrade:
    """One task of the application, for one device. @state: "waiting" (for the device to be there), "asked" (for its
    versions), "ordered", "succeeded" or "failed"; @why it failed; @reports: paras in order."""

    def __init__(self, device_id, kind, version, data, form, asks, fault):
        self.device_id, self.kind, self.version, self.data = device_id, kind, version, data
        self.form, self.asks, self.fault = form, asks, dict(fault or {})
        unknown = set(self.fault) - set(FAULTS)
        if unknown or kind not in MEMBERS or form not in (1, 2):
            raise ValueError("no such upgrade: %s %s %s" % (kind, form, ", ".join(sorted(unknown))))
        self.state, self.why, self.reports = "waiting", None, []
        self.token, self.task_id = secrets.token_hex(11), secrets.token_hex(12)
        self.since_s = 0
        self.notice = None  # as it was sent
        self.n_fetched = 0  # times that the last byte was sent
        self._n_valid = self.fault.get("valid_for", 1 << 30)
        self._lock = threading.Lock()

    @property
    def is_over(self):
        return self.state in ("succeeded", "failed")

    def refusal(self, request):
        """The status for who may not have the file, or None. Of PackageShelf."""
        if self.form == 2:
            return None if "Signature=" + self.token in request.path else 403
        given = request.headers.get("Authorization")
        with self._lock:
            is_valid = self._n_valid > 0
            self._n_valid -= 1
        return None if given == "Bearer " + self.token and is_valid else 401

    def sent(self, is_complete):
        """So much of PackageShelf."""
        with self._lock:
            self.n_fetched += is_complete

    def paras(self, url):
        sign = hashlib.sha256(self.data).hexdigest()
        if self.fault.get("sign"):
            sign = ("0" if sign[0] != "0" else "1") + sign[1:]
        if self.form == 2:
            return {"version": self.version, "url": "%s?AccessKeyId=k&Signature=%s" % (url, self.token),
                    "expires": TOKEN_S}
        return {"version": self.version, "url": url, "file_size": self.fault.get("size", len(self.data)),
                "file_name": "package.bin", "access_token": self.token, "expires": TOKEN_S, "sign": sign,
                "task_id": self.task_id, "sub_device_count": 1}


class Ota:
    def __init__(self, broker):
        self._broker = broker
        self.upgrades = []
        self.versions = {}  # device: paras of its last version_report

    # ---- from tests

    def begin(self, upgrade, url):
        upgrade.url = url
        self.upgrades.append(upgrade)
        self.on_tick()

    def ask(self, device_id):
        return self._send(device_id, self._event(device_id, "version_query", {}))

    def repeat(self, upgrade):
        return self._send(upgrade.device_id, upgrade.notice)

    # ---- down

    def _event(self, device_id, kind, paras):
        login = self._broker.registry.login_of(device_id)
        body = event(device_id, SERVICE, kind, paras)
        if device_id == login and not self._broker.settings.names_own:
            del body["object_device_id"]
        return json.dumps(body).encode()

    def _send(self, device_id, data):
        login = self._broker.registry.login_of(device_id)
        return login in self._broker.sessions and self._broker.downlink.send(login, "events/down", data)

    def _order(self, upgrade):
        if not upgrade.notice:
            kind = "%s_upgrade%s" % (upgrade.kind, "_v2" if upgrade.form == 2 else "")
            upgrade.notice = self._event(upgrade.device_id, kind, upgrade.paras(upgrade.url))
        if self._send(upgrade.device_id, upgrade.notice):
            self._enter(upgrade, "ordered")

    def _enter(self, upgrade, state, why=None):
        upgrade.since_s = self._broker.elapsed()
        upgrade.why = why
        upgrade.state = state

    def on_tick(self):
        now = self._broker.elapsed()
        for upgrade in self.upgrades:
            if upgrade.state == "waiting" and not upgrade.asks:
                self._order(upgrade)
            elif upgrade.state == "waiting" and self.ask(upgrade.device_id):
                self._enter(upgrade, "asked")
            elif upgrade.state == "asked" and now - upgrade.since_s > VERSION_S:
                self._enter(upgrade, "failed", "no version in time")
            elif upgrade.state == "ordered" and now - upgrade.since_s > SILENCE_S:
                self._enter(upgrade, "failed", "silence")

    # ---- up

    def on_event(self, device_id, kind, paras):
        """Yields what is wrong with it."""
        if kind == "version_report":
            yield from self._version(device_id, paras)
        elif kind == "upgrade_progress_report":
            yield from self._progress(device_id, paras)
        else:
            yield "an event of $ota that nobody knows: %s" % kind

    def _version(self, device_id, paras):
        if not paras or not set(paras) <= set(MEMBERS.values()) or \
                not all(isinstance(version, str) and version for version in paras.values()):
            yield "versions of %s: %s" % (device_id, paras)
            return
        self.versions[device_id] = paras
        for upgrade in self.upgrades:
            if upgrade.device_id == device_id and upgrade.state == "asked":
                if paras.get(MEMBERS[upgrade.kind]) == upgrade.version:
                    self._enter(upgrade, "succeeded", "was there already")
                else:
                    self._order(upgrade)

    def _progress(self, device_id, paras):
        code, percent = paras.get("result_code"), paras.get("progress", 0)
        if not isinstance(code, int) or isinstance(code, bool) or code not in CODES:
            yield "result_code of %s: %s" % (device_id, code)
            return
        if not isinstance(percent, int) or isinstance(percent, bool) or not 0 <= percent <= 100:
            yield "progress of %s: %s" % (device_id, percent)
            return
        if not isinstance(paras.get("description", ""), str):
            yield "description of %s" % device_id
        mine = [u for u in self.upgrades if u.device_id == device_id and u.version == paras.get("version")
                and u.state not in ("waiting", "asked")]
        upgrade = next((u for u in mine if not u.is_over), mine[-1] if mine else None)
        if not upgrade:
            yield "progress of %s of a version nobody has ordered: %s" % (device_id, paras.get("version"))
        elif upgrade.is_over:
            if not upgrade.reports or paras != upgrade.reports[-1]:
                yield "progress of %s after the last word: %s" % (device_id, paras)
        else:
            yield from self._judge(upgrade, code, percent, paras)

    def _judge(self, upgrade, code, percent, paras):
        if upgrade.reports and percent < upgrade.reports[-1].get("progress", 0) and not code:
            yield "progress of %s goes back to %d" % (upgrade.device_id, percent)
        upgrade.reports.append(paras)
        upgrade.since_s = self._broker.elapsed()
        if code:
            self._enter(upgrade, "failed", "result_code %d" % code)
        elif percent == 100:
            if not upgrade.n_fetched:
                yield "%s has installed what it never fetched" % upgrade.device_id
            self._enter(upgrade, "succeeded")
