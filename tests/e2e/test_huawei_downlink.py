"""Huawei Cloud IoTDA: messages down, the shadow, properties; and how the gateway signs in."""
import gzip
import base64
import json
import os
import signal
import time

from cloudsim import GATEWAY
from field_device import FieldDevice
from frame import BUILD, MAPPING, TOPIC, records, wait_for
from test_huawei_gateway import COMMAND, PUMPS, HuaweiTest, in_iotda

ASK = {"topic": "ask/{device}", "request": {"kind": "attributes", "response": "told/{device}"}}
REPORT = {"topic": "props/{device}/{stream}", "payload": "json"}
COMMANDS = [dict(COMMAND, commands=["set", "get"]), {"topic": "cmd/{device}/{command}", "offline": "wait", "timeout": "5min"}]


class DownlinkTest(HuaweiTest):
    def begin(self, commands=COMMANDS, **options):
        """A gateway with devices that hear commands, and answers to their questions."""
        self.site, self.cloud = self.field(), self.huawei()
        self.gw = self.gateway(self.site, clouds=[self.huawei_config(self.cloud, **options)],
                               mappings=[ASK, REPORT, MAPPING], start=False)
        self.gw.config["commands"] = commands
        self.gw.start()
        self.site.wait_subscribed(self.gw.client_id())
        self.device = self.publisher(self.site)
        self.served = FieldDevice(self.site.port)
        self.addCleanup(self.served.close)
        self.served.subscribe("cmd/+/+", "told/+")
        self.device.burst(len(PUMPS), PUMPS)  # the gateway knows devices that have spoken
        self.wait_delivered(self.cloud, in_iotda(self.device.sent))
        self.wait_subscribed(1)
        return self

    def wait_subscribed(self, n_sessions):
        wait_for(lambda: sum("events/down" in e["topic"] for e in self.cloud.events("subscribe")) == n_sessions, 30,
                 "the gateway has subscribed")

    def wait_acknowledged(self):
        wait_for(lambda: self.cloud.unacknowledged() == 0, 20, "IoTDA has all PUBACKs")


class Messages(DownlinkTest):
    def test_a_message_of_iotda_reaches_its_device_once_however_often_it_comes(self):
        self.begin()
        recipe = {"object_device_id": "p1_pump-1", "name": "recipe", "id": "17", "content": {"sugar": 42}}
        for _ in range(3):
            self.cloud.push("messages/down", json.dumps(recipe))
        self.cloud.push("messages/down", json.dumps(dict(recipe, id="18", content="next")))
        self.wait_acknowledged()
        self.served.wait_for("cmd/pump-1/recipe", 2)
        self.cloud.push("messages/down", json.dumps(dict(recipe, id="19", content="last")))
        self.served.wait_for("cmd/pump-1/recipe", 3)
        self.assertEqual(self.served.bodies("cmd/pump-1/recipe"), [{"sugar": 42}, "next", "last"])
        self.assertEqual((self.cloud.responses(), self.complaints()), ([], []))

    def test_what_is_no_message_of_iotdas_form_is_for_the_gateway_itself(self):
        self.begin()
        large = b"\xff" * (256 << 10)
        for payload in (b'{"n": 1}', b"hello", b"\xff\x00", large):
            self.cloud.push("messages/down", payload)
        self.served.wait_for("cmd/gw/message", 4)
        self.assertEqual(self.served.bodies("cmd/gw/message"), [{"n": 1}, "hello", {"base64": "/wA="}, {
            "base64": base64.b64encode(large).decode()}])

    def test_messages_that_waited_at_iotda_come_when_the_gateway_is_back(self):
        self.begin()
        self.gw.kill9()
        wait_for(lambda: self.cloud.events("disconnect"), 20, "IoTDA sees it go")
        for n in range(3):
            self.cloud.message("p1_pump-1", n, "note")
        self.gw.start()
        self.served.wait_for("cmd/pump-1/note", 3)
        self.assertEqual(self.served.bodies("cmd/pump-1/note"), [0, 1, 2])
        self.wait_acknowledged()

    def test_a_message_of_iotda_that_was_acknowledged_outlives_a_kill(self):
        self.begin()
        self.site.stop()
        self.cloud.message("p1_pump-1", "x", "note")
        self.wait_acknowledged()
        self.gw.kill9()
        self.site.start()
        served = FieldDevice(self.site.port).subscribe("cmd/+/+")
        self.addCleanup(served.close)
        self.gw.start()
        self.assertEqual(served.wait_for("cmd/pump-1/note"), "x")


    def test_a_message_of_iotda_for_a_device_it_has_yet_to_name_outlives_a_kill(self):
        self.begin()
        self.cloud.add_sub_device("another-id", node_id="pump-9")
        self.gw.kill9()
        self.cloud.set(answers_events=False)
        self.gw.start()
        self.wait_subscribed(2)
        self.cloud.message("another-id", "x", "note")
        self.wait_acknowledged()
        self.gw.kill9()
        self.cloud.set(answers_events=True)
        self.gw.start()
        self.assertEqual(self.served.wait_for("cmd/pump-9/note"), "x")



