#!/usr/bin/python3
"""The stand-in for Huawei Cloud IoTDA lets in whom its documentation lets in, and keeps one session for each."""
import calendar
import json
import socket
import ssl
import sys
import tempfile
import time
import unittest

import paho.mqtt.client as paho

from certificates import Certificates
from cloudsim import wait_for
from huawei import GATEWAY, SECRET, login
from test_huawei import PUMP, REPORT, SUB_REPORT, HuaweiTest, services


def utc(year, month, day, hour):
    return calendar.timegm((year, month, day, hour, 0, 0))


class Login(HuaweiTest):
    def test_passwords_are_those_of_the_published_vectors(self):
        device = "65f0c1d2e3b4a5968778695a_pump-01"
        for id_, secret, hour, signature, password in (
                (device, SECRET, "2026031509", "0", "bbf7cefae0bd9081a08a4645c684c649c47d7d29d355c937c492eb3bc2ebea66"),
                (device, SECRET, "2026031508", "0", "abd1e9c2b405b95be5ee209ad55e9a4f2084cb0bd1d241600080b214cf3afeda"),
                (device, SECRET, "2026031502", "1", "3d231758fd2a27e102da94e896a4782d1b3f37074f79cf98518f383ecead4fa9"),
                (device, SECRET, "2026031509", "2", "a94ba08590409675dd4b19fcb75abd6bcd288232deb803a749eec711b40da00b"),
                ("65f0c1d2e3b4a5968778695a_site_7_gw_0", "Aa0_9-gW!secret", "2024022923", "1",
                 "6392419656de51f83ee11fca6a6d508e6165c531bcd21093d1cc35b60726456f"),
                ("gw-berlin", "12345678", "2018072417", "0",
                 "cda20ea47ca2e8f01d9dd8aa9eb7e7937562f5be6982ea82d46c582c4a476b3f")):
            now_s = calendar.timegm(time.strptime(hour, "%Y%m%d%H"))
            cloud = self.begin(devices=[{"device_id": id_, "secret": secret}], now=lambda now_s=now_s: now_s)
            client = self.client(cloud, client_id="%s_0_%s_%s" % (id_, signature, hour), username=id_,
                                 password=password)
            self.assertEqual(client.connack, 0, (id_, hour, signature))
            self.assertEqual(cloud.complaints(), [])

    def test_a_bridge_says_in_its_client_id_that_it_is_one(self):
        hour, bridge = "2026070113", "bridge-eu-01"
        cloud = self.begin(devices=[{"device_id": bridge, "secret": "bridge-secret-XY", "is_bridge": True}])
        for kind, code in ((3, 0), (0, 4)):
            client = self.client(cloud, client_id="%s_%d_0_%s" % (bridge, kind, hour), username=bridge,
                                 password="7773dc7a95f1933f2e39fd88a018424a225b69d17898f5c83d0768b4c36222ed")
            self.assertEqual(client.connack, code)
        self.assertEqual(self.client(client_id="%s_3_0_%s" % (GATEWAY, hour)).connack, 4)

    def test_what_is_wrong_is_refused_with_the_code_for_it(self):
        hour = login.hour()
        good = login.password(SECRET, hour)
        swapped = login.hmac.new(SECRET.encode(), hour.encode(), "sha256").hexdigest()
        id_ = login.client_id(GATEWAY, hour)
        for code, how in (
                (4, {"password": login.password("another", hour)}),
                (4, {"password": swapped}),
                (4, {"password": good.upper()}),
                (4, {"password": None}),
                (4, {"username": "someone"}),
                (4, {"username": None}),
                (4, {"client_id": login.client_id(GATEWAY, "2026031509")}),  # not the hour of the password
                (4, {"client_id": login.client_id("nobody", hour), "username": "nobody"}),
                (2, {"client_id": GATEWAY}),
                (2, {"client_id": id_ + "1"}),
                (2, {"client_id": GATEWAY + "_0_3_" + hour}),
                (2, {"client_id": GATEWAY + "_2_0_" + hour}),
                (2, {"keep_alive": 29}),
                (2, {"keep_alive": 1201}),
                (0, {"keep_alive": 30}),
                (0, {"keep_alive": 1200})):
            self.assertEqual(self.client(**dict({"password": good, "client_id": id_}, **how)).connack, code, how)
        self.assertEqual([e["why"] for e in self.cloud.events("refused")][:2], ["password", "password"])
        self.assertNotIn(SECRET, json.dumps(self.cloud.events()))

    def test_the_hour_counts_only_with_a_checked_signature(self):
        cloud = self.begin(now=lambda: utc(2026, 3, 15, 12) + 1800)
        for signature in "12":
            for hour, code in (("2026031510", 4), ("2026031511", 0), ("2026031513", 0), ("2026031514", 4),
                               ("2026031524", 4)):
                self.assertEqual(self.client(cloud, timestamp=hour, signature=signature).connack, code, hour)
        for hour in ("1999010100", "2026031524"):
            self.assertEqual(self.client(cloud, timestamp=hour).connack, 0, hour)

    def test_mqtt_5_only_where_the_edition_has_it(self):
        self.assertNotEqual(self.client(version=paho.MQTTv5).connack, 0)
        self.cloud.set(versions={3, 4, 5})
        self.assertEqual(self.client(version=paho.MQTTv5).connack, 0)
        self.assertEqual(self.client(version=paho.MQTTv5, password="x").connack, 0x86)
        self.assertEqual(self.client(version=paho.MQTTv31).connack, 0)

    def test_a_disabled_device_and_faults_have_codes_of_their_own(self):
        client = self.client()
        self.cloud.set_disabled(GATEWAY, True)
        client.wait_gone()
        self.assertEqual(self.client().connack, 5)
        self.cloud.set_disabled(GATEWAY, False)
        for refuse, code in ((3, 3), ("silent", None), (None, 0)):
            self.cloud.set(refuse=refuse)
            self.assertEqual(self.client().connack, code)
        self.cloud.set_secret(GATEWAY, "new")
        self.assertEqual(self.client().connack, 4)
        self.assertEqual(self.client(secret="new").connack, 0)

    def test_the_newest_login_of_a_device_wins(self):
        first = self.client()
        second = self.client(timestamp="2026031509")
        first.wait_gone()
        self.accept(second, REPORT, {"services": services(n=1)})
        self.assertEqual([e["why"] for e in self.cloud.events("disconnect")], ["taken over"])


