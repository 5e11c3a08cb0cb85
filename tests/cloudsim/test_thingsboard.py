#!/usr/bin/python3
"""The server behind ThingsBoard's stand-in: commands, attributes, calls, claims, provisioning, limits, notices."""
import sys
import time
import unittest

import paho.mqtt.client as paho

from cloudsim import RpcError, ThingsBoard, wait_for
from paho_client import StandInTest

RPC = "v1/gateway/rpc"
OWN_RPC = "v1/devices/me/rpc/request/+"


class RpcTest(StandInTest):
    def gateway(self, *devices, **how):
        client = self.client(**how)
        for device in devices:
            client.connect_device(device)
        wait_for(lambda: all(self.cloud.is_connected(device) for device in devices), 5, "sub-devices connected")
        return client

    def own_device(self, name="the gateway", filter_=OWN_RPC):
        client = self.client()
        client.subscribe(filter_)
        wait_for(lambda: self.cloud.is_subscribed(name, filter_), 5, "subscribed")
        return client

    def assert_error(self, code, call):
        with self.assertRaises(RpcError) as caught:
            call()
        self.assertEqual(caught.exception.code, code)

    def test_a_command_reaches_a_sub_device_and_its_reply_the_caller(self):
        for version in (paho.MQTTv311, paho.MQTTv5):
            gateway = self.gateway("pump 4", version=version)
            gateway.answer_commands(lambda method, params: {"did": method, "with": params})
            for params in ({"rpm": 900}, "on", 3, None, [1, 2]):
                self.assertEqual(self.cloud.rpc("pump 4", "start", params), {"did": "start", "with": params})
            gateway.close()
        self.assertEqual(gateway.received[0][0], RPC)
        self.assertEqual(sorted(gateway.received[0][1]), ["data", "device"])
        self.assertEqual([e["verdict"] for e in self.cloud.replies()], ["answered"] * 10)

    def test_ids_begin_at_0_for_each_device(self):
        gateway = self.gateway("a", "b").answer_commands(lambda *_: {})
        for device in "aabb":
            self.cloud.rpc(device, "m")
        self.assertEqual([(body["device"], body["data"]["id"]) for _, body in gateway.received],
                         [("a", 0), ("a", 1), ("b", 0), ("b", 1)])

    def test_commands_of_a_device_of_its_own_on_v1_and_short_topics(self):
        for filter_, prefix in ((OWN_RPC, "v1/devices/me/rpc/request/"), ("v2/r/req/+", "v2/r/req/"),
                                ("v2/r/req/j/+", "v2/r/req/j/")):
            client = self.own_device(filter_=filter_).answer_commands(lambda method, params: [method, params])
            self.assertEqual(self.cloud.rpc("the gateway", "reboot", {"in": 5}), ["reboot", {"in": 5}])
            self.assertTrue(client.received[0][0].startswith(prefix), client.received)
            client.close()

    def test_nobody_subscribed_is_no_active_connection(self):
        self.client()
        self.assert_error("NO_ACTIVE_CONNECTION", lambda: self.cloud.rpc("the gateway", "m", timeout_s=0.2))
        self.assert_error("NO_ACTIVE_CONNECTION", lambda: self.cloud.rpc("pump 4", "m", timeout_s=0.2))

    def test_silence_is_a_timeout_and_a_late_reply_is_on_record(self):
        gateway = self.gateway("a")
        self.assert_error("TIMEOUT", lambda: self.cloud.rpc("a", "m", timeout_s=0.2))
        gateway.publish(RPC, {"device": "a", "id": 0, "data": 1})
        wait_for(lambda: self.cloud.replies("late"), 5)
        gateway.publish(RPC, {"device": "a", "id": 7, "data": 1})
        wait_for(lambda: self.cloud.replies("unknown"), 5)

    def test_a_second_reply_is_a_duplicate(self):
        gateway = self.gateway("a").answer_commands(lambda *_: {"n": 1})
        self.assertEqual(self.cloud.rpc("a", "m"), {"n": 1})
        gateway.publish(RPC, {"device": "a", "id": 0, "data": {"n": 2}})
        wait_for(lambda: self.cloud.replies("duplicate"), 5)

    def test_a_one_way_command_is_sent_once(self):
        gateway = self.gateway("a").answer_commands(lambda *_: {})
        self.assertIsNone(self.cloud.rpc("a", "m", oneway=True))
        wait_for(lambda: self.cloud.replies("one-way"), 5)
        gateway.publish("v1/gateway/disconnect", {"device": "a"})
        gateway.connect_device("a")
        self.assertEqual(self.cloud.rpc("a", "n"), {})
        self.assertEqual([body["data"]["method"] for _, body in gateway.received], ["m", "n"])

    def test_what_is_pending_comes_again_with_each_announcement_and_subscription(self):
        gateway = self.gateway("a")
        pending = self.cloud.rpc_begin("a", "m", {"x": 1})
        gateway.publish("v1/gateway/connect", {"device": "a"})  # alive already: nothing
        gateway.publish("v1/gateway/disconnect", {"device": "a"})
        gateway.connect_device("a")
        self.assertEqual([body["data"]["id"] for _, body in gateway.wait_received(2)], [0, 0])
        gateway.publish(RPC, {"device": "a", "id": 0, "data": "done"})
        self.assertEqual(pending.wait(5), "done")

        own = self.own_device()
        pending = self.cloud.rpc_begin("the gateway", "m")
        own.wait_received(1)
        own.subscribe(OWN_RPC)
        self.assertEqual([topic for topic, _ in own.wait_received(2)], ["v1/devices/me/rpc/request/0"] * 2)
        own.close()
        own = self.own_device()
        own.wait_received(1)
        own.publish("v1/devices/me/rpc/response/0", {"ok": True})
        self.assertEqual(pending.wait(5), {"ok": True})

    def test_a_persistent_command_passes_through_its_states(self):
        id_ = self.cloud.rpc("a", "m", persistent=True)
        self.assertEqual(self.cloud.rpc_state(id_), "QUEUED")
        gateway = self.gateway("a")
        gateway.wait_received(1)
        wait_for(lambda: self.cloud.rpc_state(id_) == "DELIVERED", 5)
        gateway.publish(RPC, {"device": "a", "id": 0, "data": {"v": 1}})
        wait_for(lambda: self.cloud.rpc_state(id_) == "SUCCESSFUL", 5)
        self.assertEqual(self.cloud.rpc_find(id_).reply, {"v": 1})

        id_ = self.cloud.rpc("a", "m", persistent=True, timeout_s=0.3)
        wait_for(lambda: self.cloud.rpc_state(id_) == "EXPIRED", 5)
        id_ = self.cloud.rpc("a", "m", persistent=True, oneway=True)
        wait_for(lambda: self.cloud.rpc_state(id_) == "DELIVERED" and self.cloud.rpc_find(id_).is_done, 5)
        self.assert_error("NOT_FOUND", lambda: self.cloud.rpc_state("no such id"))

    def test_a_persistent_command_without_puback_times_out_and_fails_at_last(self):
        self.cloud.set(rpc_ack_timeout_s=0.2)
        gateway = self.gateway("a")
        gateway.on_message = lambda *_: time.sleep(1)  # its PUBACK goes out when this returns
        id_ = self.cloud.rpc("a", "m", persistent=True, retries=1)
        self.assertEqual(self.cloud.rpc_state(id_), "SENT")
        wait_for(lambda: self.cloud.rpc_state(id_) == "TIMEOUT", 5)
        wait_for(lambda: len(gateway.received) == 1, 5)
        gateway.close()
        gateway = self.client()
        gateway.on_message = lambda *_: time.sleep(1)
        gateway.connect_device("a")
        wait_for(lambda: self.cloud.rpc_state(id_) == "FAILED", 5)
        self.assertIn("retry attempts", self.cloud.rpc_find(id_).reply["error"])

    def test_a_restarted_actor_counts_anew_and_sends_what_is_persistent_again(self):
        gateway = self.gateway("a")
        self.cloud.rpc_begin("a", "first", timeout_s=0.5)
        volatile = self.cloud.rpc_begin("a", "volatile", timeout_s=0.5)
        kept = self.cloud.rpc_find(self.cloud.rpc("a", "kept", persistent=True))
        self.cloud.restart_actor("a")
        self.assertEqual([(b["data"]["id"], b["data"]["method"]) for _, b in gateway.wait_received(4)],
                         [(0, "first"), (1, "volatile"), (2, "kept"), (0, "kept")])
        gateway.publish(RPC, {"device": "a", "id": 0, "data": 1})
        self.assertEqual(kept.wait(5), 1)
        self.assertEqual([id_ for _, id_ in kept.deliveries], [2, 0])
        self.assert_error("TIMEOUT", volatile.wait)

    def test_replies_in_the_wrong_shape_are_rejected(self):
        for reply, why in (({"device": "a", "id": 0}, "nothing usable"), ({"id": 0, "data": 1}, "nothing usable"),
                           ({"device": "a", "data": 1}, "nothing usable"),
                           ({"device": "a", "id": "x", "data": 1}, "the server trips over it")):
            gateway = self.gateway("a")
            gateway.publish(RPC, reply)
            gateway.wait_gone()
            self.assertEqual(self.cloud.events("rejected")[-1]["why"], why)
        client = self.own_device()
        client.publish("v1/devices/me/rpc/response/x", {})
        client.wait_gone()
        client = self.own_device()
        asked = self.cloud.rpc_begin("the gateway", "m")
        client.publish("v1/devices/me/rpc/response/0", "no json {")
        asked.wait(5)
        self.assertEqual((asked.reply, asked.raw_reply), (None, "no json {"))
        self.assertEqual(len(self.cloud.replies("not JSON")), 1)

    def test_a_silent_sub_device_expires_and_only_real_messages_keep_it(self):
        self.cloud.set(inactivity_ms=400)
        gateway = self.gateway("a", "b")
        deadline = time.monotonic() + 5
        while self.cloud.is_connected("a"):
            self.assertLess(time.monotonic(), deadline)
            gateway.publish("v1/gateway/connect", {"device": "a"})
            gateway.publish("v1/gateway/telemetry", {"b": [{"x": 1}]})
            time.sleep(0.05)
        self.assertTrue(self.cloud.is_connected("b"))
        self.assertIsNone(gateway.gone)
        self.cloud.set(inactivity_ms=600000)
        gateway.connect_device("a")
        wait_for(lambda: self.cloud.is_connected("a"), 5)
        self.cloud.expire("a")
        self.assertFalse(self.cloud.is_connected("a"))
        self.assert_error("NO_ACTIVE_CONNECTION", lambda: self.cloud.rpc("a", "m", timeout_s=0.2))
        self.assertEqual(gateway.received, [])

    def test_who_announced_a_device_last_gets_its_commands(self):
        cloud = self.begin(name="two", devices=[{"name": n, "gateway": True, "token": n} for n in ("g1", "g2")])
        first, second = (self.client(port=cloud.port, username=n) for n in ("g1", "g2"))
        first.connect_device("a")
        second.connect_device("a")
        wait_for(lambda: cloud.gateway_of("a") == "g2", 5)
        cloud.rpc_begin("a", "m")
        second.wait_received(1)
        self.assertEqual(first.received, [])

    def test_commands_survive_an_outage_of_the_broker(self):
        gateway = self.gateway("a")
        pending = self.cloud.rpc_begin("a", "m")
        gateway.wait_received(1)
        self.cloud.outage()
        wait_for(lambda: not self.cloud.is_connected("a"), 5)
        self.cloud.resume()
        self.client().answer_commands(lambda *_: "back").connect_device("a")
        self.assertEqual(pending.wait(5), "back")

    def test_a_reply_that_was_acknowledged_counts_though_the_broker_dies(self):
        gateway = self.gateway("a")
        pending = [self.cloud.rpc_begin("a", "m", n) for n in range(60)]
        gateway.wait_received(60)
        with self.cloud.not_listening():  # more comes than fits into a socket
            for n in range(60):
                mid = gateway.publish(RPC, {"device": "a", "id": n, "data": [n, "x" * 10000]})
            self.assertTrue(gateway.is_acked(mid))
            self.cloud.outage()
        self.assertEqual([rpc.wait()[0] for rpc in pending], list(range(60)))

    def test_thousands_of_commands_pass_at_once(self):
        self.gateway("a").answer_commands(lambda _, n: n)
        pending = [self.cloud.rpc_begin("a", "m", n) for n in range(5000)]
        self.assertEqual([rpc.wait() for rpc in pending], list(range(5000)))

    def test_rename_and_delete_are_told_on_the_gateways_own_topic(self):
        own = self.own_device()
        own.connect_device("pump 4", "pump")
        wait_for(lambda: self.cloud.is_connected("pump 4"), 5)
        notice = self.cloud.rename("pump 4", "north pump")
        self.assertEqual(own.wait_received(1), [("v1/devices/me/rpc/request/0", {
            "method": "gateway_device_renamed", "params": {"pump 4": "north pump"}})])
        wait_for(lambda: notice.state == "DELIVERED", 5)

        # Until it connects again, both ways go on under the old name, and no new device appears.
        self.cloud.rpc_begin("north pump", "m")
        self.assertEqual(own.wait_received(2)[1][1]["device"], "pump 4")
        own.is_acked(own.publish("v1/gateway/attributes", {"pump 4": {"serial": 1}}))
        wait_for(lambda: self.cloud.client_attributes("north pump") == {"serial": 1}, 5)
        self.assertEqual(self.cloud.devices(), {"north pump": "pump"})
        own.close()

        own = self.own_device()
        own.is_acked(own.publish("v1/gateway/telemetry", {"pump 4": [{"x": 1}]}))
        self.assertEqual(self.cloud.devices(), {"north pump": "pump", "pump 4": "default"})
        self.cloud.delete("pump 4")
        self.assertEqual(own.wait_received(1)[-1][1], {"method": "gateway_device_deleted", "params": "pump 4"})
        wait_for(lambda: self.cloud.devices() == {"north pump": "pump"}, 5)
        own.is_acked(own.publish("v1/gateway/telemetry", {"pump 4": [{"x": 2}]}))
        self.assertIn("pump 4", self.cloud.devices())

    def test_a_disconnect_notice_comes_on_5_only(self):
        for version, is_told in ((paho.MQTTv311, False), (paho.MQTTv5, True)):
            gateway = self.gateway("a", version=version)
            self.assertEqual(self.cloud.gateway_disconnect("a", 128), is_told)
            if is_told:
                self.assertEqual(gateway.wait_received(1),
                                 [("v1/gateway/disconnect", {"device": "a", "reason": 128})])
            gateway.close()


