"""Huawei Cloud IoTDA: one gateway, many sub-devices, over the stand-in that checks each login by itself."""
import json
import os
import subprocess
import time

import paho.mqtt.client as paho

from cloudsim import GATEWAY, SECRET, CommandError, Huawei
from field_device import FieldDevice
from frame import BUILD, MAPPING, EndToEnd, wait_for
from huawei import login

CTL = os.path.join(BUILD, "src", "fieldgatectl")
PUMPS = ["pump-1", "pump-2", "pump-3"]
COMMAND = {"topic": "cmd/{device}/{command}", "payload": '{"id": {id}, "params": {params}}',
           "response": {"topic": "cmd/{device}/{command}/answer", "correlate": "$.id", "result": "$.result",
                        "error": "$.error"}}


def in_iotda(samples):
    """What (device, n) of the site is called there."""
    return {(d if d == GATEWAY else "p1_" + d, n) for d, n in samples}


class HuaweiTest(EndToEnd):
    devices = PUMPS
    platform = {}  # what else Huawei() is given
    env = None     # of the gateway
    mapping, more_mappings = MAPPING, []

    def huawei(self, **how):
        cloud = Huawei(**dict({"sub_devices": ["p1_" + name for name in self.devices]}, **self.platform, **how))
        self.addCleanup(cloud.stop)
        return cloud.start()

    def huawei_config(self, cloud, **more):
        config = dict({"name": "hw", "plugin": "huawei", "url": "mqtt://127.0.0.1:%d" % cloud.port,
                       "device_id": GATEWAY, "secret": SECRET, "product_id": "p1"}, **more)
        return {key: value for key, value in config.items() if value is not None}

    def begin(self, clouds=(), is_let_in=True, **options):
        """A site, a gateway and IoTDA, and links to more @clouds beside it."""
        self.site, self.cloud = self.field(), self.huawei()
        return self.begin_gateway(clouds, is_let_in, **options)

    def begin_gateway(self, clouds=(), is_let_in=True, **options):
        self.gw = self.gateway(self.site, clouds=[self.huawei_config(self.cloud, **options)] + list(clouds),
                               mappings=[{"topic": "status/{device}", "presence": {}}, self.mapping] +
                               self.more_mappings,
                               start=False)
        self.gw.config["commands"] = [COMMAND]
        self.gw.start(env=self.env)
        self.site.wait_subscribed(self.gw.client_id())
        if is_let_in:
            wait_for(lambda: self.gw.is_up() and self.cloud.events("connect"), 20, "IoTDA sees a login")
        self.device = self.publisher(self.site)
        return self

    def logins(self):
        """The client ids of all logins, good or not, as IoTDA saw them."""
        return [e["client"] for e in self.cloud.events() if e["event"] in ("connect", "refused")
                and e.get("why") != "protocol version 5"]

    def complaints(self):
        """Asking for MQTT 5 first is how the gateway finds out."""
        return [c for c in self.cloud.complaints() if c.get("why") != "protocol version 5"]


