"""The devices the platform knows: those with a login, and the sub-devices behind them, with the status their
gateway reports. Answers the events a gateway sends about them."""
import re
import time

MAX_PER_REQUEST, MAX_STATUSES = 50, 100
MANAGER = "$sub_device_manager"
ADDED, DELETED = "add_sub_device_notify", "delete_sub_device_notify"
ID = re.compile("[A-Za-z0-9_-]{1,128}")
DEVICE_EXISTS, NO_DEVICE = "IOTDA.014031", "IOTDA.014000"


def members(paras, name, kind, most):
    """The list @name of @paras if it has 1 to @most members, all of @kind; else None."""
    found = paras.get(name)
    if isinstance(found, list) and 0 < len(found) <= most and all(isinstance(member, kind) for member in found):
        return found
    return None


class Registry:
    def __init__(self, devices):
        """@devices: [{"device_id", "secret", "sub_devices": [ids], "is_disabled": bool, "is_bridge": bool}]."""
        self.logins = {}
        self.subs = {}      # id: {"gateway", "node_id", "product_id", "status"}
        self.version = {}   # gateway: rises with each change of its sub-devices
        self.changes = {}   # gateway: [(version, event that tells it, entry)], oldest first
        self.refused_products = set()
        self.refused_nodes = {}  # node id: error code
        self.new_id = "{product_id}_{node_id}"
        self.most_per_notice = None  # a longer list comes in parts
        for device in devices:
            self.logins[device["device_id"]] = dict(device)
            for id_ in device.get("sub_devices", ()):
                product, _, node = id_.partition("_")
                self.add(device["device_id"], id_, node or id_, product)

    def login_of(self, device_id):
        """The device whose connection speaks for @device_id, None if there is no such device."""
        if device_id in self.logins:
            return device_id
        return self.subs[device_id]["gateway"] if device_id in self.subs else None

    def behind(self, gateway):
        return {id_ for id_, sub in self.subs.items() if sub["gateway"] == gateway}

    def add(self, gateway, id_, node_id, product_id):
        self.subs[id_] = {"gateway": gateway, "node_id": node_id, "product_id": product_id, "status": "INACTIVE"}
        return self._changed(gateway, ADDED, self.describe(id_))

    def remove(self, id_):
        entry = {k: v for k, v in self.describe(id_).items() if k != "status"}
        del self.subs[id_]
        return self._changed(entry["parent_device_id"], DELETED, entry)

    def _changed(self, gateway, kind, entry):
        self.version[gateway] = self.version.get(gateway, 0) + 1
        self.changes.setdefault(gateway, []).append((self.version[gateway], kind, entry))
        return entry

    def describe(self, id_):
        sub = self.subs[id_]
        return {"parent_device_id": sub["gateway"], "node_id": sub["node_id"], "device_id": id_,
                "name": sub["node_id"], "product_id": sub["product_id"], "status": sub["status"]}

    def show(self, device_id, sessions):
        """What the application is told of a device, None if there is none. @sessions: {device id: …} of who is there."""
        if device_id in self.subs:
            sub = self.subs[device_id]
            return {"device_id": device_id, "node_id": sub["node_id"], "gateway_id": sub["gateway"],
                    "product_id": sub["product_id"], "node_type": "ENDPOINT", "status": sub["status"]}
        if device_id in self.logins:
            return {"device_id": device_id, "node_id": device_id, "gateway_id": device_id, "node_type": "GATEWAY",
                    "status": "ONLINE" if device_id in sessions else "OFFLINE"}
        return None

    # ---- what a gateway says

    def answer(self, gateway, kind, paras):
        """([(event_type, paras)], what is wrong or None): the answers to an event about sub-devices."""
        known = {"sub_device_sync_request": self._sync, "add_sub_device_request": self._add,
                 "delete_sub_device_request": self._delete, "sub_device_update_status": self._status}
        if kind not in known:
            return [], "unknown event %s" % kind
        return known[kind](gateway, paras)

    def _sync(self, gateway, paras):
        """All there are; to one that names a version it can have, what has changed since."""
        version, now = paras.get("version", 0), self.version.get(gateway, 0)
        if type(version) is not int or version < 0:
            return [], "a version that is no number"
        if not 0 < version <= now:
            return self._notices(ADDED, [self.describe(id_) for id_ in sorted(self.behind(gateway))], now), None
        since = [(kind, entry) for at, kind, entry in self.changes.get(gateway, ()) if at > version]
        gone = {entry["device_id"]: entry for kind, entry in since if kind == DELETED
                and entry["device_id"] not in self.subs}
        new = {entry["device_id"]: self.describe(entry["device_id"]) for kind, entry in since
               if kind == ADDED and entry["device_id"] in self.subs}
        return (self._notices(ADDED, list(new.values()), now) +
                (self._notices(DELETED, list(gone.values()), now) if gone else [])), None

    def _notices(self, kind, entries, version):
        most = self.most_per_notice or max(len(entries), 1)
        return [(kind, {"devices": entries[at:at + most], "version": version})
                for at in range(0, max(len(entries), 1), most)]

    def _add(self, gateway, paras):
        wanted = members(paras, "devices", dict, MAX_PER_REQUEST)
        if not wanted:
            return [], "not 1 to %d devices" % MAX_PER_REQUEST
        good, bad = [], []
        for device in wanted:
            node, product = device.get("node_id"), device.get("product_id")
            id_ = device.get("device_id", self.new_id.format(product_id=product, node_id=node))
            if not all(isinstance(text, str) and ID.fullmatch(text) for text in (node, product, id_)):
                return [], "a device without node_id or product_id, or with one that is none"
            if device.get("parent_device_id", gateway) != gateway:
                return [], "a device of another gateway"
            if product in self.refused_products or node in self.refused_nodes:
                bad.append({"node_id": node, "product_id": product,
                            "error_code": self.refused_nodes.get(node, NO_DEVICE),
                            "error_msg": "The product does not exist."})
            elif self.subs.get(id_, {"gateway": gateway})["gateway"] != gateway:
                bad.append({"node_id": node, "product_id": product, "error_code": DEVICE_EXISTS,
                            "error_msg": "The device already exists."})
            elif id_ in self.subs:
                good.append(self.describe(id_))
            else:
                good.append(self.add(gateway, id_, node, product))
        return [("add_sub_device_response", {"successful_devices": good, "failed_devices": bad})], None

    def _delete(self, gateway, paras):
        wanted = members(paras, "devices", str, MAX_PER_REQUEST)
        if not wanted:
            return [], "not 1 to %d devices" % MAX_PER_REQUEST
        mine = self.behind(gateway)
        for id_ in mine.intersection(wanted):
            self.remove(id_)
        return [("delete_sub_device_response", {
            "successful_devices": [id_ for id_ in wanted if id_ in mine],
            "failed_devices": [{"device_id": id_, "error_code": NO_DEVICE, "error_msg": "The device does not exist."}
                               for id_ in wanted if id_ not in mine]})], None

    def _status(self, gateway, paras):
        statuses = members(paras, "device_statuses", dict, MAX_STATUSES)
        if not statuses:
            return [], "not 1 to %d device_statuses" % MAX_STATUSES
        mine, good, bad = self.behind(gateway), [], []
        for entry in statuses:
            id_, status = entry.get("device_id"), entry.get("status")
            if not isinstance(id_, str) or status not in ("ONLINE", "OFFLINE"):
                return [], "a status that is neither ONLINE nor OFFLINE"
            if id_ in mine:
                self.subs[id_]["status"] = status
                good.append({"device_id": id_, "status": status})
            else:
                bad.append({"device_id": id_, "error_code": NO_DEVICE, "error_msg": "The device does not exist."})
        return [("sub_device_update_status_response", {"successful_devices": good, "failed_devices": bad})], None


def event(gateway, service, kind, paras, event_id=None):
    """The body of a message on events/down."""
    entry = {"service_id": service, "event_type": kind,
             "event_time": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), "paras": paras}
    if event_id is not None:
        entry["event_id"] = event_id
    return {"object_device_id": gateway, "services": [entry]}
