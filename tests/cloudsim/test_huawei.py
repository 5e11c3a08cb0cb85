#!/usr/bin/python3
"""The stand-in for Huawei Cloud IoTDA behaves as its documentation says. An independent client plays the gateway."""
import gzip
import json
import sys
import threading
import time
import unittest
import urllib.error
import urllib.request

from cloudsim import Huawei, wait_for
from huawei import GATEWAY, SECRET, CommandError, login
from huawei.cloud import PROJECT_ID
from paho_client import Client

PUMP, VALVE = "p1_pump-01", "p1_valve-02"
SYS = "$oc/devices/%s/sys/" % GATEWAY
REPORT, SUB_REPORT = SYS + "properties/report", SYS + "gateway/sub_devices/properties/report"


def services(**properties):
    return [{"service_id": "env", "properties": properties, "event_time": "20260315T092653Z"}]


class HuaweiTest(unittest.TestCase):
    def setUp(self):
        self.cloud = self.begin(sub_devices=[PUMP, VALVE])

    def begin(self, **how):
        cloud = Huawei(**how)
        self.addCleanup(cloud.stop)
        return cloud.start()

    def client(self, cloud=None, device_id=GATEWAY, secret=SECRET, timestamp=None, signature="0", **how):
        timestamp = timestamp or login.hour()
        how = dict({"username": device_id, "password": login.password(secret, timestamp, signature),
                    "client_id": login.client_id(device_id, timestamp, signature)}, **how)
        client = Client((cloud or self.cloud).port, **how)
        self.addCleanup(client.close)
        return client

    def suspicions(self):
        return [e["why"] for e in self.cloud.events("suspect")]

    def accept(self, client, topic, body):
        self.assertTrue(client.is_acked(client.publish(topic, body)), topic)

    def answer_commands(self, client, answer):
        """Reply to each command with @answer(body)."""
        def react(topic, body):
            if "/commands/request_id=" in topic:
                client.publish(topic.replace("/commands/", "/commands/response/"), answer(body))
        client.on_message = react
        return client

    def post(self, device, body, headers=None, path="/v5/iot/%s/devices/%s/commands", project=PROJECT_ID):
        """(status, parsed body)"""
        request = urllib.request.Request(
            self.cloud.rest_url + path % (project, device), json.dumps(body).encode(),
            dict({"X-Auth-Token": self.cloud.rest_token, "Content-Type": "application/json"}, **(headers or {})))
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)


