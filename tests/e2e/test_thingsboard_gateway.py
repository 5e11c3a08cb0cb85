"""ThingsBoard's gateway API, topic by topic: one token, many devices. Commands and images have files of their own."""
import time

from field_device import FieldDevice
from frame import MAPPING, EndToEnd, goes_first, wait_for

ASK = {"topic": "ask/{device}/attributes", "request": {"kind": "attributes", "response": "answer/{device}",
                                                       "timeout": "10s"}}
CLAIM = {"topic": "claim/{device}", "request": {"kind": "claim", "response": "answer/{device}"}}
CALL = {"topic": "call/{device}", "request": {"kind": "rpc", "response": "answer/{device}"}}
PRESENCE = {"topic": "status/{device}", "presence": {}}
ABOUT = {"topic": "about/{device}", "attributes": "all"}


class GatewayTest(EndToEnd):
    """A site whose rules know all a device can say, and one cloud."""

    def begin(self, cloud=None, **options):
        self.site, self.cloud = self.field(), cloud or self.thingsboard()
        self.gw = self.running(self.site, self.cloud, clouds=[self.cloud_config(self.cloud, **options)],
                               mappings=[ASK, CLAIM, CALL, PRESENCE, ABOUT, MAPPING], start=False)
        return self

    def running(self, broker, cloud, start=True, commands=(), **how):
        gateway = self.gateway(broker, cloud, start=False, **how)
        gateway.config["configs"] = [{"topic": "config/{device}"}]
        if commands:
            gateway.config["commands"] = list(commands)
        gateway.start()
        broker.wait_subscribed(gateway.client_id())
        wait_for(lambda: gateway.is_up() and cloud.events("connect"), 20, "the cloud sees a login")
        return gateway

    def device(self, *filters, **how):
        device = FieldDevice(self.site.port, **how)
        self.addCleanup(device.close)
        return device.subscribe(*filters)

    def sample(self, device, name="pump-1", n=1):
        device.publish("sensors/%s/climate" % name, {"n": n, "ts": 1718000000000 + n})
        wait_for(lambda: n in self.cloud.values("n"), 20, "sample %d of %s" % (n, name))

    def stored(self, name):
        try:
            with open("%s/%s" % (self.gw.state, name), "rb") as f:
                return f.read()
        except FileNotFoundError:
            return b""

    def bodies(self, topic):
        return [body for _, body in self.cloud.publishes(topic)]