class AttributesTest(StandInTest):
    def test_a_gateway_asks_for_one_for_several_and_for_none(self):
        self.cloud.set_shared("a", {"interval": 15, "mode": "x"})
        client = self.client()
        client.publish("v1/gateway/attributes", {"a": {"serial": "X-9"}})
        for id_, ask in enumerate((
                {"client": False, "key": "interval"}, {"client": False, "keys": ["interval", "mode", "none"]},
                {"client": False, "key": "none"}, {"client": False, "keys": ["none", "nor this"]},
                {"client": True, "key": "serial"}, {"client": True, "key": "interval"},
                {"client": False, "keys": ["interval"]})):
            client.publish("v1/gateway/attributes/request", dict(ask, id=id_, device="a"))
        self.assertEqual([body for _, body in client.wait_received(7)], [
            {"id": 0, "device": "a", "value": 15}, {"id": 1, "device": "a", "values": {"interval": 15, "mode": "x"}},
            {"id": 2, "device": "a"}, {"id": 3, "device": "a"}, {"id": 4, "device": "a", "value": "X-9"},
            {"id": 5, "device": "a"}, {"id": 6, "device": "a", "value": 15}])
        self.assertEqual({topic for topic, _ in client.received}, {"v1/gateway/attributes/response"})

    def test_client_must_be_a_boolean(self):
        for ask in ({"client": ["a"], "shared": ["b"]}, {"key": "x"}, {"client": "true", "key": "x"},
                    {"client": True}):
            client = self.client()
            client.publish("v1/gateway/attributes/request", dict(ask, id=1, device="a"))
            client.wait_gone()

    def test_a_device_asks_on_v1_and_short_topics(self):
        self.cloud.set_shared("the gateway", {"c": 5})
        client = self.client()
        client.publish("v1/devices/me/attributes", {"a": 1, "b": 2})
        for prefix, answer in (("v1/devices/me/attributes/request/", "v1/devices/me/attributes/response/"),
                               ("v2/a/req/", "v2/a/res/"), ("v2/a/req/j/", "v2/a/res/j/")):
            client.received.clear()
            for n, ask in enumerate(({"clientKeys": "a,b", "sharedKeys": "c"}, {"sharedKeys": "c,d"}, {},
                                     {"clientKeys": " a"})):
                client.publish(prefix + str(n), ask)
            self.assertEqual(client.wait_received(4), [
                (answer + "0", {"client": {"a": 1, "b": 2}, "shared": {"c": 5}}), (answer + "1", {"shared": {"c": 5}}),
                (answer + "2", {"client": {"a": 1, "b": 2}, "shared": {"c": 5}}), (answer + "3", {})])

    def test_a_device_is_told_of_changes_when_it_has_subscribed(self):
        for topic in ("v1/devices/me/attributes", "v2/a", "v2/a/j"):
            client = self.client()
            self.cloud.set_shared("the gateway", {"k": 0})
            client.subscribe(topic)
            wait_for(lambda: self.cloud.is_subscribed("the gateway", topic), 5)
            self.cloud.set_shared("the gateway", {"k": 1, "l": {"a": 2}})
            self.assertEqual(self.cloud.delete_shared("the gateway", "k", "none"), ["k"])
            self.assertEqual(client.wait_received(2), [(topic, {"k": 1, "l": {"a": 2}}), (topic, {"deleted": ["k"]})])
            client.close()
            wait_for(lambda: not self.cloud.is_connected("the gateway"), 5)

    def test_a_gateway_is_told_of_changes_of_live_sub_devices(self):
        client = self.client()
        self.cloud.set_shared("a", {"k": 0})
        client.connect_device("a")
        wait_for(lambda: self.cloud.is_connected("a"), 5)
        self.cloud.set_shared("a", {"k": 1})
        self.cloud.delete_shared("a", "k")
        self.cloud.expire("a")
        self.cloud.set_shared("a", {"k": 2})
        client.connect_device("b")
        wait_for(lambda: self.cloud.is_connected("b"), 5)
        self.cloud.set_shared("b", {"k": 3})
        self.assertEqual([body for _, body in client.wait_received(3)], [
            {"device": "a", "data": {"k": 1}}, {"device": "a", "data": {"deleted": ["k"]}},
            {"device": "b", "data": {"k": 3}}])