class Uplink(HuaweiTest):
    def test_reports_of_the_gateway_and_of_sub_devices_are_stored(self):
        client = self.client()
        self.accept(client, REPORT, {"services": services(temperature=21.5, running=True)})
        self.accept(client, SUB_REPORT + "?request_id=7", {"devices": [
            {"device_id": PUMP, "services": services(n=1)},
            {"device_id": VALVE, "services": [{"service_id": "cfg", "properties": {"n": 2},
                                               "event_time": "2026-03-15T09:26:53.589Z"}]}]})
        self.accept(client, SUB_REPORT + "?encoding=gzip", gzip.compress(json.dumps(
            {"devices": [{"device_id": PUMP, "services": services(n=3)}]}).encode()))
        ms = 1773566813000
        self.assertEqual(self.cloud.samples(), [
            (GATEWAY, ms, "temperature", 21.5), (GATEWAY, ms, "running", True), (PUMP, ms, "n", 1),
            (VALVE, ms + 589, "n", 2), (PUMP, ms, "n", 3)])
        self.assertEqual([r.service for r in self.cloud.readings()], ["env", "env", "cfg", "env"])
        self.assertEqual((self.cloud.values("n", PUMP), self.cloud.duplicates(), self.cloud.disorder("n"),
                          self.cloud.complaints()), ([1, 3], 0, [], []))

    def test_what_cannot_be_stored_is_acknowledged_and_pointed_out(self):
        client = self.client()
        sub = lambda **device: {"devices": [device]}
        for topic, body, why in (
                (REPORT, "no JSON", "not JSON"),
                (REPORT, '{"services": [{"service_id": "env", "properties": {"n": NaN}}]}', "not JSON"),
                (REPORT, {"services": []}, "no services of " + GATEWAY),
                (REPORT, {"services": [{"properties": {"n": 1}}]}, "no service_id or properties of " + GATEWAY),
                (SUB_REPORT, {"devices": []}, "no devices"),
                (SUB_REPORT, sub(device_id="p1_x", services=services(n=1)), "not a sub-device: p1_x"),
                (SUB_REPORT, sub(device_id=["p1_x"], services=services(n=1)), "not a sub-device: ['p1_x']"),
                (SUB_REPORT, sub(device_id=PUMP), "no services of " + PUMP),
                (SUB_REPORT, {"devices": [{"device_id": PUMP, "services": services(n=1)}] * 101},
                 "more than 100 devices"),
                (REPORT, {"services": services(n="x" * 65536)}, "properties of more than 64 KB"),
                (REPORT + "?encoding=gzip", {"services": services(n=1)}, "not gzip"),
                (SYS + "events/up", {"services": [1]}, "an event without services or paras")):
            self.accept(client, topic, body)
            self.assertEqual(self.suspicions()[-1], why)
        self.assertEqual(self.cloud.samples(), [])

    def test_an_id_that_stands_for_two_things_is_noticed_and_one_that_comes_again_is_not(self):
        client = self.client()
        event = {"services": [{"service_id": "env", "event_type": "hot", "event_id": "1", "paras": {"t": 1}}]}
        other = {"services": [{"service_id": "env", "event_type": "hot", "event_id": "1", "paras": {"t": 2}}]}
        for topic, first, second, kind in (
                ("messages/up", {"name": "log", "id": "1", "content": "a"}, {"name": "log", "id": "1", "content": "b"},
                 "message"),
                ("events/up", event, other, "event")):
            before = self.suspicions()
            self.accept(client, SYS + topic, first)
            self.accept(client, SYS + topic, first)
            self.assertEqual(self.suspicions(), before)
            self.accept(client, SYS + topic, second)
            self.assertEqual(self.suspicions(), before + ["the id 1 of a %s stands for another one already" % kind])

    def test_limits_of_size_count_to_the_byte(self):
        client = self.client()
        own = {"services": services(n="")}
        room = (64 << 10) - len(json.dumps(own))
        most = 256 << 10
        for n, excess in ((0, 0), (1, 1)):
            self.accept(client, REPORT, {"services": services(n="x" * (room + excess))})
            self.accept(client, SYS + "messages/up", {"name": "log", "id": str(n), "content": "x" * (most + excess)})
            self.accept(client, SYS + "messages/up", b"\xff" * (most + excess))
            self.assertEqual(self.suspicions(), n * (["properties of more than 64 KB"] +
                                                     2 * ["content of more than 256 KB"]))
            # A megabyte a second would be next.
            client = self.client()
        self.cloud.message(PUMP, "x" * most)
        with self.assertRaises(ValueError):
            self.cloud.message(PUMP, "x" * (most + 1))
        self.assertEqual(len(client.wait_received(1)[0][1]["content"]), most)

    def test_a_connection_has_a_hundred_subscriptions(self):
        client = self.client()
        granted = [client.subscribe(SYS + "commands/%d" % n) for n in range(101)]
        self.assertEqual(granted, 100 * [1] + [0x80])
        self.assertEqual(client.subscribe(SYS + "commands/5"), 1)

    def test_a_time_that_cannot_be_read_is_the_platforms(self):
        client = self.client()
        for text in ("2026-03-15T09:26:53Z", "20260315T092653", "20261315T092653Z", 5, "20260315T092653Z\n"):
            self.accept(client, REPORT, {"services": [{"service_id": "env", "properties": {"n": 1},
                                                       "event_time": text}]})
        self.accept(client, REPORT, {"services": [{"service_id": "env", "properties": {"n": 1}}]})
        self.assertEqual(self.cloud.samples(), [(GATEWAY, None, "n", 1)] * 6)
        self.assertEqual(len(self.suspicions()), 5)

    def test_only_what_the_model_has_is_stored(self):
        self.cloud = self.begin(model={"env": {"n": "int", "t": "decimal", "on": "bool"}})
        self.accept(self.client(), REPORT, {"services": services(n=True, t=1, on=False, x=1)})
        self.assertEqual([(k, v) for _, _, k, v in self.cloud.samples()], [("t", 1), ("on", False)])
        self.assertEqual(self.suspicions(), ["not in the model: n, x of env of " + GATEWAY])

    def test_what_breaks_the_rules_closes_the_connection(self):
        self.cloud = self.begin(custom_topics=["site/free"])
        for topic, body, qos, why in (
                (SYS + "nothing", "{}", 1, "unknown topic"),
                ("$oc/devices/%s/sys/properties/report" % PUMP, "{}", 1, "unknown topic"),
                ("v1/gateway/telemetry", "{}", 1, "unknown topic"),
                (REPORT, "{}", 2, "QoS 2"),
                (SYS + "messages/up", "x" * ((1 << 20) + 1), 1, "larger than 1 MB")):
            client = self.client()
            client.publish(topic, body, qos)
            client.wait_gone()
            self.assertEqual(self.cloud.events("rejected")[-1]["why"], why)
        client = self.client()
        self.accept(client, "site/free", b"\xff")
        self.accept(client, SYS + "messages/up", b"\xff\x00")
        self.assertTrue(client.is_acked(client.publish(REPORT, {"services": services(n=1)}, retain=True)))
        self.assertEqual(self.suspicions(), ["retain is not supported"])

    def test_faults_come_when_they_are_told_to(self):
        client = self.client()
        self.cloud.set(drop_at=2)
        self.accept(client, REPORT, {"services": services(n=1)})
        self.assertFalse(client.is_acked(client.publish(REPORT, {"services": services(n=2)})))
        client = self.client()
        self.cloud.set(lose_ack_at=1)
        self.assertFalse(client.is_acked(client.publish(REPORT, {"services": services(n=3)})))
        self.assertEqual(self.cloud.values("n"), [1, 3])
        client = self.client()
        self.cloud.freeze()
        mid = client.publish(REPORT, {"services": services(n=4)})
        with self.assertRaises(AssertionError):
            client.is_acked(mid, 0.2)
        self.cloud.thaw()
        self.assertTrue(client.is_acked(mid))
        self.cloud.outage()
        client.wait_gone()
        with self.assertRaises(ConnectionRefusedError):
            self.client()
        self.cloud.resume()
        self.accept(self.client(), REPORT, {"services": services(n=5)})
        self.cloud.kick()
        self.assertEqual(self.cloud.values("n"), [1, 3, 4, 5])
        self.cloud.set(slow_ms=300)
        client, begin = self.client(), time.monotonic()
        mids = [client.publish(REPORT, {"services": services(n=n)}) for n in (6, 7)]
        self.assertTrue(all([client.is_acked(mid) for mid in mids]))
        self.assertGreaterEqual(time.monotonic() - begin, 0.3)