class Attributes(GatewayTest):
    def test_shared_attributes_reach_the_device_as_one_document(self):
        self.begin()
        device = self.device("config/pump-1")
        self.sample(device)
        wait_for(lambda: self.cloud.is_connected("pump-1"), 20)
        self.cloud.set_shared("pump-1", {"interval": 15, "limits": {"low": 1.5}})
        device.wait_last("config/pump-1", {"interval": 15, "limits": {"low": 1.5}})
        self.cloud.set_shared("pump-1", {"interval": 30, "name": "0012"})
        device.wait_last("config/pump-1", {"interval": 30, "limits": {"low": 1.5}, "name": "0012"})
        self.cloud.delete_shared("pump-1", "limits", "name")
        device.wait_last("config/pump-1", {"interval": 30})
        self.assertEqual(self.cloud.complaints(), [])

    def test_configuration_waits_for_a_device_that_comes_later_and_survives_a_kill(self):
        self.begin()
        self.sample(self.device(client_id="one"))
        wait_for(lambda: self.cloud.is_connected("pump-1"), 20)
        self.cloud.set_shared("pump-1", {"interval": 15})
        late = self.device("config/pump-1", client_id="two")
        late.wait_last("config/pump-1", {"interval": 15})
        wait_for(lambda: b"interval" in self.stored("configs"), 20, "it is on disk")
        self.gw.kill9()
        self.gw.start()
        late.wait_for("config/pump-1", 2)
        self.assertEqual(late.bodies("config/pump-1")[-1], {"interval": 15})

    def test_where_there_are_several_brokers_configuration_follows_the_device(self):
        self.begin()
        self.gw.stop()
        other = self.field()
        self.gw.config["local"]["brokers"].append(self.broker_config(other, "other"))
        self.gw.start()
        self.site.wait_subscribed(self.gw.client_id())
        other.wait_subscribed(self.gw.client_id("other"))
        device = self.device(client_id="one")
        self.sample(device)
        wait_for(lambda: self.cloud.is_connected("pump-1"), 20)
        self.cloud.set_shared("pump-1", {"interval": 15})
        wait_for(lambda: b"interval" in self.stored("configs"), 20, "it is on disk")
        self.gw.kill9()
        self.gw.start()  # nobody knows where pump-1 is now
        other.wait_subscribed(self.gw.client_id("other"))
        moved = FieldDevice(other.port, client_id="two")
        self.addCleanup(moved.close)
        moved.subscribe("config/pump-1")
        self.sample(moved)
        moved.wait_last("config/pump-1", {"interval": 15})

    def test_what_changed_while_the_link_was_down_is_fetched_when_it_is_back(self):
        self.begin(shared_attributes="interval, limits")
        device = self.device("config/pump-1")
        self.sample(device)
        self.cloud.set_shared("pump-1", {"interval": 15, "limits": 3})
        device.wait_last("config/pump-1", {"interval": 15, "limits": 3})
        self.cloud.outage()
        self.cloud.set_shared("pump-1", {"interval": 60})
        self.cloud.delete_shared("pump-1", "limits")
        self.cloud.resume()
        device.wait_last("config/pump-1", {"interval": 60}, 60)
        self.assertEqual([(b["client"], b["keys"]) for b in self.bodies("v1/gateway/attributes/request")],
                         [(False, ["interval", "limits"])] * 2)
        self.assertEqual(self.cloud.complaints(), [])

    def test_a_device_asks_for_client_and_shared_attributes_and_gets_one_answer(self):
        self.begin()
        device = self.device("answer/pump-1")
        device.publish("about/pump-1", {"serial": "X-9", "hall": 2})
        wait_for(lambda: self.cloud.client_attributes("pump-1") == {"serial": "X-9", "hall": 2}, 20)
        self.cloud.set_shared("pump-1", {"interval": 15})
        device.publish("ask/pump-1/attributes", {"client": ["serial", "none"], "shared": ["interval"]})
        self.assertEqual(device.wait_for("answer/pump-1"),
                         {"result": {"client": {"serial": "X-9"}, "shared": {"interval": 15}}})
        device.publish("ask/pump-1/attributes", {"shared": ["none"]})
        self.assertEqual(device.wait_for("answer/pump-1", 2), {"result": {"client": {}, "shared": {}}})
        self.assertEqual(self.cloud.complaints(), [])

    def test_a_question_that_nobody_answers_ends_in_an_error(self):
        self.begin()
        device = self.device("answer/pump-1")
        self.cloud.outage()
        device.publish("ask/pump-1/attributes", {"shared": ["interval"]})
        self.assertEqual(device.wait_for("answer/pump-1", 1, 40)["error"]["code"], "timeout")
        self.cloud.resume()
        self.sample(device)
        self.assertEqual(self.bodies("v1/gateway/attributes/request"), [], "nobody waits for it any more")

    def test_a_question_that_names_nothing_is_put_into_quarantine(self):
        self.begin()
        self.device().publish("ask/pump-1/attributes", {})
        wait_for(lambda: [q[2] for q in self.gw.quarantine()] == [b"ask/pump-1/attributes"], 20)

    def test_a_call_of_a_sub_device_is_answered_with_an_error(self):
        self.begin()
        device = self.device("answer/pump-1")
        device.publish("call/pump-1", {"method": "getTime", "params": {}})
        self.assertIn("error", device.wait_for("answer/pump-1"))
        self.assertEqual([t for t, _ in self.cloud.publishes() if "rpc/request" in t],
                         ["v1/devices/me/rpc/request/1"])  # the gateway's own getSessionLimits

    def test_a_claim_of_a_sub_device_names_it(self):
        self.begin()
        device = self.device("answer/pump-1")
        device.publish("claim/pump-1", {"secretKey": "s3", "durationMs": 60000})
        wait_for(lambda: self.cloud.claims(), 20, "the claim")
        self.assertEqual([(c["device"], c["secret"], c["duration_ms"]) for c in self.cloud.claims()],
                         [("pump-1", "s3", 60000)])
        self.assertIn("result", device.wait_for("answer/pump-1"))
        self.assertNotIn("s3", self.gw.log())


