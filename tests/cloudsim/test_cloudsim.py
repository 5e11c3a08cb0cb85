#!/usr/bin/python3
"""The stand-in clouds keep the rules they were written from. An independent client plays the gateway."""
import os
import subprocess
import sys
import threading
import unittest

import paho.mqtt.client as paho

from cloudsim import wait_for
from paho_client import Client, StandInTest
from scripted_broker import Publish, Script, ScriptedBroker


class ThingsBoardTest(StandInTest):
    def test_a_token_logs_in_and_another_does_not(self):
        self.assertEqual(self.client().connack, 0)
        self.assertEqual(self.client(username="WRONG").connack, 5)
        self.assertEqual(self.client(username="WRONG", version=paho.MQTTv5).connack, 0x87)

    def test_basic_credentials_must_all_match(self):
        cloud = self.begin(name="basic", devices=[{"name": "g", "gateway": True, "basic": {
            "client_id": "c", "username": "u", "password": "p"}}])
        for client_id, username, password, code in (
                ("c", "u", "p", 0), ("x", "u", "p", 5), ("c", "u", "x", 5), ("c", "x", "p", 5)):
            client = self.client(port=cloud.port, client_id=client_id, username=username, password=password)
            self.assertEqual(client.connack, code, (client_id, username, password))

    def test_filters_are_matched_as_strings(self):
        for version, refused in ((paho.MQTTv311, 0x80), (paho.MQTTv5, 0x87)):
            client = self.client(version=version)
            for topic in ("v1/gateway/attributes", "v1/gateway/rpc", "v1/devices/me/rpc/request/+"):
                self.assertEqual(client.subscribe(topic), 1, topic)
            for topic in ("#", "v1/gateway/#", "v1/gateway/telemetry", "v1/devices/me/rpc/request/1"):
                self.assertEqual(client.subscribe(topic), refused, topic)

    def test_what_is_acknowledged_is_on_record(self):
        client = self.client()
        mid = client.publish("v1/gateway/connect", {"device": "pump 4", "type": "pump"})
        self.assertTrue(client.is_acked(mid))
        for i in range(10):
            mid = client.publish("v1/gateway/telemetry",
                                 {"pump 4": [{"ts": 1718000000000 + i, "values": {"n": i}}]})
        self.assertTrue(client.is_acked(mid))
        self.cloud.kill()
        self.assertEqual(self.cloud.samples(), [("pump 4", 1718000000000 + i, "n", i) for i in range(10)])
        self.assertEqual(self.cloud.devices(), {"pump 4": "pump"})
        self.assertEqual((self.cloud.complaints(), self.cloud.duplicates(), self.cloud.disorder("n")), ([], 0, []))

    def test_gateway_payloads_that_are_taken(self):
        client = self.client(version=paho.MQTTv5)
        for topic, payload in (
                ("connect", {"device": "a"}),
                ("telemetry", {"a": [{"p": 2.5}]}),
                ("telemetry", {"a": [{"ts": 1718000000123, "values": {"p": 1}}], "b": [{"q": 1}]}),
                ("attributes", {"a": {"serial": "X-9"}}),
                ("disconnect", {"device": "a"}),
                ("rpc", {"device": "a", "id": 0, "data": {"ok": True}})):
            self.assertTrue(client.is_acked(client.publish("v1/gateway/" + topic, payload)))
        wait_for(lambda: len(self.cloud.events("publish")) == 6)
        self.assertEqual(self.cloud.events("rejected"), [])
        self.assertIsNone(client.gone)

    def test_gateway_payloads_that_close_the_connection_on_3_1_1(self):
        for topic, payload, why in (
                ("telemetry", "not json", "malformed"),
                ("telemetry", b'{"a":[{"x":"\xff"}]}', "malformed"),
                ("telemetry", [1], "nothing usable"),
                ("telemetry", {"a": {"p": 1}}, "nothing usable"),
                ("telemetry", {"a": []}, "never acknowledged"),
                ("telemetry", {"a": [1]}, "malformed"),
                ("telemetry", {"a": [{"ts": None, "values": {"p": 1}}]}, "the server trips over it"),
                ("telemetry", {"a": [{"ts": "2024-06-10T06:13:20Z", "values": {"p": 1}}]},
                 "the server trips over it"),
                ("attributes", {"a": [1]}, "nothing usable"),
                ("connect", {"type": "pump"}, "nothing usable"),
                ("attributes/request", {"id": 1, "device": "a", "client": ["x"]}, "nothing usable"),
                ("rpc", {"device": "a", "id": 1}, "nothing usable"),
                ("telemetry", {"a": [{"x": "y" * 66000}]}, "too large")):
            with self.subTest(topic=topic, why=why):
                client = self.client()
                client.publish("v1/gateway/" + topic, payload)
                wait_for(lambda: client.gone is not None, 5, "the connection closed")
                self.assertEqual(self.cloud.events("rejected")[-1]["why"], why)

    def test_a_gateway_publish_needs_qos_1_and_a_gateway(self):
        cloud = self.begin(name="plain", devices=[{"name": "d", "token": "T"}])
        client = self.client(port=cloud.port, username="T")
        self.assertTrue(client.is_acked(client.publish("v1/devices/me/telemetry", {"a": 1})))
        client.publish("v1/gateway/telemetry", {"a": [{"x": 1}]})
        wait_for(lambda: client.gone is not None, 5, "the connection closed")
        client = self.client()
        client.publish("v1/gateway/telemetry", {"a": [{"x": 1}]}, qos=0)
        wait_for(lambda: client.gone is not None, 5, "the connection closed")

    def test_a_malformed_payload_on_5_is_refused_and_the_connection_stays(self):
        client = self.client(version=paho.MQTTv5)
        self.assertTrue(client.is_acked(client.publish("v1/gateway/telemetry", "not json")))
        self.assertTrue(client.is_acked(client.publish("v1/gateway/telemetry", {"a": [{"x": 1}]})))
        self.assertIsNone(client.gone)
        self.assertEqual(self.cloud.events("rejected")[0]["answer"], "PUBACK 0x87")
        self.assertEqual(self.cloud.values("x"), [1])

    def test_what_the_server_would_store_differently_is_suspect(self):
        client = self.client()
        for body, words in (
                ('{"a":[{"x":NaN}]}', "NaN"),
                ('{"a":[{"x":null}]}', "null"),
                ('{"a":[{}]}', "no values"),
                ('{"a":[{"x":1e5}]}', "exponent"),
                ('{"a":[{"x":0.30000000000000004}]}', "16 decimals"),
                ('{"a":[{"ts":1718000000,"values":{"x":1}}]}', "seconds"),
                ('{"a":[{"values":{"x":1}}]}', "ts without values"),
                ('{"a":{"x":1},"b":[{"x":1}]}', "not an array")):
            self.assertTrue(client.is_acked(client.publish("v1/gateway/telemetry", body)), body)
            self.assertIn(words, self.cloud.events("suspect")[-1]["why"])

    def test_the_newest_login_of_a_device_wins(self):
        for version in (paho.MQTTv311, paho.MQTTv5):
            first = self.client(client_id="one", version=version)
            second = self.client(client_id="two", version=version)
            wait_for(lambda: first.gone is not None, 5, "the older one closed")
            self.assertIsNone(second.gone)

    def test_attributes_do_not_come_back_and_requests_are_answered(self):
        self.cloud.set(shared={"a": {"interval": 15}})
        client = self.client()
        for topic in ("v1/gateway/attributes", "v1/gateway/attributes/response", "v1/devices/me/rpc/response/+"):
            client.subscribe(topic)
        client.publish("v1/gateway/attributes", {"a": {"serial": "X-9"}})
        client.publish("v1/gateway/attributes/request", {"id": 7, "device": "a", "client": False, "key": "interval"})
        client.publish("v1/gateway/attributes/request", {"id": 8, "device": "a", "client": False, "key": "none"})
        client.publish("v1/devices/me/rpc/request/3", {"method": "getSessionLimits", "params": {}})
        wait_for(lambda: len(client.received) == 3, 5, "three answers")
        self.assertEqual(client.received[:2], [
            ("v1/gateway/attributes/response", {"id": 7, "device": "a", "value": 15}),
            ("v1/gateway/attributes/response", {"id": 8, "device": "a"})])
        self.assertEqual(client.received[2][0], "v1/devices/me/rpc/response/3")
        self.assertIn("gatewayRateLimits", client.received[2][1])
        self.cloud.push("v1/gateway/rpc", '{"device":"a","data":{"id":0,"method":"m","params":null}}')
        wait_for(lambda: len(client.received) == 4, 5, "the command")
        self.assertEqual(self.cloud.attributes(), {"a": {"serial": "X-9"}})

    def test_faults_can_be_switched(self):
        self.cloud.set(refuse="credentials")
        self.assertEqual(self.client().connack, 5)
        self.cloud.set(refuse="silent")
        client = self.client()
        self.assertIsNone(client.connack)
        self.cloud.set(refuse="", drop_at=2)
        client = self.client()
        self.assertTrue(client.is_acked(client.publish("v1/gateway/telemetry", {"a": [{"x": 1}]})))
        self.assertFalse(client.is_acked(client.publish("v1/gateway/telemetry", {"a": [{"x": 2}]})))
        self.assertEqual(self.cloud.values("x"), [1])
        self.cloud.set(lose_ack_at=1)
        client = self.client()
        self.assertFalse(client.is_acked(client.publish("v1/gateway/telemetry", {"a": [{"x": 2}]})))
        self.assertEqual(self.cloud.values("x"), [1, 2])
        self.cloud.set(refuse_new_devices=True)
        client = self.client()
        self.assertTrue(client.is_acked(client.publish("v1/gateway/telemetry", {"b": [{"x": 3}]})))
        self.assertTrue(client.is_acked(client.publish("v1/gateway/telemetry", {"a": [{"x": 4}]})))
        self.assertEqual(self.cloud.values("x"), [1, 2, 4])
        self.cloud.set(poison="evil")
        self.assertFalse(client.is_acked(client.publish("v1/gateway/telemetry", {"a": [{"evil": 3}]})))
        self.cloud.kick()

    def test_a_rate_limit_closes_the_connection(self):
        self.cloud.set(messages_per_s=5)
        client = self.client()
        for i in range(20):
            client.publish("v1/gateway/telemetry", {"a": [{"x": i}]})
        wait_for(lambda: client.gone is not None, 5, "the connection closed")
        self.assertLess(len(client.acks), 20)
        self.assertIn(len(self.cloud.values("x")), range(max(5, len(client.acks)), 10))

    def test_an_outage_refuses_and_keeps_devices(self):
        client = self.client()
        client.is_acked(client.publish("v1/gateway/connect", {"device": "a", "type": "t"}))
        self.cloud.outage()
        wait_for(lambda: client.gone is not None, 5, "the connection closed")
        with self.assertRaises(ConnectionRefusedError):
            Client(self.cloud.port)
        self.cloud.resume()
        self.cloud.set(refuse_new_devices=True)
        client = self.client()
        client.is_acked(client.publish("v1/gateway/telemetry", {"a": [{"x": 1}]}))
        self.assertEqual(self.cloud.values("x"), [1])

    def test_a_certificate_is_the_identity(self):
        run = lambda *words: subprocess.run(("openssl",) + words, cwd=self.directory, check=True,
                                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout", "key.pem", "-out", "cert.pem")
        print_ = run("x509", "-in", "cert.pem", "-noout", "-fingerprint", "-sha256").decode()
        path = lambda name: os.path.join(self.directory, name)
        cloud = self.begin(name="x509", devices=[{"name": "g", "gateway": True, "certificate_sha256":
                                                  print_.split("=")[1].strip().replace(":", "").lower()}],
                           tls={"ca": path("cert.pem"), "certificate": path("cert.pem"),
                                "key": path("key.pem"), "require": True})
        done = threading.Event()
        mqtt = paho.Client("x")
        mqtt.tls_set(path("cert.pem"), path("cert.pem"), path("key.pem"))
        mqtt.on_connect = lambda c, u, f, code: code == 0 and done.set()
        mqtt.connect("localhost", cloud.port)
        mqtt.loop_start()
        self.addCleanup(mqtt.loop_stop)
        self.assertTrue(done.wait(5))
        mqtt.disconnect()


class ScriptedBrokerTest(unittest.TestCase):
    def serve(self, script=None):
        server = ScriptedBroker(script).start()
        self.addCleanup(server.stop)
        return server

    def client(self, server, **how):
        client = Client(server.port, **how)
        self.addCleanup(client.close)
        return client

    def test_it_talks_both_versions_and_logs_what_came(self):
        server = self.serve()
        for version in (paho.MQTTv311, paho.MQTTv5):
            client = self.client(server, version=version)
            self.assertEqual(client.connack, 0)
            self.assertEqual(client.subscribe("a/+"), 1)
            self.assertTrue(client.is_acked(client.publish("t/1", {"a": 1})))
            server.call(lambda: server.connections[-1].publish("a/1", '{"b":2}'))
            wait_for(lambda: client.received == [("a/1", {"b": 2})], 5, "the message")
            client.close()
        self.assertEqual([(p.topic, p.payload, p.qos) for p in server.packets(Publish)], [("t/1", b'{"a": 1}', 1)] * 2)
        self.assertEqual(server.errors, [])

    def test_a_script_decides_about_codes(self):
        class Refuse(Script):
            def on_connect(self, c, connect):
                c.connack(1 if connect.version == 5 else 0)

            def on_publish(self, c, publish):
                c.close()
        server = self.serve(Refuse())
        self.assertNotEqual(self.client(server, version=paho.MQTTv5).connack, 0)
        client = self.client(server)
        self.assertFalse(client.is_acked(client.publish("t/1", "x")))


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    unittest.main(verbosity=2)