class Restart(DownlinkTest):
    """IoTDA is there before the field broker is."""

    def start_without_site(self, **options):
        self.begin([COMMAND], **options)
        self.gw.kill9()
        self.site.process.send_signal(signal.SIGSTOP)
        self.addCleanup(self.site.process.send_signal, signal.SIGCONT)
        self.gw.start()
        self.wait_subscribed(2)

    def answer_each(self):
        def react(_client, _user, message):
            body = json.loads(message.payload)
            self.served.received.append((message.topic, body["params"]))
            self.served.mqtt.publish(message.topic + "/answer", json.dumps({"id": body["id"], "result": {}}), 1)
        self.served.mqtt.on_message = react

    def test_a_command_of_iotda_that_comes_before_the_field_brokers_session_waits_for_it(self):
        self.start_without_site()
        self.answer_each()
        calls = [self.cloud.command_begin("p1_pump-1", "START", {"n": n}, "pump") for n in range(2)]
        wait_for(lambda: sum(kind == 192 for kind, _ in records(self.gw.state, "alarm")) == 2, 20, "both are on disk")
        self.assertEqual((self.served.received, [call.is_done for call in calls]), ([], [False] * 2))
        self.site.process.send_signal(signal.SIGCONT)
        self.assertEqual([call.wait()["result_code"] for call in calls], [0, 0])
        self.assertEqual(self.served.bodies("cmd/pump-1/START"), [{"n": 0}, {"n": 1}])

    def test_a_field_broker_that_does_not_come_in_time_is_what_iotda_is_told(self):
        self.start_without_site(answer_within="1s")
        self.answer_each()
        call = self.cloud.command_begin("p1_pump-1", "START", {"n": 0}, "pump")
        self.assertEqual(call.wait(), {
            "result_code": 5, "response_name": "START_RESPONSE",
            "paras": {"error": "offline", "text": "the gateway had no session with the device's broker in time"}})
        self.site.process.send_signal(signal.SIGCONT)
        wait_for(lambda: self.gw.status()["broker field"]["state"] == "online", 20, "the gateway is there")
        self.assertEqual(self.cloud.command_begin("p1_pump-1", "START", {"n": 1}, "pump").wait()["result_code"], 0)
        self.assertEqual(self.served.bodies("cmd/pump-1/START"), [{"n": 1}])


class Shadow(DownlinkTest):
    def test_a_device_that_asks_gets_its_shadow(self):
        self.begin()
        self.cloud.set(n_repeats=0)
        self.served.publish("props/pump-1/env", {"limit": 4})
        self.cloud.desire("p1_pump-1", {"cfg": {"limit": 5}, "other": {"x": 1}})
        self.served.wait_for("cmd/pump-1/set")
        wait_for(lambda: any(r.service == "env" for r in self.cloud.readings()), 20, "its report")
        self.served.publish("ask/pump-1", {"client": ["env"], "shared": ["cfg"]})
        self.assertEqual(self.served.wait_for("told/pump-1"),
                         {"result": {"client": {"env": {"limit": 4}}, "shared": {"cfg": {"limit": 5}}}})
        self.served.publish("ask/pump-2", {"shared": ["cfg"]})
        self.assertEqual(self.served.wait_for("told/pump-2"), {"result": {"shared": {}}})
        self.assertEqual(self.complaints(), [])

    def test_what_is_desired_is_set_until_the_device_reports_it(self):
        self.begin()
        self.cloud.desire("p1_pump-1", {"cfg": {"limit": 5}})
        for n, limit in ((1, 4), (2, 5)):
            body = self.served.wait_for("cmd/pump-1/set", n)
            self.assertEqual(body["params"], [{"service_id": "cfg", "properties": {"limit": 5}}])
            self.served.publish("cmd/pump-1/set/answer", {"id": body["id"], "result": None})
            wait_for(lambda: len(self.cloud.responses("answered")) == n, 20, "IoTDA is answered")
            self.served.publish("props/pump-1/cfg", {"limit": limit})
        wait_for(lambda: self.cloud.undone("p1_pump-1") == {}, 20, "it is as desired")
        self.assertEqual(len(self.served.bodies("cmd/pump-1/set")), 2)
        self.assertEqual(self.complaints(), [])