class Telemetry(HuaweiTest):
    def test_devices_behind_one_gateway_report_over_one_session_of_iotda(self):
        self.begin()
        self.device.burst(300, PUMPS + [GATEWAY])
        self.device.wait_acked()
        self.wait_delivered(self.cloud, in_iotda(self.device.sent))
        self.assertEqual((self.cloud.duplicates(), self.cloud.disorder("n"), self.complaints()), (0, [], []))
        self.assertEqual({r.service for r in self.cloud.readings()}, {"default"})
        self.assertEqual({ms for _, ms, _, _ in self.cloud.samples()}, {1718000000000}, "seconds, cut")
        [connect] = self.cloud.events("connect")
        self.assertRegex(connect["client"], "^%s_0_0_[0-9]{10}$" % GATEWAY)
        self.assertEqual((connect["clean"], connect["keep_alive"]), (True, 120))

    def test_reports_of_the_only_device_travel_packed_too(self):
        self.begin(mode="device", device="pump-1", product_id=None, encoding="gzip")
        self.device.burst(1)
        self.wait_delivered(self.cloud, {(GATEWAY, n) for _, n in self.device.sent})
        self.cloud.outage()
        before = len(self.cloud.events("publish"))
        self.device.burst(200)
        wait_for(lambda: self.gw.journalled() == len(self.device.sent), 20, "all are in the journal")
        self.cloud.resume()
        self.wait_delivered(self.cloud, {(GATEWAY, n) for _, n in self.device.sent})
        topics = {e["topic"].partition("/sys/")[2] for e in self.cloud.events("publish")[before:]}
        self.assertIn("properties/report?encoding=gzip", topics)
        self.assertLess(sum(e["size"] for e in self.cloud.events("publish")[before:]), 200 * 50)
        self.assertEqual((self.cloud.duplicates(), self.cloud.disorder("n"), self.complaints()), (0, [], []))

    def test_times_of_iotda_are_as_fine_as_they_are_asked_for(self):
        self.begin(event_time="milliseconds", sign_type=1)
        self.device.burst(5)
        self.wait_delivered(self.cloud, in_iotda(self.device.sent))
        self.assertEqual([ms for _, ms, _, _ in self.cloud.samples()], [1718000000000 + n for n in range(5)])
        self.assertRegex(self.cloud.events("connect")[0]["client"], "^%s_0_1_" % GATEWAY)
        self.assertEqual(self.complaints(), [])

    def test_an_outage_of_iotda_loses_nothing_and_its_limits_are_kept_afterwards(self):
        self.begin()
        self.device.burst(20, PUMPS)
        self.wait_delivered(self.cloud, in_iotda(self.device.sent))
        self.cloud.outage()
        self.device.burst(2000, PUMPS)
        self.device.wait_acked()
        self.cloud.resume()
        self.wait_delivered(self.cloud, in_iotda(self.device.sent))
        self.assertEqual((self.cloud.disorder("n"), self.complaints()), ([], []))

    def test_an_acknowledgement_of_iotda_that_is_lost_loses_nothing(self):
        self.begin()
        self.cloud.set(lose_ack_at=2)
        self.device.burst(50, PUMPS)
        self.wait_delivered(self.cloud, in_iotda(self.device.sent))
        self.device.burst(50, PUMPS)
        self.wait_delivered(self.cloud, in_iotda(self.device.sent))
        wait_for(lambda: len(self.cloud.events("connect")) == 2, 20, "the gateway is back")
        self.assertEqual((self.cloud.disorder("n"), self.complaints()), ([], []))

    def test_what_iotda_has_not_got_when_the_gateway_is_killed_comes_afterwards(self):
        self.begin()
        self.cloud.set(is_silent=True)
        self.device.burst(100, PUMPS)
        self.device.wait_acked()
        self.gw.kill9()
        self.cloud.set(is_silent=False)
        self.gw.start()
        self.wait_delivered(self.cloud, in_iotda(self.device.sent))
        self.assertEqual(self.complaints(), [])


class Status(HuaweiTest):
    def wait_statuses(self, **expected):
        expected = {"p1_" + name.replace("_", "-"): status for name, status in expected.items()}
        wait_for(lambda: self.cloud.statuses() == expected, 20, "%s, not %s" % (expected, self.cloud.statuses()))

    def test_iotda_is_told_which_sub_devices_are_there_and_again_after_a_reconnect(self):
        self.begin()
        self.device.burst(2, PUMPS[:2])
        self.wait_statuses(pump_1="ONLINE", pump_2="ONLINE", pump_3="INACTIVE")
        self.device.raw("status/pump-2", "offline")
        self.wait_statuses(pump_1="ONLINE", pump_2="OFFLINE", pump_3="INACTIVE")
        before = len(self.cloud.reported("sub_device_update_status"))
        self.cloud.outage()
        self.cloud.resume()
        wait_for(lambda: len(self.cloud.reported("sub_device_update_status")) > before, 30, "all is told again")
        told = [(e["device_id"], e["status"]) for paras in self.cloud.reported("sub_device_update_status")[before:]
                for e in paras["device_statuses"]]
        self.assertEqual(sorted(told), [("p1_pump-1", "ONLINE"), ("p1_pump-2", "OFFLINE")])
        self.assertEqual(self.complaints(), [])

    def test_a_device_that_iotda_does_not_know_is_named_in_the_log(self):
        self.begin()
        self.device.publish("pump-9")
        self.gw.wait_log("link hw: .*pump-9")
        self.device.publish("pump-1")
        self.wait_delivered(self.cloud, in_iotda([("pump-1", 0)]))