class Commands(GatewayTest):
    """RPC of every kind; what becomes of commands when something goes wrong is in test_commands.py."""

    def begin(self, **options):
        super().begin(**options)
        self.served = self.device("cmd/+/+", client_id="served")
        self.sample(self.served)
        wait_for(lambda: self.cloud.is_connected("pump-1"), 20)
        return self

    def running(self, broker, cloud, **how):
        return super().running(broker, cloud, commands=[
            {"topic": "cmd/{device}/{command}", "payload": '{"id": {id}, "params": {params}}',
             "response": {"topic": "cmd/{device}/{command}/answer", "correlate": "$.id", "result": "$.result"}}], **how)

    def answer(self, method, n, result, name="pump-1"):
        topic = "cmd/%s/%s" % (name, method)
        body = self.served.wait_for(topic, n)
        self.served.publish(topic + "/answer", {"id": body["id"], "result": result})
        return body["params"]

    def test_two_way_one_way_and_persistent_commands_reach_a_sub_device(self):
        self.begin()
        rpc = self.cloud.rpc_begin("pump-1", "start", {"rpm": 900})
        self.assertEqual(self.answer("start", 1, {"ok": True}), {"rpm": 900})
        self.assertEqual(rpc.wait(), {"ok": True})
        self.cloud.rpc("pump-1", "start", "slow", oneway=True)
        self.assertEqual(self.answer("start", 2, {"ok": 2}), "slow")
        lasting = self.cloud.rpc("pump-1", "stop", 3, persistent=True)
        self.assertEqual(self.answer("stop", 1, [1, 2]), 3)
        wait_for(lambda: self.cloud.rpc_state(lasting) == "SUCCESSFUL", 20)
        self.assertEqual(self.cloud.rpc_find(lasting).reply, [1, 2])
        self.assertEqual(self.cloud.complaints(), [])

    def test_a_command_of_the_gateway_itself_is_answered_on_its_own_topic(self):
        self.begin()
        rpc = self.cloud.rpc_begin("the gateway", "reboot", None)
        self.assertIsNone(self.answer("reboot", 1, "soon", "gw"))
        self.assertEqual(rpc.wait(), "soon")
        self.assertEqual(self.bodies("v1/devices/me/rpc/response/%d" % rpc.request_id), ["soon"])


class Presence(GatewayTest):
    def test_a_device_that_left_is_disconnected_and_connected_again_with_new_data(self):
        self.begin(device_type="pump")
        device = self.device()
        self.sample(device)
        self.assertEqual(self.bodies("v1/gateway/connect"), [{"device": "pump-1", "type": "pump"}])
        device.publish("status/pump-1", "offline")
        wait_for(lambda: self.bodies("v1/gateway/disconnect") == [{"device": "pump-1"}], 20, "disconnect")
        wait_for(lambda: not self.cloud.is_connected("pump-1"), 20)
        self.sample(device, n=2)
        self.assertTrue(self.cloud.is_connected("pump-1"))
        self.assertEqual(len(self.bodies("v1/gateway/connect")), 2)
        self.assertEqual(self.cloud.complaints(), [])

    def test_after_a_reconnect_all_that_are_there_are_announced_again(self):
        self.begin()
        device = self.device()
        names = ["pump-%d" % i for i in range(1, 21)]
        for i, name in enumerate(names):
            device.publish("sensors/%s/climate" % name, {"n": i, "ts": 1718000000000})
        device.publish("status/pump-20", "offline")
        wait_for(lambda: all(self.cloud.is_connected(n) for n in names[:-1]) and
                 {"device": "pump-20"} in self.bodies("v1/gateway/disconnect"), 20, "19 are there")
        before = len(self.cloud.publishes())
        self.cloud.outage()
        self.cloud.resume()
        wait_for(lambda: all(self.cloud.is_connected(n) for n in names[:-1]), 60, "they are there again")
        again = [b["device"] for t, b in self.cloud.publishes()[before:] if t == "v1/gateway/connect"]
        self.assertEqual(sorted(again), sorted(names[:-1]))
        subscribed = [e["topic"] for e in self.cloud.events("subscribe")]
        self.assertEqual(sorted(subscribed[len(subscribed) // 2:]), sorted([
            "v1/gateway/attributes", "v1/gateway/attributes/response", "v1/gateway/rpc",
            "v1/devices/me/rpc/request/+", "v1/devices/me/rpc/response/+", "v1/devices/me/attributes",
            "v1/devices/me/attributes/response/+"]))
        self.assertEqual(self.cloud.complaints(), [])

    def test_a_session_that_the_cloud_ends_is_opened_again(self):
        self.begin(mqtt_version="5")
        device = self.device()
        self.sample(device)
        self.assertTrue(self.cloud.gateway_disconnect("pump-1", 150))
        self.gw.wait_log("pump-1.*")
        wait_for(lambda: len(self.bodies("v1/gateway/connect")) == 1, 20)
        device.publish("sensors/pump-1/climate", {"n": 2, "ts": 1718000000002})
        wait_for(lambda: len(self.bodies("v1/gateway/connect")) == 2, 60, "it is announced again")
        wait_for(lambda: 2 in self.cloud.values("n"), 20)
        self.assertEqual(self.cloud.complaints(), [])

    def test_silent_devices_are_kept_alive(self):
        self.begin(inactivity_timeout="6s")
        self.cloud.set(inactivity_ms=6000)
        device = self.device("config/pump-1")
        self.sample(device)
        begin = time.monotonic()
        wait_for(lambda: time.monotonic() - begin > 10 or not self.cloud.is_connected("pump-1"), 15)
        self.assertTrue(self.cloud.is_connected("pump-1"))
        self.cloud.set_shared("pump-1", {"interval": 1})
        device.wait_last("config/pump-1", {"interval": 1})
        self.assertGreaterEqual(len(self.bodies("v1/gateway/attributes/request")), 2)
        self.assertEqual(len(self.bodies("v1/gateway/connect")), 1)

    def test_without_keeping_alive_the_cloud_forgets_them(self):
        self.begin(inactivity_timeout="0s")
        self.cloud.set(inactivity_ms=1500)
        self.sample(self.device())
        wait_for(lambda: not self.cloud.is_connected("pump-1"), 20, "it expires")
        self.assertEqual(self.bodies("v1/gateway/attributes/request"), [])


