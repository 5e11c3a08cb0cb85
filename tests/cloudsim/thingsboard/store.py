"""Telemetry as the server stores it: read from the record, typed by the server's own rules."""
import json
import re

TELEMETRY = ("v1/devices/me/telemetry", "v2/t", "v2/t/j", "v2/t/p")
GATEWAY_TELEMETRY = "v1/gateway/telemetry"
INT64 = range(-2 ** 63, 2 ** 63)
NUMERIC_TEXT = re.compile(r"-?\d+(\.\d+)?$")


class Digits(str):
    """A number, spelled as it came."""


def number(text):
    """A number as the server types it: int, float, or text where it gives up."""
    mantissa, _, exponent = text.lower().partition("e")
    whole, _, decimals = mantissa.partition(".")
    n_decimals = len(decimals) - int(exponent or 0)
    if exponent and float(text).is_integer() and int(float(text)) in INT64:
        return int(float(text))
    if not decimals and not exponent:
        return int(whole) if int(whole) in INT64 else str(text)
    return float(text) if n_decimals <= 16 else str(text)


def stored(value):
    """What becomes of a value."""
    if isinstance(value, Digits):
        return number(value)
    if isinstance(value, str) and NUMERIC_TEXT.match(value):
        return number(value)  # text of digits turns into a number: zeros in front are lost
    return value


def plain(value):
    """Digits inside objects as numbers again."""
    if isinstance(value, Digits):
        return json.loads(value)
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list) else value


def entries(event, parse=json.loads):
    """(device, ts or None, key, value) of all telemetry in a `publish` event of the record."""
    if event["topic"] == GATEWAY_TELEMETRY:
        parts = parse(event["payload"]).items()
    elif event["topic"] in TELEMETRY:
        body = parse(event["payload"])
        parts = [(event["device"], body if isinstance(body, list) else [body])]
    else:
        return
    for device, samples in parts:
        for sample in samples if isinstance(samples, list) else ():
            if "ts" in sample and "values" in sample:
                for key, value in sample["values"].items():
                    yield device, sample["ts"], key, value
            else:
                for key, value in sample.items():
                    yield device, None, key, value


def series(events, device):
    """{key: {ts: value}} of @device as stored. A second value for the same key and time replaces the first."""
    found = {}
    for event in events:
        for name, ts, key, value in entries(event, lambda text: json.loads(text, parse_int=Digits,
                                                                           parse_float=Digits)):
            if name == device and value is not None:
                ts = event["ms"] if ts is None else int(float(ts))
                found.setdefault(key, {})[ts] = plain(stored(value))
    return found


def parsed(text):
    """JSON, or the text itself where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def spell(value):
    """A value as the REST side prints it unless strict types are asked for."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
