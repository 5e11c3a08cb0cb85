"""Huawei Cloud IoTDA: where MQTT is blocked, what goes up goes by HTTPS. The stand-in checks both by itself."""
import json
import os
import subprocess

from cloudsim import GATEWAY, SECRET
from field_device import FieldDevice
from frame import BUILD, Certificates, SteadyLoad, wait_for
from test_huawei_gateway import PUMPS, HuaweiTest, in_iotda

CTL = os.path.join(BUILD, "src", "fieldgatectl")


class HttpsTest(HuaweiTest):
    fallback = {}  # beside the URL

    def huawei(self):
        cloud = super().huawei()
        self.https = cloud.https
        return cloud

    def huawei_config(self, cloud, **more):
        fallback = dict({"url": self.https.url, "after": "1s"}, **self.fallback)
        return super().huawei_config(cloud, fallback=fallback, **more)

    def begin_blocked(self, **options):
        """MQTT is blocked before the gateway starts."""
        huawei = self.huawei

        def blocked():
            cloud = huawei()
            cloud.outage()
            return cloud
        self.huawei = blocked
        return self.begin(is_let_in=False, **options)

    def burst(self, count, devices=PUMPS):
        self.device.burst(count, devices)
        self.device.wait_acked()

    def wait_all(self, timeout_s=60):
        self.wait_delivered(self.cloud, in_iotda(self.device.sent), timeout_s)

    def by_https(self):
        return self.cloud.events("https_publish")

    def by_mqtt(self):
        return self.cloud.publishes("gateway/sub_devices/properties/report")

    def wait_by_https(self, n=1):
        wait_for(lambda: self.gw.is_up() and len(self.by_https()) >= n, 20, "%d reports by HTTPS" % n)

    def refused(self, status=None):
        return [e["status"] for e in self.cloud.events("https_refused") if status in (None, e["status"])]

    def codes(self):
        return [e["code"] for e in self.cloud.events("https_refused")]

    def link_status(self):
        done = subprocess.run([CTL, "status", "--json", "--state", self.gw.state], stdout=subprocess.PIPE, check=True)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        return next(line for line in lines if line["what"] == "link")

    def check_secrets(self):
        log = self.gw.log(whole=True)
        for token in [SECRET] + self.https.given:
            self.assertNotIn(token, log)


class Blocked(HttpsTest):
    devices = ["pump-%d" % i for i in range(1, 121)]

    def test_where_mqtt_is_blocked_from_the_start_reports_go_by_https_and_over_to_mqtt_later(self):
        self.begin_blocked()
        self.burst(600, self.devices)
        self.wait_all()
        self.assertEqual(len(self.cloud.events("https_login")), 1)
        self.assertEqual((self.cloud.duplicates(), self.cloud.disorder("n")), (0, []))
        self.assertEqual((self.complaints(), self.refused()), ([], []))
        self.assertEqual({e["path"] for e in self.by_https()}, {"gateway/sub-devices/properties/report"})
        self.assertEqual({e["on_connection"] for e in self.by_https()}, set(range(2, len(self.by_https()) + 2)),
                         "all of it went over the connection of the sign-in")
        self.assertEqual(self.link_status()["sessions_by_http"], 1)
        # MQTT is back.
        before = len(self.by_https())
        self.cloud.resume()
        wait_for(lambda: self.gw.is_up() and self.cloud.events("connect"), 20, "IoTDA sees a login")
        self.burst(100, self.devices)
        self.wait_all()
        self.assertEqual(len(self.by_https()), before)
        self.assertEqual((self.cloud.duplicates(), self.cloud.disorder("n"), self.complaints()), (0, [], []))
        self.assertEqual((self.link_status()["state"], self.link_status()["sessions_by_http"]), ("online", 0))
        self.gw.wait_log("link hw: MQTT is blocked, sending by HTTP, backlog=")
        self.check_secrets()

    def test_what_comes_and_goes_waits_for_mqtt_and_data_does_not_wait_for_it(self):
        self.begin_blocked()
        self.burst(2, ["pump-1", "pump-2"])
        self.wait_all()
        self.device.raw("status/pump-2", "offline")
        self.burst(40, ["pump-1"])
        self.wait_all()
        self.assertEqual(self.cloud.reported("sub_device_update_status"), [])
        self.cloud.resume()
        wait_for(lambda: self.cloud.statuses()["p1_pump-2"] == "OFFLINE", 20, "IoTDA is told that pump-2 has gone")
        self.assertEqual(self.complaints(), [])