class CallsTest(StandInTest):
    def test_calls_are_answered_from_a_table(self):
        self.cloud.answer_client_rpc("getTime", {"time": 1}, timeout_s=0.2)
        self.cloud.answer_client_rpc("echo", lambda device, params: [device, params])
        client = self.client()
        for prefix, answer in (("v1/devices/me/rpc/request/", "v1/devices/me/rpc/response/"),
                               ("v2/r/req/", "v2/r/res/"), ("v2/r/req/j/", "v2/r/res/j/")):
            client.received.clear()
            client.publish(prefix + "1", {"method": "getTime", "params": {}})
            client.publish(prefix + "2", {"method": "echo", "params": 3})
            client.publish(prefix + "3", {"method": "unheard of", "params": {}})
            self.assertEqual(client.wait_received(3), [(answer + "1", {"time": 1}), (answer + "2", ["the gateway", 3]),
                                                       (answer + "3", {"error": "timeout"})])

    def test_session_limits_can_be_set_and_be_unknown(self):
        ask = ("v1/devices/me/rpc/request/5", {"method": "getSessionLimits", "params": {}})
        limits = {"maxPayloadSize": 1000, "rateLimits": {"messages": "20:1,600:60"},
                  "gatewayRateLimits": {"messages": "100:1"}}
        self.cloud.set(limits=limits)
        client = self.client()
        client.publish(*ask)
        self.assertEqual(client.wait_received(1), [("v1/devices/me/rpc/response/5", limits)])
        self.cloud.answer_client_rpc("x", 1, timeout_s=0.1)
        self.cloud.set(limits=None)
        client.publish(*ask)
        self.assertEqual(client.wait_received(2)[1][1], {"error": "timeout"})

        cloud = self.begin(name="plain", devices=[{"name": "d", "token": "T"}])
        client = self.client(port=cloud.port, username="T")
        client.publish(*ask)
        self.assertNotIn("gatewayRateLimits", client.wait_received(1)[0][1])

    def test_a_call_in_the_wrong_shape_closes_the_connection(self):
        for topic, body in (("1", {"method": "x"}), ("1", {"params": {}}), ("x", {"method": "x", "params": 1}),
                            ("2147483648", {"method": "x", "params": 1})):
            client = self.client()
            client.publish("v1/devices/me/rpc/request/" + topic, body)
            client.wait_gone()

    def test_claims_are_on_record(self):
        client = self.client()
        client.publish("v1/devices/me/claim", {"secretKey": "s", "durationMs": 60000})
        client.publish("v1/gateway/claim", {"a": {"secretKey": "t"}, "b": {}})
        wait_for(lambda: len(self.cloud.claims()) == 3, 5)
        self.assertEqual([(e["device"], e["secret"], e["duration_ms"]) for e in self.cloud.claims()],
                         [("the gateway", "s", 60000), ("a", "t", 86400000), ("b", "", 86400000)])
        client.publish("v1/devices/me/claim", {"durationMs": "long"})
        client.wait_gone()


