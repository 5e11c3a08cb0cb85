#!/usr/bin/python3
"""Packages and the REST side of ThingsBoard's stand-in."""
import json
import sys
import unittest
import urllib.error
import urllib.request

import paho.mqtt.client as paho

from cloudsim import wait_for
from paho_client import StandInTest
from thingsboard.checksums import ALGORITHMS, checksum

IMAGE = bytes(i * 7 % 251 for i in range(5000))
OWN = "the gateway"
UPDATES = "v1/devices/me/attributes"


def fetch(url, headers=None, method="GET", body=None):
    """(status, body) of one request; the body as far as it came."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, dict(headers or {}), method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


class ChecksumTest(unittest.TestCase):
    def test_known_answers(self):
        fox = b"The quick brown fox jumps over the lazy dog"
        for algorithm, digest in (
                ("MD5", "9e107d9d372bb6826bd81d3542a419d6"),
                ("SHA256", "d7a8fbb307d7809469ca9abcb0082e4f8d5651e46d3cdb762d02d0bf37c9e592"),
                ("CRC32", "39a34f41"), ("MURMUR3_32", "23f74f2e"),
                ("MURMUR3_128", "6c1b07bc7bbc4be347939ac4a93c437a")):
            self.assertEqual(checksum(algorithm, fox), digest, algorithm)
        self.assertEqual(len(checksum("SHA384", fox)), 96)
        self.assertEqual(len(checksum("SHA512", fox)), 128)
        self.assertEqual((checksum("MURMUR3_32", b""), checksum("MURMUR3_32", b"test")), ("00000000", "13d26bba"))
        self.assertEqual(checksum("MURMUR3_128", b""), "00" * 16)


class PackageTest(StandInTest):
    def device(self, **how):
        client = self.client(**how)
        client.subscribe(UPDATES)
        for kind in ("fw", "sw"):
            client.subscribe("v2/%s/response/+/chunk/+" % kind)
        client.subscribe("v2/fw/error")
        wait_for(lambda: self.cloud.is_subscribed(OWN, UPDATES), 5)
        return client

    def chunk(self, client, number, chunk, size="", kind="fw"):
        n = len(client.received)
        client.publish("v2/%s/request/%d/chunk/%d" % (kind, number, chunk), str(size))
        topic, body = client.wait_received(n + 1)[n]
        self.assertEqual(topic, "v2/%s/response/%d/chunk/%d" % (kind, number, chunk))
        return body if isinstance(body, bytes) else str(body).encode()

    def test_an_assignment_is_told_by_attributes_after_a_deletion(self):
        for algorithm in ALGORITHMS:
            client = self.device()
            self.cloud.assign_firmware(OWN, "A", "2", IMAGE, algorithm)
            self.assertEqual(client.wait_received(2), [
                (UPDATES, {"deleted": ["fw_url", "fw_tag"]}),
                (UPDATES, {"fw_title": "A", "fw_version": "2", "fw_size": 5000, "fw_checksum_algorithm": algorithm,
                           "fw_checksum": checksum(algorithm, IMAGE)})])
            client.close()
            wait_for(lambda: not self.cloud.is_connected(OWN), 5)
        client = self.device()
        self.cloud.assign_software(OWN, "B", "1", IMAGE, tag="B-1")
        self.assertEqual(client.wait_received(2)[0], (UPDATES, {"deleted": ["sw_url"]}))
        self.assertEqual(client.received[1][1]["sw_tag"], "B-1")
        self.cloud.unassign(OWN, "sw")
        self.assertEqual(len(client.wait_received(3)[2][1]["deleted"]), 9)
        self.assertEqual([key for key in self.cloud.shared(OWN) if key.startswith("sw_")], [])

    def test_a_sub_device_is_told_through_its_gateway(self):
        client = self.client()
        client.connect_device("a")
        wait_for(lambda: self.cloud.is_connected("a"), 5)
        self.cloud.assign_firmware("a", "A", "2", IMAGE, url=True)
        deleted, update = [body for _, body in client.wait_received(2)]
        self.assertEqual(deleted, {"device": "a", "data": {"deleted": ["fw_tag"]}})
        self.assertEqual(fetch(update["data"]["fw_url"]), (200, IMAGE))

    def test_chunks(self):
        self.cloud.assign_firmware(OWN, "A", "2", IMAGE)
        self.cloud.assign_software(OWN, "B", "1", b"software")
        for version in (paho.MQTTv311, paho.MQTTv5):
            client = self.device(version=version)
            self.assertEqual(self.chunk(client, 1, 0, 4096), IMAGE[:4096])
            self.assertEqual(self.chunk(client, 1, 1), IMAGE[4096:])   # the size is remembered
            self.assertEqual(self.chunk(client, 1, 2), b"")
            self.assertEqual(self.chunk(client, 2, 0), IMAGE)          # never given: all of it
            self.assertEqual(self.chunk(client, 3, 0, 3, kind="sw"), b"sof")
            # A number belongs to the package it was first used for, even on the other's topic.
            self.assertEqual(self.chunk(client, 1, 0, 10, kind="sw"), IMAGE[:10])
            self.assertEqual(self.chunk(client, 3, 1, kind="fw"), b"twa")
            client.close()

    def test_a_large_image_comes_in_one_message(self):
        image = bytes(200000)
        self.cloud.assign_firmware(OWN, "A", "2", image)
        self.assertEqual(self.chunk(self.device(), 1, 0), image)

    def test_errors_close_the_connection(self):
        client = self.device()
        for size, kind, text in ((65537, "fw", b"PAYLOAD_TOO_LARGE"), (10, "fw", b"NOT_FOUND"),
                                 (10, "sw", b"FAILURE")):
            if kind == "sw":
                self.cloud.assign_software(OWN, "B", "1", b"x", url="http://example.net/x")
                client.wait_received(2)
                client.received.clear()
            client.publish("v2/%s/request/1/chunk/0" % kind, str(size))
            client.wait_gone()
            self.assertEqual(client.received, [("v2/fw/error", text)])
            client = self.device()
        client.publish("v2/fw/request/1/chunk/0", "many")
        client.wait_gone()
        self.assertEqual(client.received, [])

    def test_faults_of_a_download_over_mqtt(self):
        client = self.device()
        package = self.cloud.assign_firmware(OWN, "A", "2", IMAGE, fault={"checksum": True, "size": 7})
        told = client.wait_received(2)[1][1]
        self.assertEqual(told["fw_size"], 7)
        self.assertNotEqual(told["fw_checksum"], checksum("SHA256", IMAGE))
        package.fault = {"cut_at_chunk": 1, "corrupt_chunk": 2}
        self.assertEqual(self.chunk(client, 1, 0, 1000), IMAGE[:1000])
        client.publish("v2/fw/request/1/chunk/1", "")
        client.wait_gone()
        client = self.device()
        self.assertEqual(self.chunk(client, 1, 1, 1000), IMAGE[1000:2000])
        got = self.chunk(client, 1, 2)
        self.assertEqual((len(got), got[1:]), (1000, IMAGE[2001:3000]))
        self.assertNotEqual(got[0], IMAGE[2000])
        package.fault = {"silent_at_chunk": 3, "error_at_chunk": 4}
        client.publish("v2/fw/request/1/chunk/3", "")
        self.assertEqual(self.chunk(client, 1, 3), IMAGE[3000:4000])
        client.publish("v2/fw/request/1/chunk/4", "")
        client.wait_gone()
        self.assertEqual(client.received[-1], ("v2/fw/error", b"FAILURE"))
        with self.assertRaises(ValueError):
            self.cloud.assign_firmware(OWN, "A", "2", IMAGE, fault={"nonsense": 1})

    def url(self, **fault):
        return self.cloud.assign_firmware(OWN, "A", "2", IMAGE, url=True, fault=fault).url

    def test_http_knows_ranges(self):
        url = self.url()
        self.assertEqual(fetch(url), (200, IMAGE))
        self.assertEqual(fetch(url, {"Range": "bytes=4096-"}), (206, IMAGE[4096:]))
        self.assertEqual(fetch(url, {"Range": "bytes=10-19"}), (206, IMAGE[10:20]))
        self.assertEqual(fetch(url, {"Range": "bytes=-10"}), (206, IMAGE[-10:]))
        self.assertEqual(fetch(url, {"Range": "bytes=4096-", "If-Range": '"other"'}), (200, IMAGE))
        self.assertEqual(fetch(url, {"Range": "bytes=5000-"})[0], 416)
        self.assertEqual([status for _, _, status in self.cloud.package_requests()], [200, 206, 206, 206, 200, 416])
        self.assertEqual(fetch(self.url(no_range=True), {"Range": "bytes=4096-"}), (200, IMAGE))

    def test_faults_of_a_download_over_http(self):
        self.assertEqual(fetch(self.url(status=404))[0], 404)
        self.assertEqual(fetch(self.url(status=503))[0], 503)
        got = fetch(self.url(corrupt_at=7))[1]
        self.assertEqual([i for i in range(5000) if got[i] != IMAGE[i]], [7])
        self.assertEqual(len(fetch(self.url(length=4000))[1]), 4000)
        url = self.url(cut_at=1000)
        with self.assertRaises(Exception) as caught:  # http.client.IncompleteRead
            fetch(url)
        self.assertEqual(len(caught.exception.partial), 1000)
        self.assertEqual(fetch(url, {"Range": "bytes=1000-"}), (206, IMAGE[1000:]))
        self.assertEqual(fetch(self.url(delay_s=0.1)), (200, IMAGE))
        self.assertEqual(fetch(url.replace("/1/", "/99/").replace("/5/", "/99/"))[0], 404)

    def test_the_devices_http_api_serves_it_too(self):
        self.cloud.assign_firmware(OWN, "A", "2", IMAGE)
        url = self.cloud.rest_url + "/api/v1/%s/firmware?title=A&version=2" % self.cloud.TOKEN
        self.assertEqual(fetch(url), (200, IMAGE))
        self.assertEqual(fetch(url + "&size=4096&chunk=1"), (200, IMAGE[4096:]))
        self.assertEqual(fetch(url.replace("version=2", "version=3"))[0], 404)
        self.assertEqual(fetch(url.replace(self.cloud.TOKEN, "x"))[0], 401)

    def test_states_are_read_from_telemetry(self):
        client = self.client()
        for state in ("DOWNLOADING", "FAILED"):
            client.is_acked(client.publish("v1/devices/me/telemetry", {"fw_state": state}))
        self.assertEqual(self.cloud.ota_states(OWN), ["DOWNLOADING", "FAILED"])


class RestTest(StandInTest):
    def setUp(self):
        super().setUp()
        self.token = self.post("/api/auth/login", {"username": "tenant@thingsboard.org", "password": "tenant"},
                               headers={})[1]["token"]

    def ask(self, method, path, body=None, headers=None):
        if headers is None:
            headers = {"X-Authorization": "Bearer " + self.token}
        status, text = fetch(self.cloud.rest_url + path, headers, method, body)
        return status, json.loads(text) if text else None

    def get(self, path, **how):
        return self.ask("GET", path, **how)

    def post(self, path, body, **how):
        return self.ask("POST", path, body, **how)

    def device(self, name="a", answer=None):
        client = self.client()
        if answer:
            client.answer_commands(answer)
        client.connect_device(name)
        wait_for(lambda: self.cloud.is_connected(name), 5)
        return client, self.get("/api/tenant/devices?deviceName=" + name)[1]["id"]["id"]

    def test_it_wants_a_login(self):
        self.assertEqual(self.post("/api/auth/login", {"username": "x", "password": "y"}, headers={})[0], 401)
        for headers in ({}, {"X-Authorization": "Bearer x"}, {"X-Authorization": self.token}):
            self.assertEqual(self.get("/api/tenant/devices?deviceName=a", headers=headers)[0], 401)
        self.assertEqual(self.get("/api/tenant/devices?deviceName=a")[0], 404)
        self.assertEqual(self.get("/api/nonsense")[0], 404)
        self.assertEqual(self.post("/api/rpc/oneway/" + self.device()[1], [1])[0], 400)

    def test_commands(self):
        _, id_ = self.device(answer=lambda method, params: {"did": method, "with": params})
        body = {"method": "start", "params": {"rpm": 900}}
        for family in ("/api/rpc/", "/api/plugins/rpc/"):
            self.assertEqual(self.post(family + "twoway/" + id_, body), (200, {"did": "start", "with": {"rpm": 900}}))
            self.assertEqual(self.post(family + "oneway/" + id_, body), (200, None))
        self.assertEqual(self.post("/api/rpc/twoway/" + id_, {"params": 1})[0], 400)
        self.assertEqual(self.post("/api/rpc/twoway/00000000-0000-0000-0000-000000000000", body)[0], 404)

    def test_commands_without_a_reply(self):
        self.cloud.set_rest(min_timeout_ms=100)
        _, id_ = self.device()
        body = {"method": "start", "params": {}, "timeout": 100}
        self.assertEqual(self.post("/api/rpc/twoway/" + id_, body)[0], 504)
        self.assertEqual(self.post("/api/plugins/rpc/twoway/" + id_, body)[0], 408)
        self.cloud.expire("a")
        self.assertEqual(self.post("/api/rpc/twoway/" + id_, body)[0], 504)
        self.assertEqual(self.post("/api/plugins/rpc/twoway/" + id_, body)[0], 409)
        self.assertEqual(self.post("/api/plugins/rpc/oneway/" + id_, body)[0], 409)

    def test_persistent_commands(self):
        client, id_ = self.device()
        rpc = self.post("/api/rpc/twoway/" + id_, {"method": "m", "params": 1, "persistent": True})[1]["rpcId"]
        path = "/api/rpc/persistent/" + rpc
        wait_for(lambda: self.get(path)[1]["status"] == "DELIVERED", 5)
        client.publish("v1/gateway/rpc", {"device": "a", "id": 0, "data": {"ok": True}})
        wait_for(lambda: self.get(path)[1]["status"] == "SUCCESSFUL", 5)
        self.assertEqual(self.get(path)[1]["response"], {"ok": True})
        self.assertEqual(self.get(path[:-1] + ("0" if path[-1] != "0" else "1"))[0], 404)

    def test_attributes(self):
        client, id_ = self.device()
        base = "/api/plugins/telemetry/DEVICE/" + id_
        self.assertEqual(self.post(base + "/SHARED_SCOPE", {"interval": 5})[0], 200)
        self.assertEqual(self.post(base + "/attributes/SHARED_SCOPE", {"mode": "x"})[0], 200)
        self.assertEqual(self.ask("DELETE", base + "/SHARED_SCOPE?keys=interval")[0], 200)
        self.assertEqual([body["data"] for _, body in client.wait_received(3)],
                         [{"interval": 5}, {"mode": "x"}, {"deleted": ["interval"]}])
        client.is_acked(client.publish("v1/gateway/attributes", {"a": {"serial": "X-9"}}))
        wait_for(lambda: self.cloud.client_attributes("a"), 5)
        show = lambda answer: {item["key"]: item["value"] for item in answer[1]}
        self.assertEqual(show(self.get(base + "/values/attributes")), {"serial": "X-9", "mode": "x"})
        self.assertEqual(show(self.get(base + "/values/attributes/SHARED_SCOPE")), {"mode": "x"})
        self.assertEqual(show(self.get(base + "/values/attributes?keys=serial,none")), {"serial": "X-9"})
        self.assertEqual(self.post(base + "/CLIENT_SCOPE", {"a": 1})[0], 400)
        self.assertEqual(self.ask("DELETE", base + "/SHARED_SCOPE")[0], 400)

    def test_telemetry_as_the_server_stores_it(self):
        client, id_ = self.device()
        ts = 1718000000000
        body = ('{"a":[{"ts":%d,"values":{"d":42.0,"l":9223372036854775807,"u":18446744073709551615,"e":1e5,'
                '"p":0.30000000000000004,"z":"0012","s":"+5","b":true,"o":{"x":1.5},"n":null}},'
                '{"ts":%d,"values":{"l":2}}]}' % (ts, ts + 10))
        client.is_acked(client.publish("v1/gateway/telemetry", body))
        base = "/api/plugins/telemetry/DEVICE/%s/values/timeseries" % id_
        got = self.get(base + "?useStrictDataTypes=true&startTs=%d&endTs=%d" % (ts, ts + 1))[1]
        self.assertEqual({key: points[0]["value"] for key, points in got.items()}, {
            "d": 42.0, "l": 9223372036854775807, "u": "18446744073709551615", "e": 100000,
            "p": "0.30000000000000004", "z": 12, "s": "+5", "b": True, "o": {"x": 1.5}})
        self.assertIsInstance(got["d"][0]["value"], float)
        self.assertEqual(self.get(base + "?startTs=soon")[0], 400)
        self.assertEqual(self.get(base + "?keys=l")[1], {"l": [{"ts": ts + 10, "value": "2"}]})
        self.assertEqual(self.get(base + "?keys=l,b&startTs=%d&endTs=%d" % (ts, ts + 100))[1], {
            "l": [{"ts": ts + 10, "value": "2"}, {"ts": ts, "value": "9223372036854775807"}],
            "b": [{"ts": ts, "value": "true"}]})

    def test_a_device_is_deleted(self):
        client, id_ = self.device()
        client.subscribe("v1/devices/me/rpc/request/+")
        wait_for(lambda: self.cloud.is_subscribed(OWN, "v1/devices/me/rpc/request/+"), 5)
        self.assertEqual(self.ask("DELETE", "/api/device/" + id_)[0], 200)
        self.assertEqual(client.wait_received(1)[0][1], {"method": "gateway_device_deleted", "params": "a"})
        self.assertEqual(self.get("/api/device/" + id_)[0], 404)


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    unittest.main(verbosity=2)