class RenameAndDelete(GatewayTest):
    def test_a_renamed_device_keeps_its_new_name_over_a_kill(self):
        self.begin()
        device = self.device("config/pump-1")
        self.sample(device)
        rpc = self.cloud.rename("pump-1", "north pump")
        wait_for(lambda: rpc.state in ("SUCCESSFUL", "DELIVERED"), 20, "the notice is taken")
        wait_for(lambda: b"north pump" in self.stored("links/tb.names"), 20, "the name is on disk")
        self.gw.kill9()
        self.gw.start()
        device.publish("sensors/pump-1/climate", {"n": 2, "ts": 1718000000002})
        wait_for(lambda: ("north pump", 2) in {(d, v) for d, _, k, v in self.cloud.samples() if k == "n"}, 60,
                 "data under the new name")
        self.assertEqual(sorted(self.cloud.devices()), ["north pump"])
        self.cloud.set_shared("north pump", {"interval": 7})
        device.wait_last("config/pump-1", {"interval": 7})
        self.assertEqual(self.cloud.complaints(), [])

    def test_a_deleted_device_is_mute_over_a_restart_and_others_go_on(self):
        self.begin()
        device = self.device()
        self.sample(device)
        self.sample(device, "pump-2", 10)
        self.cloud.delete("pump-1")
        wait_for(lambda: "pump-1" not in self.cloud.devices(), 20)
        self.gw.wait_log("pump-1")
        device.publish("sensors/pump-1/climate", {"n": 2, "ts": 1718000000002})
        self.sample(device, "pump-2", 11)
        self.assertEqual(self.gw.term(), 0)
        self.gw.start()
        device.publish("sensors/pump-1/climate", {"n": 3, "ts": 1718000000003})
        self.sample(device, "pump-2", 12)
        self.assertNotIn("pump-1", self.cloud.devices())
        self.assertEqual([v for v in self.cloud.values("n") if v in (2, 3)], [])

    def test_a_deleted_device_is_made_again_where_the_operator_wants_it(self):
        self.begin(on_delete="recreate", device_type="pump")
        device = self.device()
        self.sample(device)
        self.cloud.delete("pump-1")
        wait_for(lambda: self.cloud.events("forgotten"), 20)
        device.publish("sensors/pump-1/climate", {"n": 2, "ts": 1718000000002})
        wait_for(lambda: 2 in self.cloud.values("n"), 60)
        self.assertEqual(self.cloud.devices(), {"pump-1": "pump"})
        self.assertEqual(self.cloud.complaints(), [])