class SubDevices(HuaweiTest):
    def ask(self, client, kind, paras, service="$sub_device_manager", event_id=None):
        n = len(client.received)
        entry = {"service_id": service, "event_type": kind, "event_time": "20260315T092653Z", "paras": paras}
        if event_id:
            entry["event_id"] = event_id
        self.accept(client, SYS + "events/up", {"services": [entry]})
        topic, body = client.wait_received(n + 1)[-1]
        self.assertEqual((topic, body["object_device_id"]), (SYS + "events/down", GATEWAY))
        return body["services"][0]

    def test_the_gateway_learns_its_sub_devices_and_of_changes(self):
        client = self.client()
        told = self.ask(client, "sub_device_sync_request", {"version": 0})
        self.assertEqual((told["event_type"], told["paras"]["version"]), ("add_sub_device_notify", 2))
        self.assertEqual([(d["device_id"], d["node_id"], d["product_id"]) for d in told["paras"]["devices"]],
                         [(PUMP, "pump-01", "p1"), (VALVE, "valve-02", "p1")])
        self.cloud.add_sub_device("p1_new")
        self.cloud.delete_sub_device(PUMP)
        told = [body["services"][0] for _, body in client.wait_received(3)[1:]]
        self.assertEqual([(t["event_type"], t["paras"]["version"]) for t in told],
                         [("add_sub_device_notify", 3), ("delete_sub_device_notify", 4)])
        self.assertEqual([[d["device_id"] for d in t["paras"]["devices"]] for t in told], [["p1_new"], [PUMP]])

    def test_what_has_changed_is_told_by_version(self):
        def notices(version, n):
            before = len(client.received)
            self.accept(client, SYS + "events/up", {"services": [
                {"service_id": "$sub_device_manager", "event_type": "sub_device_sync_request",
                 "paras": {"version": version}}]})
            told = [body["services"][0] for _, body in client.wait_received(before + n)[before:]]
            return [(t["event_type"], [d["device_id"] for d in t["paras"]["devices"]], t["paras"]["version"])
                    for t in told]

        self.cloud.add_sub_device("another-id", node_id="n")
        self.cloud.add_sub_device("p1_gone")
        self.cloud.delete_sub_device("p1_gone")
        self.cloud.delete_sub_device(PUMP)
        client = self.client()
        self.assertEqual(notices(2, 2), [("add_sub_device_notify", ["another-id"], 6),
                                         ("delete_sub_device_notify", ["p1_gone", PUMP], 6)])
        self.assertEqual(notices(6, 1), [("add_sub_device_notify", [], 6)])
        self.assertEqual(notices(9, 1), [("add_sub_device_notify", ["another-id", VALVE], 6)])
        self.cloud.split_lists(1)
        self.assertEqual(notices(0, 2), [("add_sub_device_notify", [id_], 6) for id_ in ("another-id", VALVE)])
        self.assertEqual(notices(2, 3), [("add_sub_device_notify", ["another-id"], 6),
                                         ("delete_sub_device_notify", ["p1_gone"], 6),
                                         ("delete_sub_device_notify", [PUMP], 6)])
        self.assertEqual(self.cloud.sub_devices(), {VALVE: "valve-02", "another-id": "n"})
        self.accept(client, SYS + "events/up", {"services": [
            {"service_id": "$sub_device_manager", "event_type": "sub_device_sync_request", "paras": {"version": "6"}}]})
        self.assertEqual(self.suspicions(), ["a version that is no number"])

    def test_answers_come_late_often_or_not_at_all(self):
        client = self.client()
        request = {"services": [{"service_id": "$sub_device_manager", "event_type": "sub_device_sync_request",
                                 "paras": {}}]}
        self.cloud.set(n_answers=2)
        self.accept(client, SYS + "events/up", request)
        received = client.wait_received(2)
        self.assertEqual(received[0], received[1])
        self.cloud.set(n_answers=1, answers_events=False)
        self.accept(client, SYS + "events/up", request)
        self.cloud.set(answers_events=True, answer_after_s=0.1)
        begin = time.monotonic()
        self.accept(client, SYS + "events/up", request)
        self.assertEqual(len(client.wait_received(3)), 3)
        self.assertGreaterEqual(time.monotonic() - begin, 0.1)

    def test_a_gateway_is_told_why_a_sub_device_is_not_added(self):
        def add(node, **more):
            return self.ask(client, "add_sub_device_request", {"devices": [
                dict({"parent_device_id": GATEWAY, "node_id": node, "product_id": "p1"}, **more)]},
                event_id="e")["paras"]

        client = self.client()
        self.cloud.refuse_node("new", "IOTDA.014999")
        self.assertEqual(add("new")["failed_devices"][0]["error_code"], "IOTDA.014999")
        self.cloud.refuse_node("new", None)
        self.cloud.name_new("x-{node_id}")
        self.assertEqual(add("new")["successful_devices"][0]["device_id"], "x-new")
        for device in ({"node_id": "a b"}, {"parent_device_id": "another"}, {"product_id": 1}):
            self.accept(client, SYS + "events/up", {"services": [
                {"service_id": "$sub_device_manager", "event_type": "add_sub_device_request", "event_id": "e",
                 "paras": {"devices": [dict({"node_id": "n", "product_id": "p1"}, **device)]}}]})
        self.accept(client, SYS + "events/up", {"services": [
            {"service_id": "$sub_device_manager", "event_type": "add_sub_device_request",
             "paras": {"devices": [{"node_id": "n", "product_id": "p1"}]}}]})
        none = "a device without node_id or product_id, or with one that is none"
        self.assertEqual(self.suspicions(), [none, "a device of another gateway", none,
                                             "add_sub_device_request without event_id"])

    def test_a_status_is_only_what_the_gateway_says(self):
        client = self.client()
        self.assertEqual(self.cloud.statuses(), {PUMP: "INACTIVE", VALVE: "INACTIVE"})
        told = self.ask(client, "sub_device_update_status", {"device_statuses": [
            {"device_id": PUMP, "status": "ONLINE"}, {"device_id": "p1_x", "status": "ONLINE"}]})
        self.assertEqual(told["event_type"], "sub_device_update_status_response")
        self.assertEqual(told["paras"]["successful_devices"], [{"device_id": PUMP, "status": "ONLINE"}])
        self.assertEqual(told["paras"]["failed_devices"][0]["device_id"], "p1_x")
        client.close()
        self.assertEqual(self.cloud.statuses()[PUMP], "ONLINE")
        client = self.client()
        self.accept(client, SYS + "events/up", {"services": [
            {"service_id": "$sub_device_manager", "event_type": "sub_device_update_status",
             "paras": {"device_statuses": [{"device_id": PUMP, "status": "AWAY"}]}}]})
        self.accept(client, SYS + "events/up", {"services": [
            {"service_id": "$sub_device_manager", "event_type": "sub_device_update_status",
             "paras": {"device_statuses": [{"device_id": PUMP, "status": "ONLINE"}] * 101}}]})
        self.assertEqual(self.suspicions(), ["a status that is neither ONLINE nor OFFLINE",
                                             "not 1 to 100 device_statuses"])

    def test_a_gateway_adds_and_deletes_sub_devices(self):
        client = self.client()
        self.cloud.refuse_product("p9")
        told = self.ask(client, "add_sub_device_request", {"devices": [
            {"parent_device_id": GATEWAY, "node_id": "new", "product_id": "p1"},
            {"parent_device_id": GATEWAY, "node_id": "bad", "product_id": "p9"}]}, event_id="e1")
        self.assertEqual((told["event_type"], told["event_id"]), ("add_sub_device_response", "e1"))
        self.assertEqual([d["device_id"] for d in told["paras"]["successful_devices"]], ["p1_new"])
        self.assertEqual([d["node_id"] for d in told["paras"]["failed_devices"]], ["bad"])
        told = self.ask(client, "delete_sub_device_request", {"devices": ["p1_new", "p1_new2"]}, "sub_device_manager")
        self.assertEqual(told["paras"]["successful_devices"], ["p1_new"])
        self.assertEqual([d["device_id"] for d in told["paras"]["failed_devices"]], ["p1_new2"])
        new = [{"parent_device_id": GATEWAY, "node_id": "n%d" % n, "product_id": "p1"} for n in range(51)]
        for kind, devices in (("delete", []), ("delete", ["a"] * 51), ("delete", [[1]]), ("delete", "a"),
                              ("add", []), ("add", new), ("add", ["a"])):
            self.accept(client, SYS + "events/up", {"services": [
                {"service_id": "$sub_device_manager", "event_type": kind + "_sub_device_request", "event_id": "e",
                 "paras": {"devices": devices}}]})
        self.assertEqual(self.suspicions(), ["not 1 to 50 devices"] * 7)
        told = self.ask(client, "add_sub_device_request", {"devices": new[:50]}, event_id="e2")
        self.assertEqual(len(told["paras"]["successful_devices"]), 50)

    def test_it_tells_the_time_and_the_shadow(self):
        client = self.client()
        told = self.ask(client, "time_sync_request", {"device_send_time": 5}, "$time_sync")["paras"]
        self.assertEqual(told["device_send_time"], 5)
        self.assertAlmostEqual(told["server_recv_time"], 1000 * time.time(), delta=5000)
        self.accept(client, REPORT, {"services": services(n=1)})
        self.accept(client, SYS + "shadow/get/request_id=s1", {"service_id": "env"})
        topic, body = client.wait_received(2)[-1]
        self.assertEqual(topic, SYS + "shadow/get/response/request_id=s1")
        self.assertEqual(body["shadow"][0]["reported"]["properties"], {"n": 1})
        self.accept(client, SYS + "shadow/get/request_id=s2", {"object_device_id": "nobody"})
        self.assertEqual(self.suspicions(), ["the shadow of nobody, which is not behind it"])

    def test_what_is_desired_is_sent_until_it_is_reported(self):
        self.cloud.desire(GATEWAY, {"env": {"n": 5}})
        client = self.client()
        topic, body = client.wait_received(1)[-1]
        self.assertIn("/properties/set/request_id=", topic)
        wanted = [{"service_id": "env", "properties": {"n": 5}}]
        self.assertEqual(body["services"], wanted)
        self.accept(client, REPORT, {"services": services(n=4)})
        self.assertEqual(client.wait_received(2)[-1][1]["services"], wanted)
        self.assertEqual(self.cloud.undone(GATEWAY), {"env": {"n": 5}})
        self.accept(client, REPORT, {"services": services(n=5)})
        self.assertEqual(self.cloud.undone(GATEWAY), {})
        self.accept(client, SYS + "shadow/get/request_id=s1", {})
        self.assertEqual(client.wait_received(3)[-1][1]["shadow"][0]["desired"]["properties"], {"n": 5})


