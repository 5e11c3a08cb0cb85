"""Huawei Cloud IoTDA for tests: start it, set faults, send down, ask what came."""
import json
import ssl
import time

from arrivals import Arrivals
from package_shelf import PackageShelf
from scripted_broker import ScriptedBroker

from . import downlink
from .broker import Broker, Bucket
from .https import Https
from .iam import Iam
from .ota import Upgrade
from .payload import MAX_CONTENT_BYTES, content_size
from .registry import MANAGER, event
from .rest import Rest

GATEWAY, SECRET = "65f0c1d2e3b4a5968778695a_gw1", "s3cr3t-Field-0001"
PROJECT_ID = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"


def server_side(tls):
    """An ssl.SSLContext. A device may show a certificate: whether it has to is a matter of its registration."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(tls["certificate"], tls["key"])
    if tls.get("device_ca"):
        context.load_verify_locations(tls["device_ca"])
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


class Huawei(Arrivals):
    """IoTDA as a gateway sees it; README.md says what it enforces."""

    def __init__(self, devices=None, sub_devices=(), model=None, custom_topics=(), instance_id=None, now=time.time,
                 elapsed=time.monotonic, tls=None, files_tls=None, https_tls=None):
        """@devices: [{"device_id", "secret" or "fingerprint" (hexadecimal, of a certificate), "sub_devices": [ids],
        "is_disabled": bool, "is_bridge": bool}] with a login; unless given one, GATEWAY with SECRET, and @sub_devices
        behind it. @model: {service id: {property: "int", "decimal", "string", "bool", "jsonObject" or "array"}};
        None: anything is stored. @custom_topics: what the product declares. @instance_id: what the application has to send as
        Instance-Id, None: nothing. @now(): the platform's clock, seconds since 1970; @elapsed(): the one it measures
        time-outs, repeats, keep-alives and rates with, in seconds. @tls: {"certificate", "key"} of the platform and
        "device_ca", which signs those of devices: paths; None: no TLS. @files_tls: {"certificate", "key"} of where
        upgrades are fetched from, and @https_tls that of the devices' HTTPS side, for localhost; None: no TLS there."""
        devices = devices or [{"device_id": GATEWAY, "secret": SECRET, "sub_devices": list(sub_devices)}]
        self._broker = Broker(devices, model, custom_topics, now, elapsed)
        self._server = ScriptedBroker(self._broker, tls=server_side(tls) if tls else None)
        self._rest = self._iam = self._shelf = self._https = None
        self._files_tls, self._https_tls = files_tls, https_tls
        self._instance_id = instance_id
        self.port = self._server.port

    def start(self):
        self._server.start()
        return self

    def stop(self):
        for web in (self._rest, self._iam, self._shelf, self._https):
            if web:
                web.stop()
        self._server.stop()
        if self._server.errors:
            raise AssertionError("the stand-in has gone wrong:\n" + self._server.errors[0])

    # ---- faults

    def outage(self):
        """Break all connections and refuse new ones. Nothing is forgotten."""
        def run():
            for session in list(self._broker.sessions.values()):
                self._broker.end(session, "outage")
        self._server.call(run)
        self._server.refuse()

    def resume(self):
        """Accept connections again, on the same port."""
        self._server.accept()

    def freeze(self):
        """Stop answering, but keep every connection: a network that swallows all packets."""
        self._server.is_frozen = True

    def thaw(self):
        self._server.is_frozen = False

    def kick(self, device_id=None):
        """Close the connection of @device_id, or all."""
        def run():
            for session in list(self._broker.sessions.values()):
                if device_id in (None, session.device_id):
                    self._broker.end(session, "kicked")
        self._server.call(run)

    def set(self, **settings):
        """Faults: refuse= a CONNACK code, "silent" (closed without one) or None; drop_at= the n-th publish from now
        closes the connection, untaken; lose_ack_at= … taken, but not acknowledged; is_silent= no PUBACK at all;
        slow_ms= how late it comes.

        Behaviour: versions= {3, 4}, 5 where the edition has it; keep_alive_s= (least, most); skew_h= of a checked
        timestamp; messages_per_s=, bytes_per_s= of a connection; command_timeout_s=; repeat_s=, n_repeats= of what
        is not acknowledged; repeat_after_return_s=, n_repeats_after_return= the same in a later session;
        subscribes_all= whether a device gets all system topics without subscribing; names_own= whether a command
        for the device that is logged in names it; answers_events= whether events/up is answered,
        n_answers= how often, answer_after_s= how late."""
        def run():
            for name, value in settings.items():
                assert hasattr(self._broker.settings, name), name
                setattr(self._broker.settings, name, value)
            for session in self._broker.sessions.values():
                if "messages_per_s" in settings:
                    session.messages = Bucket(settings["messages_per_s"], self._broker.elapsed)
                if "bytes_per_s" in settings:
                    session.bytes = Bucket(settings["bytes_per_s"], self._broker.elapsed)
        self._server.call(run)

    def set_secret(self, device_id, secret):
        """The device's secret is another from the next login on."""
        self._server.call(lambda: self._broker.registry.logins[device_id].update(secret=secret))

    def register(self, device_id, secret):
        """A device that the provisioning service sends here may log in with @secret."""
        self._server.call(lambda: self._broker.registry.logins.setdefault(device_id, {"device_id": device_id}).update(
            secret=secret))

    def set_disabled(self, device_id, is_disabled):
        """An operator freezes a device: it is thrown out, and its logins are answered with 5."""
        self._server.call(lambda: self._broker.registry.logins[device_id].update(is_disabled=is_disabled))
        if is_disabled:
            self.kick(device_id)

    # ---- down

    def command(self, device_id, command_name, paras=None, service_id=None, timeout_s=None):
        """Send a command and wait; returns its response {"result_code", "response_name", "paras"}. Raises
        CommandError with the code IOTDA.014000 (no such device), IOTDA.014016 (not online), IOTDA.014111 (no
        response in time) or IOTDA.014112 (not subscribed)."""
        return self.command_begin(device_id, command_name, paras, service_id, timeout_s).wait()

    def command_begin(self, device_id, command_name, paras=None, service_id=None, timeout_s=None):
        """As command(), but returns at once a Call: wait(), is_done, id, response, error."""
        body = {"service_id": service_id, "command_name": command_name, "paras": {} if paras is None else paras}
        return self._begin(downlink.COMMAND, device_id, {k: v for k, v in body.items() if v is not None}, timeout_s)

    def set_properties(self, device_id, services):
        """@services: {service id: {property: value}}. Returns a Call."""
        return self._begin(downlink.SET, device_id, {"services": [
            {"service_id": id_, "properties": properties} for id_, properties in services.items()]})

    def get_properties(self, device_id, service_id=None):
        """Ask the device itself. Returns a Call."""
        return self._begin(downlink.GET, device_id, {"service_id": service_id} if service_id else {})

    def _begin(self, kind, device_id, body, timeout_s=None):
        timeout_s = self._broker.settings.command_timeout_s if timeout_s is None else timeout_s
        return self._server.call(lambda: self._broker.downlink.begin(kind, device_id, body, timeout_s))

    def repeat(self, call):
        """Send a command or property call once more, as if its PUBACK were lost."""
        return self._server.call(lambda: self._broker.downlink.repeat(call))

    def message(self, device_id, content, name="message"):
        """Send a message on messages/down; for a device that is away the newest 20 are kept. Raises ValueError for
        content of more than 256 KB, as the application would be answered."""
        body = {"object_device_id": device_id, "name": name, "id": "%d" % (time.time() * 1e6), "content": content}
        data = json.dumps(body).encode()
        if content_size(data) > MAX_CONTENT_BYTES:
            raise ValueError("content of more than 256 KB")
        self._server.call(lambda: self._broker.downlink.message(device_id, data))

    def raw_message(self, device_id, payload):
        """Send any bytes on messages/down, to whatever device is logged in as @device_id."""
        self._server.call(lambda: self._broker.downlink.message(device_id, payload))

    def desire(self, device_id, services):
        """@services: {service id: {property: value}}, what its shadow shall say is desired. It is sent as a property
        set now, at each login and with each report, until the device reports it so."""
        self._server.call(lambda: self._broker.shadow.desire(device_id, services))

    def undone(self, device_id):
        """{service: {property: value}} of what is desired and not reported so."""
        return self._server.call(lambda: self._broker.shadow.missing(device_id))

    def push(self, suffix, payload, device_id=GATEWAY):
        """Send any bytes on $oc/devices/DEVICE/sys/SUFFIX. False: it is not subscribed."""
        payload = payload if isinstance(payload, bytes) else payload.encode()
        return self._server.call(lambda: self._broker.downlink.send(device_id, suffix, payload))

    def unacknowledged(self, device_id=GATEWAY):
        """How many messages sent down at QoS 1 have no PUBACK yet."""
        return self._server.call(lambda: self._broker.downlink.count(device_id))

    # ---- upgrades

    def upgrade(self, device_id, version, data, kind="firmware", form=1, asks=True, fault=None):
        """Order an upgrade; returns an Upgrade: state, why, reports, n_fetched. @form: 1, the file is the platform's
        and needs a token; 2, a signed URL without size and sign. @asks: for its versions first; none is ordered that
        is there already.

        @fault: "sign": True, it is wrong; "size": n is announced; "valid_for": n, the token is accepted so often;
        "status", "cut_at": n, once, "delay_s" (or a list, of one request after the other), "no_range", "length", "corrupt_at" of the HTTP answer."""
        upgrade = Upgrade(device_id, kind, version, data, form, asks, fault)
        self._shelf = self._shelf or PackageShelf(self._files_tls)
        url = self._shelf.put(upgrade)
        self._server.call(lambda: self._broker.ota.begin(upgrade, url))
        return upgrade

    def repeat_upgrade(self, upgrade):
        """Send the same notice once more, as if its PUBACK were lost."""
        self._server.call(lambda: self._broker.ota.repeat(upgrade))

    def ask_versions(self, device_id):
        """Send version_query. False: the device is not there."""
        return self._server.call(lambda: self._broker.ota.ask(device_id))

    def versions(self, device_id):
        """{"sw_version", "fw_version"} as reported last, or None."""
        return self._broker.ota.versions.get(device_id)

    def package_requests(self):
        """[(path, Range header or None, status)] of the requests for files."""
        return list(self._shelf.requests) if self._shelf else []

    # ---- sub-devices

    def add_sub_device(self, device_id, gateway=GATEWAY, node_id=None):
        """An operator adds p_n: node n of product p, unless told which @node_id. A gateway that is there is told."""
        product, _, node = device_id.partition("_")
        self._change(gateway, lambda registry: registry.add(gateway, device_id, node_id or node or device_id, product))

    def delete_sub_device(self, device_id, gateway=GATEWAY):
        """An operator deletes one. A gateway that is there is told."""
        self._change(gateway, lambda registry: registry.remove(device_id))

    def _change(self, gateway, change):
        def run():
            registry = self._broker.registry
            change(registry)
            if gateway in self._broker.sessions:
                version, kind, entry = registry.changes[gateway][-1]
                body = event(gateway, MANAGER, kind, {"devices": [entry], "version": version})
                self._broker.downlink.send(gateway, "events/down", json.dumps(body).encode())
        self._server.call(run)

    def refuse_product(self, product_id):
        """Fail every add_sub_device_request for a device of this product."""
        self._server.call(lambda: self._broker.registry.refused_products.add(product_id))

    def refuse_node(self, node_id, error_code="IOTDA.014000"):
        """Fail every add_sub_device_request for this one; error_code None: no more."""
        def run():
            self._broker.registry.refused_nodes.pop(node_id, None)
            if error_code:
                self._broker.registry.refused_nodes[node_id] = error_code
        self._server.call(run)

    def name_new(self, template):
        """How device ids of sub-devices are made that a gateway adds: "{product_id}_{node_id}" at first."""
        self._server.call(lambda: setattr(self._broker.registry, "new_id", template))

    def split_lists(self, most):
        """A list of more than @most sub-devices comes in parts."""
        self._server.call(lambda: setattr(self._broker.registry, "most_per_notice", most))

    def show(self, device_id, status):
        """What the platform shows of a sub-device, as another gateway, or this one once, has told it."""
        self._server.call(lambda: self._broker.registry.subs[device_id].update(status=status))

    def sub_devices(self, gateway=GATEWAY):
        """{device id: node id} of those behind @gateway."""
        return self._server.call(lambda: {id_: sub["node_id"] for id_, sub in self._broker.registry.subs.items()
                                          if sub["gateway"] == gateway})

    def statuses(self):
        """{sub-device: "INACTIVE", "ONLINE" or "OFFLINE"}: what its gateway has reported last."""
        return self._server.call(lambda: {id_: sub["status"] for id_, sub in self._broker.registry.subs.items()})

    # ---- the application's side

    def device(self, device_id):
        """What the platform says of a device, None if there is none."""
        return self._server.call(lambda: self._broker.registry.show(device_id, self._broker.sessions))

    def shadow(self, device_id):
        """What each service of a device has reported last."""
        return self._server.call(lambda: self._broker.shadow.describe(device_id))

    def _application(self):
        if not self._rest:
            self._iam = Iam(PROJECT_ID, self._broker.now)
            self._rest = Rest(self, self._iam, PROJECT_ID, self._instance_id)
        return self._rest

    @property
    def rest_url(self):
        """http://127.0.0.1:PORT of the application API, started at first use. Its project is PROJECT_ID."""
        return self._application().url

    @property
    def iam_url(self):
        """http://127.0.0.1:PORT of IAM, which has one user: iam.DOMAIN, iam.USER, iam.PASSWORD."""
        self._application()
        return self._iam.url

    @property
    def rest_token(self):
        """A token, good for 24 hours."""
        self._application()
        return self._iam.issue()

    def break_rest(self, status):
        """Answer everything on the application's side with @status, such as 429; None: no more."""
        self._application().fault = status

    # ---- the devices' side by HTTPS

    @property
    def https(self):
        """Started at first use, and not part of an outage() of MQTT. It has url, and the faults status=,
        lose_answer_at=, answer_after_s=, expires_in_s=, forget_tokens(); https.py says what each means."""
        self._https = self._https or Https(self._broker, self._server.call, self._https_tls)
        return self._https

    # ---- what it has seen

    def events(self, kind=None):
        """All events up to now, in order, or only those called @kind; README.md lists them."""
        return [e for e in list(self._broker.events) if kind is None or e["event"] == kind]

    def publishes(self, suffix=None):
        """[(topic behind "sys/", payload parsed)] of what was taken; what is not JSON comes as text."""
        found = []
        for e in self.events("publish"):
            name = e["topic"].partition("/sys/")[2]
            if suffix in (None, name):
                try:
                    found.append((name, json.loads(e["payload"])))
                except ValueError:
                    found.append((name, e["payload"]))
        return found

    def readings(self):
        """[Reading(device, service, ms or None, {property: value})] of all reports, in order of arrival."""
        return list(self._broker.readings)

    def samples(self):
        """[(device, ms, property, value)] of all reports, in order of arrival. ms None: the platform's time."""
        return [(r.device, r.ms, key, value) for r in self.readings() for key, value in r.properties.items()]

    def responses(self, verdict=None):
        """Events of all responses that came: {"kind", "id", "verdict", "body"}. Verdicts: "answered", "late" (its
        caller has given up), "repeated" (the same again to what was sent again), "duplicate", "unknown" (no such
        id), "malformed"."""
        return [e for e in self.events("response") if verdict in (None, e["verdict"])]

    def reported(self, type_):
        """[paras] of the events the device has sent, by type, such as "sub_device_update_status"."""
        return [e["paras"] for e in self.events("reported") if e["type"] == type_]

    def complaints(self):
        """Everything a well-behaved gateway never causes."""
        return [e for e in self.events()
                if e["event"] in ("refused", "rejected", "suspect")
                or e["event"] == "https_refused" and e["why"] not in ("told to", "token")
                or e["event"] == "subscribe" and not e["granted"]
                or e["event"] == "connect" and (not e["clean"] or e["has_will"])
                or e["event"] == "response" and e["verdict"] in ("duplicate", "unknown", "malformed")
                or e["event"] == "disconnect" and e["why"] == "keep-alive"]
