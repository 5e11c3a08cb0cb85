"""Topics of a device: what may be published, what may be subscribed to, and which filter takes which topic."""
import re

PREFIX = "$oc/devices/%s/sys/"
UP = {"properties/report", "gateway/sub_devices/properties/report", "messages/up", "events/up"}
ANSWER = re.compile(r"(commands|properties/set|properties/get)/response/request_id=(.+)")
SHADOW_GET = re.compile(r"shadow/get/request_id=(.+)")
OWN_TOPIC_MAX_BYTES = 128


def prefix(device_id):
    return PREFIX % device_id


def split(device_id, topic):
    """(what comes behind "sys/", {query}) of a topic of @device_id's own, None of any other."""
    if not topic.startswith(prefix(device_id)):
        return None
    name, _, query = topic[len(prefix(device_id)):].partition("?")
    return name, dict(part.partition("=")[::2] for part in query.split("&") if part)


def matches(filter_, topic):
    """MQTT 3.1.1, 4.7: a wildcard in front does not match "$"."""
    wanted, levels = filter_.split("/"), topic.split("/")
    if wanted[0] in ("#", "+") and topic.startswith("$"):
        return False
    for i, level in enumerate(wanted):
        if level == "#":
            return True
        if i >= len(levels) or level not in ("+", levels[i]):
            return False
    return len(wanted) == len(levels)


def is_well_formed(filter_):
    levels = filter_.split("/")
    return bool(filter_) and all(level == "+" or "+" not in level and "#" not in level or
                                 level == "#" and i == len(levels) - 1 for i, level in enumerate(levels))


def may_subscribe(device_id, filter_, custom):
    """@custom: the topics the product declares."""
    if not is_well_formed(filter_):
        return False
    return filter_.startswith("$oc/devices/%s/" % device_id) or filter_ in custom


def is_custom(device_id, topic, custom):
    own = "$oc/devices/%s/user/" % device_id
    return len(topic.encode()) <= OWN_TOPIC_MAX_BYTES and (topic.startswith(own) or topic in custom)