class Strangers(HttpsTest):
    def test_a_sub_device_that_iotda_does_not_have_goes_into_quarantine_and_slows_nobody(self):
        self.begin_blocked()
        self.burst(20, PUMPS + ["stranger"])
        sent = [s for s in in_iotda(self.device.sent) if "stranger" not in s[0]]
        self.wait_delivered(self.cloud, sent)
        wait_for(lambda: len(self.gw.quarantine()) == 5, 20, "what the stranger said is in quarantine")
        n = len(self.refused())
        self.burst(100, PUMPS + ["stranger"])
        sent = [s for s in in_iotda(self.device.sent) if "stranger" not in s[0]]
        self.wait_delivered(self.cloud, sent)
        self.assertEqual((set(self.codes()), len(self.refused())), ({"IOTDA.021104"}, n), "found once")
        self.assertEqual((self.cloud.duplicates(), self.cloud.disorder("n")), (0, []))
        wait_for(lambda: len(self.gw.quarantine()) == 30, 20, "what it said since is there, too")
        self.assertEqual(self.gw.quarantine()[-1][1], "IoTDA does not have it as a sub-device of this gateway")


class Switching(HttpsTest):
    def test_mqtt_that_dies_and_comes_back_loses_nothing_and_keeps_the_order(self):
        self.begin()
        load = SteadyLoad(self.device, 200)
        self.addCleanup(load.stop)
        wait_for(lambda: len(self.by_mqtt()) > 3, 20, "reports by MQTT")
        self.cloud.outage()
        self.wait_by_https(5)
        n_connects = len(self.cloud.events("connect"))
        self.cloud.resume()
        wait_for(lambda: len(self.cloud.events("connect")) > n_connects, 20, "IoTDA sees a login")
        n_by_mqtt, n_by_https = len(self.by_mqtt()), len(self.by_https())
        wait_for(lambda: len(self.by_mqtt()) > n_by_mqtt + 3, 20, "reports by MQTT again")
        load.stop()
        self.device.wait_acked()
        self.wait_all()
        self.assertLessEqual(len(self.by_https()), n_by_https + 1, "one request was under way at most")
        self.assertEqual((self.cloud.disorder("n"), self.complaints(), self.refused()), ([], [], []))
        self.check_secrets()

    def test_a_request_under_way_is_answered_before_mqtt_takes_over(self):
        self.begin_blocked()
        self.https.answer_after_s = 1
        self.burst(1)
        self.wait_by_https()
        self.burst(50)
        self.cloud.resume()
        wait_for(lambda: self.gw.is_up() and self.cloud.events("connect"), 20, "IoTDA sees a login")
        self.wait_all()
        self.assertEqual((self.cloud.duplicates(), self.cloud.disorder("n"), self.complaints()), (0, [], []))

    def test_an_answer_that_is_lost_loses_nothing(self):
        self.begin_blocked()
        self.https.lose_answer_at = 2
        for _ in range(4):
            self.burst(25)
            self.wait_all()
        self.assertEqual((self.cloud.disorder("n"), self.complaints()), ([], []))

    def test_where_both_are_dead_everything_waits_and_the_first_that_is_back_gets_it(self):
        self.begin_blocked()
        self.https.status = 503
        self.burst(100)
        wait_for(lambda: self.refused(503), 20, "IoTDA refuses a sign-in")
        self.https.status = "silent"
        self.burst(100)
        self.https.status = None
        self.wait_all()
        self.assertEqual(self.by_mqtt(), [])
        self.https.status = "silent"
        self.burst(100)
        self.cloud.resume()
        self.wait_all()
        self.assertEqual((self.cloud.disorder("n"), self.complaints()), ([], []))
        self.assertEqual(self.gw.quarantine(), [])

    def test_what_iotda_has_not_answered_when_the_gateway_is_killed_comes_afterwards(self):
        self.begin_blocked()
        self.https.answer_after_s = 0.2
        self.burst(200)
        self.wait_by_https(1)
        self.burst(200)
        self.wait_by_https(2)
        self.gw.kill9()
        self.https.answer_after_s = 0
        self.gw.start()
        self.wait_all()
        self.assertEqual((self.cloud.disorder("n"), self.complaints(), self.refused()), ([], [], []))

    def test_ending_waits_for_the_answer_to_the_request_under_way(self):
        self.begin_blocked()
        self.https.answer_after_s = 0.5
        self.burst(1)
        self.wait_by_https()
        self.assertEqual(self.gw.term(), 0)
        self.https.answer_after_s = 0
        self.gw.start()
        self.burst(1)
        self.wait_all()
        self.assertEqual(self.cloud.duplicates(), 0)