class Properties(DownlinkTest):
    def report(self, device, service, properties):
        n = len(self.cloud.readings())
        self.served.publish("props/%s/%s" % (device, service), properties)
        wait_for(lambda: len(self.cloud.readings()) > n, 20, "the report")

    def ask(self, device, service=None):
        """Its services as IoTDA hears of them, and the times."""
        services = self.cloud.get_properties("p1_" + device, service).wait()["services"]
        return ({s["service_id"]: s["properties"] for s in services}, [s["event_time"] for s in services])

    def test_properties_of_a_device_that_no_rule_reaches_are_those_it_reported_last(self):
        self.begin(commands=[dict(COMMAND, commands=["set"])])
        self.report("pump-1", "env", {"t": 21.5, "h": 40})
        self.report("pump-1", "cfg", {"limit": 4})
        self.report("pump-1", "env", {"t": 22})
        properties, [at] = self.ask("pump-1", "env")
        self.assertEqual(properties, {"env": {"t": 22, "h": 40}})
        [reported] = [r.ms for r in self.cloud.readings() if r.properties == {"t": 22}]
        self.assertEqual(at, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(reported / 1000)))
        properties, _ = self.ask("pump-1")
        self.assertEqual((properties["env"], properties["cfg"]), ({"t": 22, "h": 40}, {"limit": 4}))
        self.assertNotIn("env", self.ask("pump-2")[0])
        self.assertEqual(self.served.bodies("cmd/pump-1/get"), [])
        self.assertEqual(self.complaints(), [])

    def test_properties_of_a_device_that_is_silent_are_those_it_reported_last(self):
        self.begin(answer_within="1s")
        self.report("pump-1", "env", {"t": 21.5})
        self.assertEqual(self.ask("pump-1", "env")[0], {"env": {"t": 21.5}})
        self.served.wait_for("cmd/pump-1/get")
        self.assertEqual(self.complaints(), [])


class Packed(DownlinkTest):
    def test_reports_travel_packed_where_that_is_smaller_and_what_comes_packed_is_understood(self):
        self.begin(encoding="gzip")
        self.cloud.outage()
        before = len(self.cloud.events("publish"))
        self.device.burst(500, PUMPS)
        wait_for(lambda: self.gw.journalled() == len(self.device.sent), 20, "all are in the journal")
        self.cloud.resume()
        self.wait_delivered(self.cloud, in_iotda(self.device.sent))
        reports = [e for e in self.cloud.events("publish")[before:] if "/properties/report" in e["topic"]]
        packed = [e for e in reports if e["topic"].endswith("?encoding=gzip")]
        self.assertTrue(packed)
        # A sample makes more than 100 bytes of JSON.
        self.assertLess(sum(e["size"] for e in reports), 500 * 50)
        self.assertEqual((self.cloud.duplicates(), self.cloud.disorder("n"), self.complaints()), (0, [], []))
        recipe = {"object_device_id": "p1_pump-1", "name": "recipe", "id": "1", "content": "x" * 1000}
        self.cloud.push("messages/down?encoding=gzip", gzip.compress(json.dumps(recipe).encode()))
        self.assertEqual(self.served.wait_for("cmd/pump-1/recipe"), "x" * 1000)

    def test_a_bomb_of_gzip_is_dropped_and_nothing_else(self):
        self.begin()
        self.cloud.push("messages/down?encoding=gzip", gzip.compress(bytes(10 << 20)))
        self.gw.wait_log("link hw: IoTDA has sent something packed, which is larger than 256 KiB without that")
        self.cloud.message("p1_pump-1", "x", "note")
        self.assertEqual(self.served.wait_for("cmd/pump-1/note"), "x")