class Certificate(HuaweiTest):
    """Devices that have a certificate, over TLS."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.factory = Certificates(directory.name, "factory")
        self.elsewhere = Certificates(directory.name, "elsewhere")
        self.device = self.factory.issue("device")
        platform = Certificates(directory.name, "platform")
        self.ca = platform.ca
        tls = dict(platform.issue("server"), device_ca=self.factory.ca)
        self.cloud = self.begin(tls=tls, devices=[
            {"device_id": GATEWAY, "fingerprint": self.factory.sha256(self.device["certificate"]),
             "sub_devices": [PUMP]},
            {"device_id": "p1_secret", "secret": SECRET}])

    def shows(self, shown, **how):
        """A client that shows what Certificates.issue() has made, or nothing."""
        files = {"certificate": shown["certificate"], "key": shown["key"]} if shown else {}
        return self.client(ca=self.ca, **dict({"password": None}, **files, **how))

    def test_a_certificate_stands_for_the_password(self):
        client = self.shows(self.device)
        self.assertEqual(client.connack, 0)
        self.accept(client, SUB_REPORT, {"devices": [{"device_id": PUMP, "services": services(n=1)}]})
        self.assertEqual((self.cloud.values("n", PUMP), self.cloud.complaints()), ([1], []))

    def test_another_certificate_or_none_does_not_get_in(self):
        """Whoever is signed by the right CA is still not the device."""
        password = login.password(SECRET, login.hour())
        for shown in (self.factory.issue("another"), None):
            for given in (None, password):
                self.assertEqual(self.shows(shown, password=given).connack, 4)
        self.assertEqual({e["why"] for e in self.cloud.events("refused")}, {"certificate"})

    def test_what_is_expired_or_of_another_ca_does_not_get_through_the_handshake(self):
        for n, (shown, why) in enumerate((
                (self.factory.issue("old", days=-1), "CERTIFICATE_EXPIRED"),
                (self.elsewhere.issue("stranger"), "UNKNOWN_CA")), 1):
            context = ssl.create_default_context(cafile=self.ca)
            context.load_cert_chain(shown["certificate"], shown["key"])
            with socket.create_connection(("127.0.0.1", self.cloud.port), 20) as plain:
                with self.assertRaisesRegex(ssl.SSLError, why):
                    # With TLS 1.3 the client is done before the server has looked.
                    context.wrap_socket(plain, server_hostname="127.0.0.1").recv(1)
            wait_for(lambda n=n: len(self.cloud.events("refused")) == n, 20)
        self.assertEqual([(e["code"], e["why"]) for e in self.cloud.events("refused")],
                         [(None, "CERTIFICATE_VERIFY_FAILED")] * 2)

    def test_a_device_with_a_secret_needs_no_certificate_and_gains_nothing_by_one(self):
        how = {"device_id": "p1_secret", "ca": self.ca}
        self.assertEqual(self.client(**how).connack, 0)
        files = {"certificate": self.device["certificate"], "key": self.device["key"]}
        self.assertEqual(self.client(password=None, **how, **files).connack, 4)

    def test_who_speaks_no_tls_is_not_heard(self):
        self.assertIsNone(self.client(password=None).connack)
        self.assertEqual(self.cloud.events("connect"), [])


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    unittest.main(verbosity=2)