class Commands(HuaweiTest):
    def begin(self, **options):
        super().begin(**options)
        self.served = FieldDevice(self.site.port)
        self.addCleanup(self.served.close)
        self.served.subscribe("cmd/+/+")
        self.device.burst(3, PUMPS)
        self.wait_delivered(self.cloud, in_iotda(self.device.sent))
        wait_for(lambda: len(self.cloud.events("subscribe")) >= 3, 20, "the gateway has subscribed")
        return self

    def answer(self, name, method, result, **more):
        """Wait for the command and answer it; returns its parameters."""
        topic = "cmd/%s/%s" % (name, method)
        body = self.served.wait_for(topic)
        self.served.publish(topic + "/answer", dict(more, id=body["id"], result=result))
        return body["params"]

    def test_commands_of_iotda_reach_their_devices_and_answers_go_back(self):
        self.begin()
        calls = {name: self.cloud.command_begin("p1_" + name, "START", {"speed": i}, "pump")
                 for i, name in enumerate(PUMPS)}
        for i, name in enumerate(PUMPS):
            self.assertEqual(self.answer(name, "START", {"state": i}), {"speed": i})
            self.assertEqual(calls[name].wait(), {"result_code": 0, "response_name": "START_RESPONSE",
                                                  "paras": {"state": i}})
        call = self.cloud.command_begin(GATEWAY, "REBOOT", {"in": 5})
        self.assertEqual(self.answer("gw", "REBOOT", {"ok": True}), {"in": 5})
        self.assertEqual(call.wait()["paras"], {"ok": True})
        call = self.cloud.command_begin("p1_pump-1", "STOP", {})
        self.answer("pump-1", "STOP", None, error={"code": 3, "message": "too hot"})
        response = call.wait()
        self.assertEqual((response["result_code"], response["paras"]["error"]), (3, "refused"))
        self.assertIn("too hot", response["paras"]["text"])
        self.assertEqual({e["qos"] for e in self.cloud.events("down") if "/commands/" in e["topic"]}, {1})
        self.assertEqual(self.complaints(), [])

    def test_properties_that_iotda_sets_and_asks_for_reach_their_device(self):
        self.begin()
        call = self.cloud.set_properties("p1_pump-1", {"cfg": {"limit": 5}})
        self.assertEqual(self.answer("pump-1", "set", None), [{"service_id": "cfg", "properties": {"limit": 5}}])
        self.assertEqual(call.wait()["result_code"], 0)
        call = self.cloud.get_properties("p1_pump-2", "env")
        self.assertEqual(self.answer("pump-2", "get", {"n": 7}), {"service_id": "env"})
        self.assertEqual([(s["service_id"], s["properties"]) for s in call.wait()["services"]], [("env", {"n": 7})])
        self.assertEqual(self.complaints(), [])

    def test_a_device_that_is_silent_is_reported_before_iotda_gives_up(self):
        self.begin(answer_within="1s")
        begin = time.monotonic()
        response = self.cloud.command("p1_pump-1", "START", {})
        self.assertGreaterEqual(time.monotonic() - begin, 1, "the second is the device's, all of it")
        # The device got it: whether it did anything is not known.
        self.assertEqual((response["result_code"], response["paras"]["error"]), (8, "unknown_outcome"))
        body = self.served.wait_for("cmd/pump-1/START")
        self.served.publish("cmd/pump-1/START/answer", {"id": body["id"], "result": {}})
        self.assertEqual(self.cloud.command("p1_pump-2", "START", {})["result_code"], 8)
        self.assertEqual([e["verdict"] for e in self.cloud.responses()], ["answered"] * 2)
        self.assertEqual(self.complaints(), [])

    def test_a_command_that_iotda_repeats_runs_once(self):
        self.begin()
        call = self.cloud.command_begin("p1_pump-1", "START", {"speed": 1}, timeout_s=60)
        self.served.wait_for("cmd/pump-1/START")
        for _ in range(3):
            self.cloud.repeat(call)
        wait_for(lambda: self.cloud.unacknowledged() == 0, 20, "all are acknowledged")
        self.answer("pump-1", "START", {"state": "on"})
        self.assertEqual(call.wait()["paras"], {"state": "on"})
        self.cloud.repeat(call)
        wait_for(lambda: len(self.cloud.responses()) == 2, 20, "the same answer once more")
        first, again = self.cloud.responses()
        self.assertEqual((again["id"], again["body"]), (first["id"], first["body"]))
        self.cloud.command_begin("p1_pump-1", "STOP", {})
        self.answer("pump-1", "STOP", {})
        self.assertEqual(len(self.served.bodies("cmd/pump-1/START")), 1)
        self.assertEqual(self.complaints(), [])

    def test_more_answers_than_iotda_takes_in_a_second_keep_to_its_pace(self):
        self.begin()

        def react(_client, _user, message):
            body = json.loads(message.payload)
            answer = json.dumps({"id": body["id"], "result": {"ok": True}})
            self.served.mqtt.publish(message.topic + "/answer", answer, 1)
        self.served.mqtt.on_message = react
        calls = [self.cloud.command_begin("p1_" + PUMPS[i % 3], "START", {"i": i}, timeout_s=60) for i in range(150)]
        self.assertEqual({call.wait()["result_code"] for call in calls}, {0})
        self.assertEqual((len(self.cloud.events("connect")), self.complaints()), (1, []))
        times = [e["ms"] for e in self.cloud.events("publish")]
        busiest = max(sum(begin <= ms < begin + 1000 for ms in times) for begin in times)
        # 50, and what a busy machine moves from one second into the next.
        self.assertLess(busiest, 65)

    def test_a_command_during_an_outage_of_iotda_is_refused_there_and_others_go_on(self):
        self.begin()
        self.cloud.kick()
        wait_for(lambda: len(self.cloud.events("connect")) == 2 and len(self.cloud.events("subscribe")) >= 6, 30,
                 "it is back")
        call = self.cloud.command_begin("p1_pump-1", "START", {})
        self.answer("pump-1", "START", {})
        self.assertEqual(call.wait()["result_code"], 0)
        self.cloud.outage()
        with self.assertRaises(CommandError) as caught:
            self.cloud.command("p1_pump-1", "STOP", {})
        self.assertEqual(caught.exception.code, "IOTDA.014016")


