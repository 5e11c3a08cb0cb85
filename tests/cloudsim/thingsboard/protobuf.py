"""Downlinks of a protobuf profile, in the wire format of protobuf.dev/programming-guides/encoding. Field numbers are
those of the server's transport.proto and queue.proto, and of the RPC schema its user interface starts with."""
import json
import struct


def varint(n):
    n &= 2 ** 64 - 1  # a negative number takes ten bytes
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number, value):
    """One field; zero, false and nothing are left out, as proto3 does."""
    if not value:
        return b""
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value if isinstance(value, bytes) else value.encode()
    return varint(number << 3 | 2) + varint(len(data)) + data


def repeated(number, messages):
    """A list of messages or texts; an empty one among them counts."""
    data = [message if isinstance(message, bytes) else message.encode() for message in messages]
    return b"".join(varint(number << 3 | 2) + varint(len(one)) + one for one in data)


def key_value(key, value):
    """KeyValueProto"""
    kinds = ((bool, 0, 3), (int, 1, 4), (float, 2, 5), (str, 3, 6))
    for kind, number, member in kinds:
        if isinstance(value, kind):
            return field(1, key) + field(2, number) + field(member, value)
    return field(1, key) + field(2, 4) + field(7, json.dumps(value, separators=(",", ":")))


def ts_key_values(values):
    """[TsKvProto]"""
    return [field(2, key_value(key, value)) for key, value in values.items()]


def update(values):
    """AttributeUpdateNotificationMsg"""
    if list(values) == ["deleted"]:
        return repeated(2, values["deleted"])
    return repeated(1, ts_key_values(values))


def gateway_update(device, values):
    """GatewayAttributeUpdateNotificationMsg"""
    return field(1, device) + repeated(2, [update(values)])


def attributes(request_id, client, shared, is_multiple):
    """GetAttributeResponseMsg"""
    return (field(1, request_id) + repeated(2, ts_key_values(client)) + repeated(3, ts_key_values(shared)) +
            field(4, is_multiple))


def gateway_attributes(device, request_id, client, shared, is_multiple):
    """GatewayAttributeResponseMsg"""
    return field(1, device) + repeated(2, [attributes(request_id, client, shared, is_multiple)])


def command(request_id, method, params):
    """RpcRequestMsg"""
    return field(1, method) + field(2, request_id) + field(3, json.dumps(params, separators=(",", ":")))


def gateway_command(device, request_id, method, params, expires_ms, is_oneway, is_persistent):
    """GatewayDeviceRpcRequestMsg"""
    request = (field(1, request_id) + field(2, method) + field(3, json.dumps(params, separators=(",", ":"))) +
               field(4, expires_ms) + field(7, is_oneway) + field(8, is_persistent))
    return field(1, device) + repeated(2, [request])


def call_answer(request_id, payload):
    """ToServerRpcResponseMsg"""
    return field(1, request_id) + field(2, json.dumps(payload, separators=(",", ":")))