class WrongClock(HuaweiTest):
    def set_clock(self, shift_s):
        with open(self.path("shift.new"), "w") as f:
            f.write(str(int(shift_s)))
        os.rename(self.path("shift.new"), self.path("shift"))

    def begin(self, clock_s, now=time.time, **options):
        """A gateway whose clock is wrong by @clock_s, and an IoTDA whose clock is @now."""
        self.set_clock(clock_s)
        self.site, self.cloud = self.field(), self.huawei(now=now)
        self.gw = self.gateway(self.site, clouds=[self.huawei_config(self.cloud, **options)], start=False,
                               mappings=[{"topic": TOPIC, "payload": "json", "telemetry": {"n": "$.n"}}])
        self.gw.start(env={"LD_PRELOAD": os.path.join(BUILD, "tests/e2e/fake_clock.so"),
                           "FAKE_CLOCK": self.path("shift"), "ASAN_OPTIONS": "verify_asan_link_order=0"})
        self.site.wait_subscribed(self.gw.client_id())
        self.device = self.publisher(self.site)
        return self

    def publish(self):
        """One sample; returns its stamp in IoTDA less the right one, in seconds."""
        now, sample = time.time(), self.device.publish("pump-1")
        self.wait_delivered(self.cloud, in_iotda([sample]))
        return [ms for _, ms, _, n in self.cloud.samples() if n == sample[1]][0] / 1000 - now


class TimeSync(WrongClock):
    def test_a_gateway_without_a_clock_stamps_by_the_time_iotda_tells(self):
        self.begin(100 - int(time.time()))
        self.assertLess(abs(self.publish()), 60)  # it would wait for ten minutes otherwise
        self.gw.wait_log("link hw: the clock of this machine is not set; it is told to be [0-9]+ ms behind")
        self.assertEqual(len(self.cloud.reported("time_sync_request")), 1)
        self.gw.wait_log("clock: the time is known now")
        self.set_clock(-3600)  # somebody sets the clock, and that counts
        self.gw.wait_log("clock: stepped by")
        self.assertLess(abs(self.publish() + 3600), 60)
        self.assertEqual(self.complaints(), [])

    def test_a_time_that_cannot_be_is_not_believed(self):
        self.begin(100 - int(time.time()), now=lambda: 130 * 365 * 86400)
        self.gw.wait_log("link hw: the cloud tells a time that cannot be, it is not believed")
        self.set_clock(0)
        self.assertLess(abs(self.publish()), 60)

    def test_a_gateway_that_knows_the_time_does_not_ask(self):
        self.begin(0, now=lambda: time.time() + 86400)
        self.assertLess(abs(self.publish()), 60)
        self.assertEqual(self.cloud.reported("time_sync_request"), [])


class SigningIn(DownlinkTest):
    def assert_gets_in(self, sign_type, keep_alive_s, **more):
        self.begin(sign_type=sign_type, **more)
        [connect] = self.cloud.events("connect")
        self.assertRegex(connect["client"], "^%s_0_%d_[0-9]{10}$" % (GATEWAY, sign_type))
        self.assertEqual((connect["keep_alive"], self.complaints()), (keep_alive_s, []))

    def test_sm3_gets_in_and_a_keep_alive_that_iotda_takes_is_its_own(self):
        self.assert_gets_in(2, 300, keep_alive="5min")
        self.assertNotIn("keep_alive", self.gw.log())

    def test_a_checked_time_gets_in_and_a_keep_alive_that_is_too_short_is_bent(self):
        self.assert_gets_in(1, 30, keep_alive="10s")
        self.gw.wait_log("link hw: keep_alive is 10 s: .*30 s it is")

    def test_a_device_that_is_disabled_is_not_tried_in_a_loop(self):
        self.site, self.cloud = self.field(), self.huawei()
        self.cloud.set_disabled(GATEWAY, True)
        self.gw = self.gateway(self.site, clouds=[self.huawei_config(self.cloud)])
        self.gw.wait_log("link hw: .*check its credentials.* trying again in [6-9][0-9]{4} ms")
        self.assertEqual([e["code"] for e in self.cloud.events("refused") if e["code"] != 1], [5])


class SigningInByTheClock(WrongClock):
    def test_a_clock_hours_away_is_refused_twice_at_once_and_gets_in_when_it_is_set(self):
        self.begin(-3 * 3600, sign_type=1)
        self.gw.wait_log("link hw: .*check its credentials.* trying again in [6-9][0-9]{4} ms")
        self.assertEqual([e["code"] for e in self.cloud.events("refused") if e["code"] != 1], [4, 4])
        self.set_clock(0)
        self.assertLess(abs(self.publish()), 60)
        self.assertEqual(len([e for e in self.cloud.events("refused") if e["code"] == 4]), 2)
