#!/usr/bin/python3
"""The stand-in for Huawei Cloud IoTDA orders upgrades and judges what it is told, as its documentation says. An
independent client plays the gateway."""
import hashlib
import http.client
import ssl
import sys
import tempfile
import unittest
import urllib.error
import urllib.request

from certificates import Certificates
from cloudsim import wait_for
from huawei import GATEWAY
from test_huawei import PUMP, SYS, VALVE, HuaweiTest

DATA = bytes(range(256)) * 40


class Ota(HuaweiTest):
    def setUp(self):
        self.now_s = 1000.0
        self.cloud = self.begin(sub_devices=[PUMP, VALVE], elapsed=lambda: self.now_s)
        self.gateway = self.client(keep_alive=1200)  # by that clock
        self.gateway.subscribe(SYS + "events/down")

    def notices(self, kind):
        """[(object_device_id, paras)] of the events of this type that came."""
        return [(body.get("object_device_id"), entry["paras"]) for topic, body in list(self.gateway.received)
                if topic == SYS + "events/down" for entry in body["services"] if entry["event_type"] == kind]

    def notice(self, kind, n=1):
        return wait_for(lambda: self.notices(kind)[n - 1:n], 20, "the %s %d" % (kind, n))[0]

    def say(self, kind, paras, device_id=None):
        body = {"services": [{"service_id": "$ota", "event_type": kind, "event_time": "20260315T092653Z",
                              "paras": paras}]}
        if device_id:
            body["object_device_id"] = device_id
        self.accept(self.gateway, SYS + "events/up", body)

    def progress(self, code, percent, version="2.0", device_id=PUMP):
        self.say("upgrade_progress_report", {"result_code": code, "progress": percent, "version": version,
                                             "description": "so"}, device_id)

    def fetch(self, paras, token=True, start=None, context=None):
        request = urllib.request.Request(paras["url"])
        if token and "access_token" in paras:
            request.add_header("Authorization", "Bearer " + paras["access_token"])
        if start is not None:
            request.add_header("Range", "bytes=%d-" % start)
        with urllib.request.urlopen(request, timeout=20, context=context) as answer:
            return answer.status, answer.read()

    def status_of(self, *args, **how):
        try:
            return self.fetch(*args, **how)[0]
        except urllib.error.HTTPError as error:
            return error.code

    def test_an_upgrade_goes_from_the_question_to_the_last_word(self):
        upgrade = self.cloud.upgrade(PUMP, "2.0", DATA)
        self.assertEqual(self.notice("version_query"), (PUMP, {}))
        self.say("version_report", {"fw_version": "1.0", "sw_version": "7"}, PUMP)
        device_id, paras = self.notice("firmware_upgrade")
        self.assertEqual((device_id, paras["version"], paras["file_size"], paras["sign"]),
                         (PUMP, "2.0", len(DATA), hashlib.sha256(DATA).hexdigest()))
        self.progress(0, 0)
        self.assertEqual(self.fetch(paras), (200, DATA))
        self.progress(0, 80)
        self.assertEqual(upgrade.state, "ordered")
        self.progress(0, 100)
        self.assertEqual((upgrade.state, len(upgrade.reports)), ("succeeded", 3))
        self.progress(0, 100)  # a PUBACK may be lost
        self.assertEqual(self.cloud.versions(PUMP), {"fw_version": "1.0", "sw_version": "7"})
        self.assertEqual(self.cloud.complaints(), [])

    def test_what_is_there_already_is_not_ordered(self):
        upgrade = self.cloud.upgrade(GATEWAY, "7", DATA, kind="software")
        self.assertEqual(self.notice("version_query")[0], GATEWAY)
        self.say("version_report", {"sw_version": "7"})
        self.assertEqual(upgrade.state, "succeeded")
        self.assertEqual(self.notices("software_upgrade"), [])

    def test_a_file_is_for_who_has_the_token_or_the_signed_url(self):
        for form, refusal, kind in ((1, 401, "firmware_upgrade"), (2, 403, "firmware_upgrade_v2")):
            self.cloud.upgrade(PUMP, "2.%d" % form, DATA, form=form, asks=False)
            _, paras = self.notice(kind)
            self.assertEqual(self.fetch(paras, start=10000), (206, DATA[10000:]))
            wrong = dict(paras, url=paras["url"][:-1] + "-") if form == 2 else paras
            self.assertEqual(self.status_of(wrong, token=False), refusal)
        self.assertEqual(sorted(paras), ["expires", "url", "version"])
        self.cloud.upgrade(VALVE, "3", DATA, asks=False, fault={"valid_for": 0})
        self.assertEqual(self.status_of(self.notice("firmware_upgrade", 2)[1]), 401)

    def test_files_have_faults(self):
        self.cloud.upgrade(PUMP, "1", DATA, asks=False, fault={"sign": True, "size": 7})
        paras = self.notice("firmware_upgrade")[1]
        self.assertEqual(paras["file_size"], 7)
        self.assertNotEqual(paras["sign"], hashlib.sha256(DATA).hexdigest())
        self.cloud.upgrade(PUMP, "2", DATA, asks=False, fault={"cut_at": 100})
        paras = self.notice("firmware_upgrade", 2)[1]
        with self.assertRaises(http.client.IncompleteRead):
            self.fetch(paras)
        self.assertEqual(self.fetch(paras, start=100)[1], DATA[100:])
        self.assertEqual([(r, s) for _, r, s in self.cloud.package_requests()], [(None, 200), ("bytes=100-", 206)])
        with self.assertRaises(ValueError):
            self.cloud.upgrade(PUMP, "2", DATA, fault={"colour": "red"})

    def test_files_may_come_by_https(self):
        with tempfile.TemporaryDirectory() as directory:
            world = Certificates(directory)
            cloud = self.begin(files_tls=world.issue("files"))
            self.gateway = self.client(cloud)
            self.gateway.subscribe(SYS + "events/down")
            cloud.upgrade(GATEWAY, "2", DATA, asks=False)
            paras = self.notice("firmware_upgrade")[1]
            self.assertEqual(self.fetch(paras, context=ssl.create_default_context(cafile=world.ca)), (200, DATA))
            with self.assertRaises(urllib.error.URLError):
                self.fetch(paras)

    def test_a_device_that_is_away_is_asked_when_it_is_back(self):
        self.gateway.close()
        upgrade = self.cloud.upgrade(PUMP, "2", DATA)
        self.assertEqual(upgrade.state, "waiting")
        self.gateway = self.client()
        self.gateway.subscribe(SYS + "events/down")
        self.notice("version_query")
        wait_for(lambda: upgrade.state == "asked", 20)

    def test_silence_fails_an_upgrade(self):
        silent = self.cloud.upgrade(PUMP, "2.0", DATA)
        self.notice("version_query")
        self.now_s += 200
        wait_for(lambda: silent.state == "failed", 20)
        self.assertEqual(silent.why, "no version in time")
        slow = self.cloud.upgrade(VALVE, "2.0", DATA, asks=False)
        self.notice("firmware_upgrade")
        for _ in range(3):
            self.now_s += 1700
            self.progress(0, 10, device_id=VALVE)
        self.assertEqual(slow.state, "ordered")
        self.now_s += 1900
        wait_for(lambda: slow.state == "failed", 20)
        self.assertEqual(slow.why, "silence")

    def test_a_code_ends_an_upgrade(self):
        upgrade = self.cloud.upgrade(PUMP, "2.0", DATA, asks=False)
        self.notice("firmware_upgrade")
        self.progress(7, 0)
        self.assertEqual((upgrade.state, upgrade.why), ("failed", "result_code 7"))
        self.assertEqual(self.cloud.complaints(), [])

    def test_what_cannot_be_true_is_suspect(self):
        self.cloud.upgrade(PUMP, "2.0", DATA, asks=False)
        self.notice("firmware_upgrade")
        for say, words in (
                (lambda: self.progress(11, 0), "result_code"), (lambda: self.progress("0", 0), "result_code"),
                (lambda: self.progress(0, 101), "progress"), (lambda: self.progress(0, True), "progress"),
                (lambda: self.progress(0, 10, "1.0"), "nobody has ordered"),
                (lambda: self.progress(0, 10, device_id=VALVE), "nobody has ordered"),
                (lambda: self.progress(0, 10, device_id="p1_stranger"), "not behind"),
                (lambda: self.say("version_report", {}, PUMP), "versions"),
                (lambda: self.say("version_report", {"fw_version": ""}, PUMP), "versions"),
                (lambda: self.say("version_report", {"fw_version": 1}, PUMP), "versions"),
                (lambda: self.say("version_report", {"version": "1"}, PUMP), "versions"),
                (lambda: self.say("hello", {}, PUMP), "nobody knows"),
                (lambda: [self.progress(0, 50), self.progress(0, 40)], "goes back"),
                (lambda: self.progress(0, 100), "never fetched"),
                (lambda: self.progress(0, 60), "after the last word")):
            before = len(self.suspicions())
            say()
            self.assertEqual(len(self.suspicions()), before + 1, words)
            self.assertIn(words, self.suspicions()[-1])

    def test_a_notice_may_come_twice(self):
        upgrade = self.cloud.upgrade(PUMP, "2.0", DATA, asks=False)
        first = self.notice("firmware_upgrade")
        self.cloud.repeat_upgrade(upgrade)
        self.assertEqual(self.notice("firmware_upgrade", 2), first)


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    unittest.main(verbosity=2)