class Limits(GatewayTest):
    def limits(self, **gateway):
        rates = {"messages": "20:1", "telemetryMessages": "10:1", "telemetryDataPoints": "40:1"}
        self.cloud_limits = {"maxPayloadSize": 65536, "maxInflightMessages": 100, "rateLimits": rates,
                             "gatewayRateLimits": dict(rates, **gateway)}
        cloud = self.thingsboard()
        cloud.set(limits=self.cloud_limits, enforce_limits=True)
        return cloud

    @goes_first
    def test_a_cloud_that_takes_little_gets_everything_at_its_pace(self):
        self.begin(self.limits())
        publisher = self.publisher(self.site)
        publisher.burst(160, ("pump-1", "pump-2", "pump-3"))
        publisher.wait_acked()
        self.wait_delivered(self.cloud, publisher.sent, 120)
        self.assertEqual((self.cloud.duplicates(), self.cloud.disorder("n"), self.cloud.complaints()), (0, [], []))
        self.assertEqual(len(self.cloud.events("connect")), 1, "a limit was broken")

    @goes_first
    def test_a_backlog_of_many_devices_keeps_to_the_limits(self):
        cloud = self.limits()
        self.begin(cloud)
        publisher = self.publisher(self.site)
        cloud.outage()
        publisher.burst(150, ["pump-%d" % i for i in range(30)])
        publisher.wait_acked()
        cloud.resume()
        cloud.set(limits=self.cloud_limits, enforce_limits=True)
        self.wait_delivered(cloud, publisher.sent, 120)
        self.assertEqual((cloud.disorder("n"), cloud.complaints()), ([], []))
        self.assertEqual(len(cloud.events("connect")), 2, "a limit was broken")

    def test_the_packet_size_the_cloud_tells_is_kept(self):
        cloud = self.thingsboard()
        cloud.set(limits={"maxPayloadSize": 2000, "maxInflightMessages": 100, "rateLimits": {},
                          "gatewayRateLimits": {}})
        self.begin(cloud)
        publisher = self.publisher(self.site)
        cloud.outage()
        publisher.burst(300, ("pump-1", "pump-2"))
        publisher.wait_acked()
        cloud.resume()
        self.wait_delivered(cloud, publisher.sent)
        sizes = [len(e["payload"]) for e in cloud.events("publish")]
        self.assertLessEqual(max(sizes), 2000)
        self.assertGreater(max(sizes), 1000)

    def test_a_cloud_that_does_not_know_its_limits_gets_everything(self):
        cloud = self.thingsboard()
        cloud.set(limits=None)
        self.begin(cloud)
        publisher = self.publisher(self.site)
        publisher.burst(100)
        self.wait_delivered(cloud, publisher.sent)
        self.assertEqual(cloud.complaints(), [])

    def test_a_token_that_is_no_gateways_is_named_in_the_log(self):
        cloud = self.thingsboard(devices=[{"name": "just a device", "gateway": False, "token": "DEVICE"}])
        self.begin(cloud, access_token="DEVICE")
        self.gw.wait_log("gateway", 20)
        device = self.device()
        device.publish("sensors/pump-1/climate", {"n": 1, "ts": 1718000000001})
        self.gw.wait_log("Is gateway|is no gateway", 20)
        self.assertEqual([t for t, _ in cloud.publishes() if t.startswith("v1/gateway")], [])


class Latency(GatewayTest):
    def test_how_long_a_sample_took_is_told_beside_its_values(self):
        self.begin(latency=True)
        device = self.device()
        before = int(time.time() * 1000)
        device.publish("sensors/pump-1/climate", {"n": 5})
        wait_for(lambda: 5 in self.cloud.values("n"), 20)
        entry = self.bodies("v1/gateway/telemetry")[-1]["pump-1"][0]
        metadata = entry["metadata"]
        self.assertEqual(metadata["connector"], "gw")
        self.assertLessEqual(before, metadata["receivedTs"])
        self.assertLessEqual(metadata["receivedTs"], metadata["publishedTs"])
        self.assertEqual(entry["ts"], metadata["receivedTs"])
        self.assertEqual(self.cloud.complaints(), [])
