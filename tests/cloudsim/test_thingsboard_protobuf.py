#!/usr/bin/python3
"""Protobuf profiles of ThingsBoard's stand-in."""
import struct
import sys
import unittest

import paho.mqtt.client as paho

from cloudsim import wait_for
from paho_client import StandInTest
from thingsboard.protobuf import field, repeated, varint

TS = 1718000000123


def kv(key, kind, member, value):
    return field(1, key) + field(2, kind) + field(member, value)


def wire(payload):
    """{number: [values]} of one message; groups of bytes stay bytes."""
    found, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte, at = payload[at], at + 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value
    while at < len(payload):
        tag = number()
        if tag & 7 == 0:
            value = number()
        elif tag & 7 == 1:
            value, at = struct.unpack_from("<d", payload, at)[0], at + 8
        else:
            size = number()
            value, at = payload[at:at + size], at + size
        found.setdefault(tag >> 3, []).append(value)
    return found


class ProtobufTest(StandInTest):
    def begin(self, **how):
        return super().begin(**dict({"devices": [
            {"name": "g", "gateway": True, "protobuf": True, "token": "G"},
            {"name": "d", "protobuf": True, "token": "D"}, {"name": "j", "token": "J"}]}, **how))

    def device(self, token="D", **how):
        client = self.client(username=token, **how)
        client.raw = True
        return client

    def taken(self, client, topic, payload):
        self.assertTrue(client.is_acked(client.publish(topic, payload)))
        return self.cloud.publishes()[-1][1]

    def test_telemetry_and_attributes_of_the_default_schemas(self):
        inner = field(1, "a") + field(2, True) + field(3, 2.5) + field(4, -7) + field(5, "b")
        reading = field(1, 21.5) + field(2, 40.0) + field(3, inner)
        for token, topic in (("D", "v1/devices/me/telemetry"), ("D", "v2/t"), ("D", "v2/t/p"), ("J", "v2/t/p")):
            client = self.device(token)
            self.assertEqual(self.taken(client, topic, reading), {
                "temperature": 21.5, "humidity": 40.0,
                "innerObject": {"key1": "a", "key2": True, "key3": 2.5, "key4": -7, "key5": "b"}})
            client.close()
        client = self.device()
        self.assertEqual(self.taken(client, "v2/t/j", {"n": 1}), {"n": 1})
        self.assertEqual(self.taken(client, "v1/devices/me/attributes", field(1, "2.0") + field(2, "X-9")),
                         {"firmwareVersion": "2.0", "serialNumber": "X-9"})
        wait_for(lambda: self.cloud.client_attributes("d").get("serialNumber") == "X-9", 5)

    def test_the_gateways_telemetry(self):
        values = [kv("b", 0, 3, True), kv("l", 1, 4, -2 ** 63), kv("d", 2, 5, 42.0), kv("s", 3, 6, "x"),
                  kv("j", 4, 7, '{"y":[1]}'), kv("zero", 2, 5, 0.0), kv("off", 0, 3, False)]
        stamped = field(1, TS) + repeated(2, values)
        plain = repeated(2, [kv("n", 1, 4, 1)])
        message = repeated(1, [field(1, "pump 4") + field(3, repeated(1, [stamped, plain])),
                               field(1, "pump 5") + field(3, repeated(1, [plain]))])
        client = self.device("G")
        self.assertEqual(self.taken(client, "v1/gateway/telemetry", message), {
            "pump 4": [{"ts": TS, "values": {"b": True, "l": -2 ** 63, "d": 42.0, "s": "x", "j": {"y": [1]},
                                             "zero": 0.0, "off": False}}, {"n": 1}],
            "pump 5": [{"n": 1}]})
        self.assertIn('"d":42.0', self.cloud.events("publish")[-1]["payload"])
        self.assertEqual(self.cloud.values("n"), [1, 1])

    def test_the_gateways_other_messages(self):
        client = self.device("G")
        self.assertEqual(self.taken(client, "v1/gateway/connect", field(1, "a") + field(2, "pump")),
                         {"device": "a", "type": "pump"})
        self.assertEqual(self.cloud.devices(), {"a": "pump"})
        self.assertEqual(self.taken(client, "v1/gateway/attributes", repeated(1, [
            field(1, "a") + field(2, repeated(1, [kv("serial", 3, 6, "X-9")]))])), {"a": {"serial": "X-9"}})
        self.taken(client, "v1/gateway/claim", repeated(1, [field(1, "a") + field(2, field(1, "s") + field(2, 5))]))
        wait_for(lambda: self.cloud.claims(), 5)
        self.assertEqual(self.cloud.claims()[0]["duration_ms"], 5)
        self.taken(client, "v1/gateway/disconnect", field(1, "a"))
        wait_for(lambda: not self.cloud.is_connected("a"), 5)

    def test_what_cannot_be_read_is_malformed(self):
        for payload in (b"\xff", b"\x0a\x05abc", field(1, 7), repeated(1, [field(1, "a")]),
                        repeated(1, [field(1, "a") + field(3, repeated(1, [field(1, TS)]))]),
                        repeated(1, [field(1, "a") + field(3, repeated(1, [repeated(2, [kv("", 1, 4, 1)])]))]),
                        repeated(1, [field(1, "a") + field(3, repeated(1, [repeated(2, [kv("k", 3, 6, "")])]))]),
                        repeated(1, [field(1, "a") + field(3, repeated(1, [repeated(2, [kv("k", 9, 4, 1)])]))]),
                        b'{"a":[{"x":1}]}', b""):
            client = self.device("G")
            client.publish("v1/gateway/telemetry", payload)
            client.wait_gone()
            self.assertEqual(self.cloud.events("rejected")[-1]["why"], "malformed", payload)

    def test_commands_to_a_sub_device(self):
        client = self.device("G")
        client.is_acked(client.publish("v1/gateway/connect", field(1, "pump 4")))
        wait_for(lambda: self.cloud.is_connected("pump 4"), 5)
        self.cloud.rpc("pump 4", "stop", None, oneway=True)
        pending = self.cloud.rpc_begin("pump 4", "start", {"rpm": 900})
        oneway, twoway = [wire(body) for _, body in client.wait_received(2)]
        self.assertEqual(oneway[1], [b"pump 4"])
        self.assertEqual({k: v for k, v in wire(oneway[2][0]).items() if k != 4}, {2: [b"stop"], 3: [b"null"], 7: [1]})
        self.assertEqual({k: v for k, v in wire(twoway[2][0]).items() if k != 4},
                         {1: [1], 2: [b"start"], 3: [b'{"rpm":900}']})
        client.publish("v1/gateway/rpc", field(1, "pump 4") + field(2, 1) + field(3, '{"ok":true}'))
        self.assertEqual(pending.wait(5), {"ok": True})

    def test_commands_and_calls_of_a_device(self):
        for filter_, topic, response in (
                ("v1/devices/me/rpc/request/+", "v1/devices/me/rpc/request/", "v1/devices/me/rpc/response/"),
                ("v2/r/req/p/+", "v2/r/req/p/", "v2/r/res/p/")):
            client = self.device()
            client.subscribe(filter_)
            wait_for(lambda: self.cloud.is_subscribed("d", filter_), 5)
            pending = self.cloud.rpc_begin("d", "reboot", 5)
            got_topic, body = client.wait_received(1)[0]
            self.assertEqual((got_topic, wire(body)[1], wire(body)[3]),
                             (topic + str(pending.request_id), [b"reboot"], [b"5"]))
            client.publish(response + str(pending.request_id), field(1, '{"ok":1}'))
            self.assertEqual(pending.wait(5), {"ok": 1})
            self.cloud.answer_client_rpc("getTime", {"time": 1})
            client.publish(topic + "8", field(1, "getTime") + field(2, "{}"))
            self.assertEqual(wire(client.wait_received(2)[1][1]), {1: [8], 2: [b'{"time":1}']})
            client.close()
            wait_for(lambda: not self.cloud.is_connected("d"), 5)

    def test_attributes_down(self):
        client = self.device("G")
        client.is_acked(client.publish("v1/gateway/connect", field(1, "a")))
        wait_for(lambda: self.cloud.is_connected("a"), 5)
        self.cloud.set_shared("a", {"i": 15, "s": "x", "d": 1.5, "b": True, "o": [1]})
        self.cloud.delete_shared("a", "s")
        client.publish("v1/gateway/attributes/request",
                       field(1, 3) + field(2, "a") + repeated(4, ["i", "none"]))
        update, deletion, answer = [wire(body) for _, body in client.wait_received(3)]
        self.assertEqual([wire(wire(one)[2][0]) for one in wire(update[2][0])[1]], [
            {1: [b"i"], 2: [1], 4: [15]}, {1: [b"s"], 2: [3], 6: [b"x"]}, {1: [b"d"], 2: [2], 5: [1.5]},
            {1: [b"b"], 3: [1]}, {1: [b"o"], 2: [4], 7: [b"[1]"]}])
        self.assertEqual((deletion[1], wire(deletion[2][0])), ([b"a"], {2: [b"s"]}))
        found = wire(answer[2][0])
        self.assertEqual((answer[1], found[1], found[4], list(found)), ([b"a"], [3], [1], [1, 3, 4]))
        self.assertEqual(wire(wire(found[3][0])[2][0]), {1: [b"i"], 2: [1], 4: [15]})

        device = self.device()
        self.cloud.set_shared("d", {"c": 5})
        device.publish("v1/devices/me/attributes/request/9", field(1, "a") + field(2, "c"))
        topic, body = device.wait_received(1)[0]
        self.assertEqual((topic, wire(body)[1], sorted(wire(body))),
                         ("v1/devices/me/attributes/response/9", [9], [1, 3, 4]))

    def test_a_malformed_payload_on_5_leaves_the_connection(self):
        client = self.device(version=paho.MQTTv5)
        self.assertTrue(client.is_acked(client.publish("v1/devices/me/telemetry", varint(2 ** 40) + b"\x07")))
        self.assertTrue(client.is_acked(client.publish("v1/devices/me/telemetry", field(1, 1.0))))
        self.assertIsNone(client.gone)
        self.assertEqual(self.cloud.values("temperature"), [1.0])


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    unittest.main(verbosity=2)