class Downlink(HuaweiTest):
    def assert_error(self, code, call):
        with self.assertRaises(CommandError) as caught:
            call()
        self.assertEqual(caught.exception.code, code)

    def test_a_command_comes_without_subscribing_and_its_response_goes_back(self):
        client = self.answer_commands(self.client(), lambda body: {
            "result_code": 0, "response_name": "R", "paras": body["paras"]})
        for device in (PUMP, GATEWAY):
            self.assertEqual(self.cloud.command(device, "START", {"speed": 40}, "pump"),
                             {"result_code": 0, "response_name": "R", "paras": {"speed": 40}})
        self.assertEqual([body for _, body in client.received], [
            {"object_device_id": device, "service_id": "pump", "command_name": "START", "paras": {"speed": 40}}
            for device in (PUMP, GATEWAY)])
        self.cloud.set(names_own=False)
        self.cloud.command(GATEWAY, None, {"any": 1})
        self.assertEqual(client.received[-1][1], {"paras": {"any": 1}})
        self.assertEqual({e["qos"] for e in self.cloud.events("down")}, {0})
        self.assertEqual(self.cloud.complaints(), [])

    def test_the_quality_of_service_is_the_subscriptions(self):
        client = self.answer_commands(self.client(), lambda body: {"result_code": 0})
        self.assertEqual(client.subscribe(SYS + "commands/#"), 1)
        self.cloud.command(PUMP, "START")
        self.assertEqual([(e["qos"], e["dup"]) for e in self.cloud.events("down")], [(1, False)])
        for filter_ in ("#", "+/x", "$oc/devices/%s/sys/commands/#" % PUMP, "$oc/#"):
            self.assertEqual(client.subscribe(filter_), 0x80, filter_)
        self.assertEqual(len(self.cloud.complaints()), 4)

    def test_a_command_that_cannot_end_well_ends_with_a_code(self):
        self.assert_error("IOTDA.014000", lambda: self.cloud.command("p1_x", "START"))
        self.assert_error("IOTDA.014016", lambda: self.cloud.command(PUMP, "START"))
        client = self.client()
        begin = time.monotonic()
        self.assert_error("IOTDA.014111", lambda: self.cloud.command(PUMP, "START", timeout_s=0.3))
        self.assertGreaterEqual(time.monotonic() - begin, 0.3)
        self.cloud.set(subscribes_all=False)
        self.assert_error("IOTDA.014112", lambda: self.cloud.command(PUMP, "START"))
        client.subscribe(SYS + "commands/#")
        self.cloud.set(command_timeout_s=0.2)
        self.assert_error("IOTDA.014111", lambda: self.cloud.command(PUMP, "START"))

    def test_each_response_gets_its_verdict(self):
        client = self.client()
        call = self.cloud.command_begin(PUMP, "START", timeout_s=0.2)
        with self.assertRaises(CommandError):
            call.wait()
        topic = SYS + "commands/response/request_id="
        client.publish(topic + call.id, {"result_code": 0})
        call = self.cloud.command_begin(PUMP, "START")
        client.publish(topic + call.id, {"paras": {}})
        client.publish(topic + call.id, {"result_code": 3, "paras": {"reason": "no"}})
        client.publish(topic + call.id, {"result_code": 0})
        client.publish(topic + "none", {"result_code": 0})
        wait_for(lambda: len(self.cloud.responses()) == 5, 5)
        self.assertEqual([e["verdict"] for e in self.cloud.responses()],
                         ["late", "malformed", "answered", "duplicate", "unknown"])
        self.assertEqual(call.wait()["result_code"], 3)

    def test_a_response_may_be_repeated_as_often_as_its_command(self):
        client = self.client()
        call = self.cloud.command_begin(PUMP, "START")
        self.cloud.repeat(call)
        client.wait_received(2)
        self.assertEqual(client.received[0], client.received[1])
        for body in ({"result_code": 0}, {"result_code": 0}, {"result_code": 0}):
            client.publish(SYS + "commands/response/request_id=" + call.id, body)
        wait_for(lambda: len(self.cloud.responses()) == 3, 5)
        self.assertEqual([e["verdict"] for e in self.cloud.responses()], ["answered", "repeated", "duplicate"])

    def test_what_is_not_acknowledged_comes_again_in_this_session_and_the_next(self):
        self.cloud.set(repeat_s=0.05, repeat_after_return_s=0.05)
        release = threading.Event()
        self.addCleanup(release.set)
        client = self.client()
        client.subscribe(SYS + "commands/#")
        client.on_message = lambda *_: release.wait(5)  # its PUBACK goes out when this returns
        call = self.cloud.command_begin(PUMP, "START", timeout_s=60)
        wait_for(lambda: len(self.cloud.events("down")) == 4, 5)
        self.assertEqual([e["dup"] for e in self.cloud.events("down")], [False, True, True, True])
        self.cloud.kick()
        release.set()
        client.wait_gone()
        client = self.client()
        self.assertEqual(client.received, [])
        client.subscribe(SYS + "commands/#")
        self.assertTrue(client.wait_received(1)[0][0].endswith(call.id))
        wait_for(lambda: self.cloud.unacknowledged() == 0, 5)
        self.assertIn(len(self.cloud.events("down")), range(5, 10))

    def test_properties_are_set_and_asked_for(self):
        client = self.client()
        call = self.cloud.set_properties(VALVE, {"cfg": {"limit": 5}})
        topic, body = client.wait_received(1)[0]
        self.assertEqual((topic, body), (SYS + "properties/set/request_id=" + call.id, {
            "object_device_id": VALVE, "services": [{"service_id": "cfg", "properties": {"limit": 5}}]}))
        client.publish(SYS + "properties/set/response/request_id=" + call.id, {"result_code": 0})
        self.assertEqual(call.wait(), {"result_code": 0})
        call = self.cloud.get_properties(PUMP, "env")
        self.assertEqual(client.wait_received(2)[1][1], {"object_device_id": PUMP, "service_id": "env"})
        client.publish(SYS + "properties/get/response/request_id=" + call.id, {"services": services(n=1)})
        self.assertEqual(call.wait()["services"][0]["properties"], {"n": 1})

    def test_messages_wait_for_their_device_the_newest_twenty(self):
        for n in range(25):
            self.cloud.message(PUMP, n)
        client = self.client()
        self.assertEqual([body["content"] for _, body in client.wait_received(20)], list(range(5, 25)))
        self.cloud.message(GATEWAY, "now")
        self.assertEqual(client.wait_received(21)[-1][1]["content"], "now")


