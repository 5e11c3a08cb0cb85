"""Who may log in: client id, HMAC, timestamp and keep-alive, and the CONNACK code for who may not."""
import calendar
import hashlib
import hmac
import re
import time

ACCEPTED, WRONG_VERSION, WRONG_CLIENT_ID, UNAVAILABLE, WRONG_CREDENTIALS, NOT_AUTHORIZED = range(6)

MQTT5_CODES = {WRONG_VERSION: 0x84, WRONG_CLIENT_ID: 0x85, UNAVAILABLE: 0x88, WRONG_CREDENTIALS: 0x86,
               NOT_AUTHORIZED: 0x87}

# device_0_signature_hour, or bridge_3_signature_hour. Device ids hold underscores and may end in what looks like the
# rest: the last one counts.
CLIENT_ID = re.compile(r"([A-Za-z0-9_-]{1,128})_([03])_([012])_(\d{10})")
UNCHECKED, CHECKED, CHECKED_SM3 = "012"
DEVICE, BRIDGE = "03"


def password(secret, timestamp, signature=UNCHECKED):
    """The hour is the key and the secret the message, not the other way round."""
    digest = "sm3" if signature == CHECKED_SM3 else "sha256"
    return hmac.new(timestamp.encode(), secret.encode(), digest).hexdigest()


def client_id(device_id, timestamp, signature=UNCHECKED, kind=DEVICE):
    return "%s_%s_%s_%s" % (device_id, kind, signature, timestamp)


def hour(now_s=None):
    """The timestamp of now: YYYYMMDDHH, UTC."""
    return time.strftime("%Y%m%d%H", time.gmtime(now_s))


def is_current(timestamp, skew_h, now_s):
    try:
        then = calendar.timegm(time.strptime(timestamp, "%Y%m%d%H"))
    except ValueError:
        return False
    this_hour = int(now_s) // 3600 * 3600
    return abs(then - this_hour) <= skew_h * 3600


def has_shown(login, certificate):
    """Whether @certificate (DER, or None) is the one registered for the device: by SHA-256, or SHA-1 as older ones."""
    registered = login["fingerprint"].lower()
    digest = hashlib.sha1 if len(registered) == 40 else hashlib.sha256
    return certificate is not None and hmac.compare_digest(digest(certificate).hexdigest(), registered)


def judge(connect, certificate, logins, settings, now_s):
    """(CONNACK code, why, device id or None). @certificate: what the device has shown, in DER, its CA known; or None.
    @logins: {device id: {"secret" or "fingerprint", "is_disabled", "is_bridge"}}."""
    if connect.version not in settings.versions:
        return WRONG_VERSION, "protocol version %d" % connect.version, None
    found = CLIENT_ID.fullmatch(connect.client_id)
    if not found:
        return WRONG_CLIENT_ID, "client id", None
    device_id, kind, signature, timestamp = found.groups()
    least, most = settings.keep_alive_s
    if not least <= connect.keep_alive <= most:
        return WRONG_CLIENT_ID, "keep-alive", device_id
    login = logins.get(device_id)
    if not login or connect.username != device_id or login.get("is_bridge", False) != (kind == BRIDGE):
        return WRONG_CREDENTIALS, "username", device_id
    # Without the check any ten digits will do, as long as they are also the key.
    if signature != UNCHECKED and not is_current(timestamp, settings.skew_h, now_s):
        return WRONG_CREDENTIALS, "timestamp", device_id
    if "fingerprint" in login:
        if not has_shown(login, certificate):
            return WRONG_CREDENTIALS, "certificate", device_id
    else:
        expected = password(login["secret"], timestamp, signature).encode()
        if not hmac.compare_digest((connect.password or "").encode(), expected):
            return WRONG_CREDENTIALS, "password", device_id
    if login.get("is_disabled"):
        return NOT_AUTHORIZED, "disabled", device_id
    return ACCEPTED, None, device_id