class Logins(HuaweiTest):
    def test_a_wrong_secret_of_iotda_is_named_and_not_tried_in_a_loop(self):
        self.begin(is_let_in=False, secret="not-the-s3cret")
        self.device.burst(20, PUMPS)
        self.device.wait_acked()
        self.gw.wait_log("link hw: .*(user ?name|password|credentials|not authori[sz]ed)")
        # Once more at once, since the hour may have passed; then after a minute or more.
        self.gw.wait_log("link hw: .*check its credentials.* trying again in [6-9][0-9]{4} ms")
        self.assertEqual([e["code"] for e in self.cloud.events("refused") if e["code"] != 1], [4, 4])
        told = subprocess.run([CTL, "status", "--state", self.gw.state], stdout=subprocess.PIPE, timeout=20).stdout
        self.assertRegex(told.decode(), r'link hw: backing off why="refused: bad user name or password" '
                                        r'retry_ms=[0-9]{5} address="127\.0\.0\.1:%d" ' % self.cloud.port)
        self.assertNotIn("not-the-s3cret", self.gw.log())
        self.assertEqual(self.gw.term(), 0)
        self.gw.config["clouds"][0]["secret"] = SECRET
        self.gw.start()
        self.wait_delivered(self.cloud, in_iotda(self.device.sent))
        self.assertNotIn(SECRET, self.gw.log(whole=True))

    def test_a_client_id_that_iotda_does_not_accept_is_named_and_not_tried_in_a_loop(self):
        self.site, self.cloud = self.field(), self.huawei()
        self.cloud.set(keep_alive_s=(300, 1200))  # the same code stands for both
        self.gw = self.gateway(self.site, clouds=[self.huawei_config(self.cloud)])
        self.gw.wait_log("error link hw: .*check its configuration: the client id, or the keep alive, is not accepted; "
                         "trying again in [6-9][0-9]{4} ms")
        self.assertEqual([e["code"] for e in self.cloud.events("refused") if e["code"] != 1], [2])
        told = subprocess.run([CTL, "status", "--state", self.gw.state], stdout=subprocess.PIPE, timeout=20).stdout
        self.assertRegex(told.decode(), r'link hw: backing off why="refused: [^"]*" retry_ms=[0-9]{5} ')
        self.assertEqual(self.gw.term(), 0)
        self.gw.config["clouds"][0]["keep_alive"] = "10min"
        self.gw.start()
        wait_for(lambda: self.cloud.events("connect"), 20, "IoTDA lets it in")

    def test_another_client_with_the_same_device_id_of_iotda_is_outlived(self):
        self.begin()
        hour = login.hour()
        rival = paho.Client(login.client_id(GATEWAY, hour), reconnect_on_failure=False)
        rival.username_pw_set(GATEWAY, login.password(SECRET, hour))
        rival.connect("127.0.0.1", self.cloud.port)
        rival.loop_start()
        self.addCleanup(rival.loop_stop)
        wait_for(lambda: [e["why"] for e in self.cloud.events("disconnect")][:1] == ["taken over"], 20,
                 "the rival is in")
        self.device.burst(20, PUMPS)
        self.wait_delivered(self.cloud, in_iotda(self.device.sent))
        self.assertEqual([e["why"] for e in self.cloud.events("disconnect")], ["taken over"] * 2)
        self.assertEqual(len(self.cloud.events("connect")), 3)
        self.assertEqual(self.complaints(), [])