class ByHttps(HuaweiTest):
    def setUp(self):
        self.clock_s = 1773566813.
        self.cloud = self.begin(devices=[{"device_id": GATEWAY, "secret": SECRET, "sub_devices": ["p1_%d" % i for i in range(60)]},
                                         {"device_id": "other", "secret": SECRET}],
                                now=lambda: self.clock_s, elapsed=lambda: self.clock_s)

    def send(self, path, body, token=None, content_type="application/json", method="POST"):
        """(status, parsed body)"""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": content_type}
        if token is not None:
            headers["access_token"] = token
        request = urllib.request.Request(self.cloud.https.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def login(self, device_id=GATEWAY, sign_type=0, timestamp="2026031509", **more):
        return self.send("/v5/device-auth", dict({
            "device_id": device_id, "sign_type": sign_type, "timestamp": timestamp,
            "password": login.password(SECRET, timestamp)}, **more))

    def token(self, **how):
        status, body = self.login(**how)
        self.assertEqual((status, body["expires_in"]), (200, self.cloud.https.expires_in_s))
        return body["access_token"]

    def report(self, token, n_devices=1, path="gateway/sub-devices/properties/report", device_id=GATEWAY):
        body = {"devices": [{"device_id": "p1_%d" % i, "services": services(t=1)} for i in range(n_devices)]}
        return self.send("/v5/devices/%s/sys/%s" % (device_id, path), body, token)[0]

    def test_a_sign_in_needs_the_password_and_gives_a_token(self):
        self.assertEqual(len({self.token(), self.token(), self.token(sign_type=1)}), 3)
        for status, how in ((401, {"password": "x"}), (401, {"device_id": "nobody"}), (400, {"sign_type": 2}),
                            (400, {"sign_type": "0"}), (400, {"timestamp": "2026"}), (400, {"more": 1}),
                            (401, {"sign_type": 1, "timestamp": "2026031507"})):
            self.assertEqual(self.login(**how)[0], status, how)
        self.assertEqual(self.send("/v5/device-auth", b"[]")[0], 400)
        self.assertEqual(len(self.cloud.complaints()), 8)
        self.cloud.set_disabled(GATEWAY, True)
        self.assertEqual(self.login()[0], 403)

    def test_reports_need_the_token_of_their_device(self):
        token = self.token()
        self.assertEqual(self.report(token), 200)
        self.assertEqual(self.cloud.samples(), [("p1_0", 1773566813000, "t", 1)])
        self.assertEqual([self.report(t) for t in (None, "", "x" * 64)], [403, 403, 403])
        self.assertEqual(self.report(token, device_id="other"), 403)
        own = {"services": services(t=2)}
        self.assertEqual(self.send("/v5/devices/%s/sys/properties/report" % GATEWAY, own, token)[0], 200)
        text = {"object_device_id": GATEWAY, "name": "n", "id": "1", "content": "c"}
        self.assertEqual(self.send("/v5/devices/%s/sys/messages/up" % GATEWAY, text, token)[0], 200)
        self.assertEqual(len(self.cloud.samples()), 2)
        self.assertEqual([e["path"] for e in self.cloud.events("https_publish")],
                         ["gateway/sub-devices/properties/report", "properties/report", "messages/up"])

    def test_a_request_that_is_too_large_or_makes_no_sense_is_refused(self):
        token = self.token()
        self.assertEqual([self.report(token, n) for n in (50, 51)], [200, 400])
        path = "/v5/devices/%s/sys/properties/report" % GATEWAY
        self.assertEqual(self.send(path, b"{}" + b" " * (1 << 20), token)[0], 403)
        self.assertEqual(self.send(path, b"{", token)[0], 400)
        self.assertEqual(self.send(path, {}, token, content_type="text/plain")[0], 415)
        self.assertEqual(self.send(path, {}, token, method="PUT")[0], 405)
        # MQTT's name of it, and what has no path at all.
        self.assertEqual(self.report(token, path="gateway/sub_devices/properties/report"), 404)
        self.assertEqual(self.report(token, path="events/up"), 404)
        self.assertEqual(len(self.cloud.complaints()), 7)

    def test_a_report_with_one_that_is_no_sub_device_is_refused_as_a_whole(self):
        token = self.token()
        body = {"devices": [{"device_id": id_, "services": services(t=1)} for id_ in ("p1_0", "p1_60")]}
        status, answer = self.send("/v5/devices/%s/sys/gateway/sub-devices/properties/report" % GATEWAY, body, token)
        self.assertEqual((status, answer["error_code"]), (400, "IOTDA.021104"))
        self.assertEqual(self.cloud.samples(), [])

    def test_a_token_ends_and_the_one_before_it_thirty_seconds_after_the_next(self):
        self.cloud.https.expires_in_s = 100
        first = self.token()
        self.clock_s += 99
        self.assertEqual(self.report(first), 200)
        self.clock_s += 1
        self.assertEqual(self.report(first), 403)
        second = self.token()
        third = self.token()
        self.clock_s += 29
        self.assertEqual([self.report(t) for t in (second, third)], [200, 200])
        self.clock_s += 1
        self.assertEqual([self.report(t) for t in (second, third)], [403, 200])
        self.cloud.https.forget_tokens()
        self.assertEqual(self.report(third), 403)
        self.assertEqual(self.cloud.complaints(), [])

    def test_its_limits_and_faults(self):
        token = self.token()
        self.cloud.set(messages_per_s=3)
        self.assertEqual([self.report(token) for _ in range(4)], [200, 200, 200, 403])
        self.assertEqual(self.cloud.events("https_refused")[-1]["code"], "IOTDA.021101")
        self.clock_s += 1
        self.cloud.https.lose_answer_at = 1
        with self.assertRaises(OSError):
            self.report(token)
        self.assertEqual(len(self.cloud.samples()), 4)
        self.cloud.https.status = 503
        self.assertEqual((self.report(token), self.login()[0]), (503, 503))
        self.cloud.https.status = "silent"
        with self.assertRaises(OSError):
            self.report(token)

if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    unittest.main(verbosity=2)
