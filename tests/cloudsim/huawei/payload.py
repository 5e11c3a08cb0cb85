"""What a report says, and what the platform would make of it."""
import collections
import datetime
import json
import re

MAX_SUB_DEVICES = 100
MAX_PROPERTIES_BYTES = 64 << 10
MAX_CONTENT_BYTES = 256 << 10
EVENT_TIMES = ((re.compile(r"\d{8}T\d{6}Z"), "%Y%m%dT%H%M%SZ"),
               (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"), "%Y-%m-%dT%H:%M:%S.%fZ"))
EPOCH = datetime.datetime(1970, 1, 1)

# What one service of one device says. @ms: None where the platform puts its own time.
Reading = collections.namedtuple("Reading", "device service ms properties")


def event_time_ms(text):
    """The time in ms, None if it is none of the two forms the platform reads."""
    for pattern, form in EVENT_TIMES:
        if isinstance(text, str) and pattern.fullmatch(text):
            try:
                return (datetime.datetime.strptime(text, form) - EPOCH) // datetime.timedelta(milliseconds=1)
            except ValueError:
                return None
    return None


def parse(data):
    """Strict JSON, an object, or None."""
    def refuse(_):
        raise ValueError("no JSON")
    try:
        body = json.loads(data.decode(), parse_constant=refuse)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def content_size(data):
    """Bytes of a free message's content; one that is not of the platform's form is content as a whole."""
    body = parse(data)
    content = body.get("content", data) if body else data
    if isinstance(content, bytes):
        return len(content)
    return len((content if isinstance(content, str) else json.dumps(content)).encode())


def fits(value, kind):
    """Whether @value is of a product model's type."""
    if kind == "decimal":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, {"string": str, "bool": bool, "jsonObject": dict, "array": list}[kind])


class Report:
    """One properties report taken apart: what would be stored, and why the rest would not."""

    def __init__(self, model=None):
        """@model: {service id: {property: type}}; None: any."""
        self._model = model
        self.readings, self.faults = [], []

    def own(self, device_id, body):
        self._services(device_id, body.get("services"))
        return self

    def sub_devices(self, body, known):
        """@known: ids of the gateway's sub-devices."""
        devices = body.get("devices")
        if not isinstance(devices, list) or not devices:
            self.faults.append("no devices")
            return self
        if len(devices) > MAX_SUB_DEVICES:
            self.faults.append("more than %d devices" % MAX_SUB_DEVICES)
            return self
        for device in devices:
            id_ = device.get("device_id") if isinstance(device, dict) else None
            if not isinstance(id_, str) or id_ not in known:
                self.faults.append("not a sub-device: %s" % id_)
            else:
                self._services(id_, device.get("services"))
        return self

    def _services(self, device_id, services):
        if not isinstance(services, list) or not services:
            self.faults.append("no services of %s" % device_id)
            return
        for service in services:
            self._service(device_id, service if isinstance(service, dict) else {})

    def _service(self, device_id, service):
        id_, properties = service.get("service_id"), service.get("properties")
        if not isinstance(id_, str) or not isinstance(properties, dict) or not properties:
            self.faults.append("no service_id or properties of %s" % device_id)
            return
        ms = None
        if "event_time" in service:
            ms = event_time_ms(service["event_time"])
            if ms is None:
                self.faults.append("event_time of %s is replaced: %s" % (device_id, service["event_time"]))
        if self._model is not None:
            types = self._model.get(id_, {})
            wrong = [k for k, v in properties.items() if k not in types or not fits(v, types[k])]
            if wrong:
                self.faults.append("not in the model: %s of %s of %s" % (", ".join(wrong), id_, device_id))
            properties = {k: v for k, v in properties.items() if k not in wrong}
        if properties:
            self.readings.append(Reading(device_id, id_, ms, properties))