class Tokens(HttpsTest):
    def test_a_token_that_is_not_accepted_any_more_is_replaced_and_nothing_is_lost(self):
        self.begin_blocked()
        self.burst(50)
        self.wait_all()
        self.https.forget_tokens()
        self.burst(50)
        self.wait_all()
        self.assertEqual((len(self.cloud.events("https_login")), self.codes()), (2, ["IOTDA.000004"]))
        self.assertEqual((self.cloud.duplicates(), self.cloud.disorder("n"), self.complaints()), (0, [], []))
        self.check_secrets()

    def test_a_token_is_replaced_before_it_expires(self):
        self.begin_blocked()
        self.https.expires_in_s = 2
        self.burst(10)
        wait_for(lambda: self.gw.is_up() and len(self.cloud.events("https_login")) >= 2, 20, "another sign-in")
        self.burst(10)
        self.wait_all()
        self.assertEqual((self.refused(), self.complaints()), ([], []))

    def test_a_wrong_secret_is_tried_once_and_named_in_the_log(self):
        self.begin_blocked(secret="not-it")
        self.burst(10)
        self.gw.wait_log("link hw: by HTTP: the cloud refuses the sign-in .HTTP status 401.; check its credentials")
        self.assertEqual(self.refused(), [401])
        self.assertNotIn("not-it", self.gw.log(whole=True))

    def test_limits_of_iotda_count_by_https_too(self):
        self.begin_blocked(max_rate=3)
        self.cloud.set(messages_per_s=3)
        for n in range(6):
            self.burst(1)
            self.wait_by_https(n + 1)
        self.wait_all()
        self.assertEqual(self.refused(), [])

    def test_a_limit_that_is_reached_all_the_same_is_waited_for_and_the_token_stays(self):
        self.begin_blocked(max_rate=0)
        self.cloud.set(messages_per_s=1)
        wait_for(lambda: self.burst(1) or self.codes(), 20, "IoTDA refuses a report")
        self.wait_all()
        self.assertEqual(set(self.codes()), {"IOTDA.021101"})
        self.assertEqual((len(self.cloud.events("https_login")), self.cloud.duplicates()), (1, 0))
        self.assertEqual((self.gw.quarantine(), self.cloud.disorder("n")), ([], []))


class Safety(HttpsTest):
    def test_https_is_verified_and_reports_go_over_tls(self):
        world, stranger = Certificates(self.directory, "world"), Certificates(self.directory, "stranger")
        self.platform = {"https_tls": world.issue("iotda")}
        self.begin_blocked(tls={"ca": stranger.ca})
        self.burst(20)
        self.gw.wait_log("link hw: by HTTP: .*certificate.*, trying again in")
        self.assertEqual(self.cloud.events("https_login"), [])
        self.gw.stop()
        self.gw.config["clouds"][0]["tls"] = {"ca": world.ca}
        self.gw.start()
        self.wait_all()
        self.assertTrue(self.https.url.startswith("https://"))
        self.assertEqual(self.complaints(), [])

    def test_a_plugin_that_cannot_send_by_http_is_told_at_the_check(self):
        self.begin_blocked()
        self.gw.stop()
        self.gw.config["clouds"] = [{"name": "tb", "plugin": "thingsboard", "url": "mqtt://127.0.0.1:1",
                                     "access_token": "t", "fallback": {"url": "https://tb.example.com"}}]
        status, text = self.gw.check()
        self.assertNotEqual(status, 0)
        self.assertIn("plugin thingsboard cannot send by HTTP: take `fallback` away", text)

    def test_an_answer_to_a_command_waits_for_mqtt(self):
        self.begin()
        served = FieldDevice(self.site.port)
        self.addCleanup(served.close)
        served.subscribe("cmd/+/+")
        self.burst(3)
        self.wait_all()
        call = self.cloud.command_begin("p1_pump-1", "START", {"speed": 4})
        body = served.wait_for("cmd/pump-1/START")
        self.cloud.outage()
        self.burst(3)
        self.wait_by_https()
        served.publish("cmd/pump-1/START/answer", {"id": body["id"], "result": {"state": "on"}})
        self.burst(30)
        self.wait_all()
        self.assertFalse(call.is_done)
        self.cloud.resume()
        self.assertEqual(call.wait()["paras"], {"state": "on"})
        self.assertEqual(self.cloud.disorder("n"), [])
        self.assertNotIn(GATEWAY, [d for d, _ in self.device.sent])