class LimitsTest(StandInTest):
    def limit(self, **more):
        self.cloud.set(limits=more, enforce_limits=True)

    def test_the_gateway_api_counts_the_sum_of_sub_devices(self):
        self.limit(gatewayRateLimits={"telemetryMessages": "3:60"})
        self.cloud.set(ack_limited=True)
        client = self.client()
        for i in range(3):
            self.assertTrue(client.is_acked(client.publish("v1/gateway/telemetry", {"d%d" % i: [{"x": 1}]})))
        client.publish("v1/gateway/telemetry", {"d9": [{"x": 1}]})
        client.wait_gone()
        self.assertEqual(self.cloud.events("rejected")[-1]["why"], "rate limit")
        self.assertEqual(len(self.cloud.values("x")), 3)

    def test_data_points_are_counted_per_key(self):
        self.limit(rateLimits={"telemetryDataPoints": "10:60"})
        client = self.client()
        self.assertTrue(client.is_acked(client.publish("v1/devices/me/telemetry", {"k%d" % i: i for i in range(9)})))
        client.publish("v1/devices/me/telemetry", {"a": 1, "b": 2})
        client.wait_gone()
        self.assertEqual(self.cloud.events("rejected")[-1]["answer"], "close")

    def test_a_connect_whose_second_token_is_missing_is_acknowledged_and_deaf(self):
        self.limit(gatewayRateLimits={"messages": "3:60"})
        client = self.client()
        client.connect_device("a")
        client.connect_device("b")
        wait_for(lambda: self.cloud.is_connected("b"), 5)
        self.cloud.set_shared("b", {"k": 1})
        self.cloud.set_shared("a", {"k": 1})
        self.assertEqual([body["device"] for _, body in client.wait_received(1)], ["a"])
        with self.assertRaises(RpcError):
            self.cloud.rpc("b", "m", timeout_s=0.2)

    def test_a_subscription_over_the_limit_is_granted_and_deaf(self):
        self.limit(rateLimits={"messages": "1:60"})
        client = self.client()
        self.assertEqual(client.subscribe("v1/devices/me/attributes"), 1)
        self.assertEqual(client.subscribe(OWN_RPC), 1)
        self.cloud.control()
        self.assertTrue(self.cloud.is_subscribed("the gateway", "v1/devices/me/attributes"))
        self.assertFalse(self.cloud.is_subscribed("the gateway", OWN_RPC))

    def test_the_size_that_is_told_is_the_limit(self):
        self.limit(maxPayloadSize=200)
        client = self.client()
        self.assertTrue(client.is_acked(client.publish("v1/devices/me/telemetry", {"a": "x" * 100})))
        client.publish("v1/devices/me/telemetry", {"a": "x" * 200})
        client.wait_gone()
        self.assertEqual(self.cloud.events("rejected")[-1]["why"], "too large")

    def test_limits_outlive_an_outage(self):
        self.limit(rateLimits={"telemetryMessages": "1:60"})
        self.cloud.outage()
        self.cloud.resume()
        client = self.client()
        client.publish("v1/devices/me/telemetry", {"a": 1})
        client.publish("v1/devices/me/telemetry", {"a": 1})
        client.wait_gone()


PEM = "MIIBAAEC"


class ProvisioningTest(StandInTest):
    KEY, SECRET = "K", "S"

    def begin(self, **how):
        return super().begin(**dict({"provisioning": {self.KEY: self.SECRET}}, **how))

    def ask(self, version=paho.MQTTv311, **more):
        client = self.client(username="provision", version=version, client_id="")
        self.assertEqual(client.subscribe("/provision/response"), 1)
        body = dict({"provisionDeviceKey": self.KEY, "provisionDeviceSecret": self.SECRET}, **more)
        client.publish("/provision/request", body)
        return client

    def answer(self, **more):
        topic, body = self.ask(**more).wait_received(1)[0]
        self.assertEqual(topic, "/provision/response")
        return body

    def test_a_token_of_the_servers_making_lets_a_gateway_in(self):
        for version in (paho.MQTTv311, paho.MQTTv5):
            name = "gw-%d" % version
            answer = self.answer(deviceName=name, gateway=True, version=version)
            self.assertEqual((answer["status"], answer["credentialsType"]), ("SUCCESS", "ACCESS_TOKEN"))
            client = self.client(username=answer["credentialsValue"])
            self.assertEqual(client.connack, 0)
            client.connect_device("a")
        self.assertEqual([e["device"] for e in self.cloud.provisioned()], ["gw-4", "gw-5"])

    def test_all_credentials(self):
        self.assertEqual(self.answer(deviceName="t", credentialsType="ACCESS_TOKEN", token="mine"),
                         {"credentialsType": "ACCESS_TOKEN", "credentialsValue": "mine", "status": "SUCCESS"})
        self.assertEqual(self.client(username="mine").connack, 0)
        answer = self.answer(deviceName="b", credentialsType="MQTT_BASIC", clientId="c", username="u", password="p")
        self.assertEqual(answer["credentialsValue"], {"clientId": "c", "userName": "u", "password": "p"})
        self.assertEqual(self.client(username="u", password="p", client_id="c").connack, 0)
        self.assertEqual(self.client(username="u", password="x", client_id="c").connack, 5)
        answer = self.answer(deviceName="x", credentialsType="X509_CERTIFICATE", hash=PEM)
        self.assertEqual((answer["status"], answer["credentialsValue"]), ("SUCCESS", PEM))
        self.assertEqual(len(self.cloud.login("x")["certificate_sha256"]), 64)
        self.assertEqual(len(self.answer()["credentialsValue"]), 20)  # without a name one is made up

    def test_wrong_secrets_and_second_requests_are_refused(self):
        self.assertEqual(self.answer(deviceName="a", provisionDeviceSecret="x")["status"], "NOT_FOUND")
        self.assertEqual(self.answer(deviceName="a", provisionDeviceKey="x")["status"], "NOT_FOUND")
        self.assertEqual(self.answer(deviceName="a")["status"], "SUCCESS")
        again = self.answer(deviceName="a")
        self.assertEqual((again["status"], "errorMsg" in again), ("FAILURE", True))
        self.assertEqual(self.answer(deviceName="b", credentialsType="X509_CERTIFICATE", hash="%")["status"], "FAILURE")

    def test_only_those_that_are_waited_for(self):
        self.cloud.allow_provisioning("P", "S", waiting=["known"])
        ask = {"provisionDeviceKey": "P"}
        self.assertEqual(self.answer(deviceName="other", **ask)["status"], "FAILURE")
        self.assertEqual(self.answer(deviceName="known", **ask)["status"], "SUCCESS")
        self.assertEqual(self.answer(deviceName="known", **ask)["status"], "FAILURE")

    def test_the_connection_closes_some_time_after_the_answer(self):
        self.cloud.set(provision_close_s=0.2)
        client = self.ask(deviceName="a")
        client.wait_received(1)
        client.wait_gone()

    def test_nothing_else_works_in_such_a_session(self):
        client = self.client(username="provision", client_id="")
        self.assertEqual(client.subscribe("v1/devices/me/attributes"), 0x80)
        client.publish("/provision", {})
        client.wait_gone()
        client = self.client(username="provision", client_id="")
        client.publish("/provision/request", {"deviceName": "x"})
        client.wait_gone()
        client = self.client()
        self.assertEqual(client.connack, 0)
        self.assertTrue(client.is_acked(client.publish("/provision/request", {})))
        self.assertEqual(self.cloud.events("rejected")[-1]["why"], "unknown topic")

    def test_a_credential_outlives_an_outage(self):
        token = self.answer(deviceName="a")["credentialsValue"]
        self.cloud.outage()
        self.cloud.resume()
        self.assertEqual(self.client(username=token).connack, 0)

    def test_faults(self):
        self.cloud.allow_provisioning(self.KEY, self.SECRET, fault={"answer_twice": True})
        self.assertEqual(len(self.ask(deviceName="a").wait_received(2)), 2)
        self.cloud.allow_provisioning(self.KEY, self.SECRET, fault={"cut_before": True})
        client = self.ask(deviceName="b")
        client.wait_gone()
        self.assertEqual(client.received, [])
        self.assertEqual(self.answer(deviceName="b")["status"], "FAILURE")  # it was made all the same
        self.cloud.allow_provisioning(self.KEY, self.SECRET, fault={"cut_after": True})
        client = self.ask(deviceName="c")
        client.wait_gone()
        self.assertEqual(len(client.received), 1)
        self.cloud.allow_provisioning(self.KEY, self.SECRET, fault={"silent": True})
        self.ask(deviceName="d")
        wait_for(lambda: self.cloud.provisioned()[-1]["device"] == "d", 5)
        with self.assertRaises(ValueError):
            self.cloud.allow_provisioning("k", "s", fault={"typing_mistake": True})

    def test_a_login_that_is_taken_away_is_thrown_out(self):
        token = self.answer(deviceName="a")["credentialsValue"]
        client = self.client(username=token)
        self.cloud.set_logins([{"name": "the gateway", "gateway": True, "token": ThingsBoard.TOKEN}])
        client.wait_gone()
        self.assertEqual(self.client(username=token).connack, 5)


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    unittest.main(verbosity=2)
