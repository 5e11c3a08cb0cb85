#!/usr/bin/python3
"""The stand-in for the provisioning service of Huawei Cloud IoTDA lets in whom its documentation lets in, and says what
it says. An independent client plays the device."""
import sys
import tempfile
import unittest

from certificates import Certificates
from cloudsim import Bootstrap, wait_for
from huawei import login
from huawei.bootstrap import derived
from paho_client import Client

DEVICE, SCOPE, GROUP_SECRET = "edge-gw-0042", "9c41d07be2aa", "Z3JvdXAtc2VjcmV0LWRlbW8tMDE="
HOME = "iotda.example.com:8883"
SYS = "$oc/devices/%s/sys/bootstrap/" % DEVICE


class BootstrapTest(unittest.TestCase):
    def setUp(self):
        self.registered = {}
        self.service = self.begin(
            devices={DEVICE: {"secret": "own", "address": HOME, "keywords": {"south": "south.example.com:8883"}}},
            groups={SCOPE: {"secret": GROUP_SECRET, "address": HOME, "register": self.registered.__setitem__}})

    def begin(self, **how):
        service = Bootstrap(**how)
        self.addCleanup(service.stop)
        return service.start()

    def client(self, client_id, password=None, service=None, **how):
        client = Client((service or self.service).port, username=DEVICE, client_id=client_id, password=password, **how)
        self.addCleanup(client.close)
        return client

    def own(self):
        hour = login.hour()
        return self.client("%s_0_0_%s" % (DEVICE, hour), login.password("own", hour))

    def of_group(self, signature="0"):
        hour = login.hour()
        secret = derived(DEVICE, GROUP_SECRET)
        return self.client("%s_0_%s_%s_%s" % (DEVICE, SCOPE, signature, hour), login.password(secret, hour, signature))

    def ask(self, client, body=b""):
        n = len(client.received)
        client.publish(SYS + "up", body)
        topic, answer = client.wait_received(n + 1)[-1]
        self.assertEqual(topic, SYS + "down")
        return answer

    def test_the_secret_of_a_device_is_that_of_the_published_vector(self):
        secret = derived(DEVICE, GROUP_SECRET)
        self.assertEqual(secret, "285196b30d7c96825d8c587bc4bc486d77af9c62dca1c98fd0c6d5987b26c32e")
        client = self.client("%s_0_%s_0_2026070112" % (DEVICE, SCOPE),
                             "ffda97d7e7fb450709f18f5d88167807b1cffcfbb9aa4bf29353914b0b3bfcf6")
        self.assertEqual(client.connack, 0)

    def test_a_registered_device_and_one_of_a_group_are_told_where_to_go(self):
        for client in (self.own(), self.of_group(), self.of_group("1"), self.of_group("2")):
            self.assertEqual(client.connack, 0)
            self.assertEqual(client.subscribe(SYS + "down"), 1)
            self.assertEqual(self.ask(client), {"address": HOME})
        self.assertEqual(self.registered, {DEVICE: derived(DEVICE, GROUP_SECRET)})
        self.service.change(SCOPE, gives="given")
        client = self.of_group()
        client.subscribe(SYS + "down")
        self.assertEqual(self.ask(client), {"address": HOME, "deviceSecret": "given"})
        self.assertEqual(self.registered, {DEVICE: "given"})
        self.assertEqual(self.service.complaints(), [])

    def test_a_keyword_chooses_the_address(self):
        client = self.own()
        client.subscribe(SYS + "down")
        self.assertEqual(self.ask(client, {"baseStrategyKeyword": "south"}), {"address": "south.example.com:8883"})
        self.assertEqual(self.ask(client, {"baseStrategyKeyword": "north"}), {"address": HOME})

    def test_a_group_of_certificates_wants_one_and_no_hour(self):
        with tempfile.TemporaryDirectory(prefix="fieldgate-sim-") as directory:
            world = Certificates(directory)
            mine = {k: v for k, v in world.issue(DEVICE).items() if k != "ca"}
            service = self.begin(groups={SCOPE: {"address": HOME}},
                                 tls=dict(world.issue("service"), device_ca=world.ca))
            found = [self.client(client_id, service=service, ca=world.ca, **how).connack for client_id, how in (
                ("%s_0_%s" % (DEVICE, SCOPE), mine), ("%s_0_%s" % (DEVICE, SCOPE), {}),
                ("%s_0_%s_0_%s" % (DEVICE, SCOPE, login.hour()), mine))]
            self.assertEqual(found, [0, 4, 2])

    def test_what_is_wrong_is_refused(self):
        hour = login.hour()
        secret, long_ago = derived(DEVICE, GROUP_SECRET), "2020010100"
        good = login.password(secret, hour)
        for code, client_id, password in (
                (4, "%s_0_%s_0_%s" % (DEVICE, SCOPE, hour), login.password(GROUP_SECRET, hour)),
                (4, "%s_0_%s_0_%s" % (DEVICE, SCOPE, hour), None),
                (4, "%s_0_%s_0_%s" % (DEVICE, "another", hour), good),
                (4, "%s_0_0_%s" % (DEVICE, hour), good),
                (4, "%s_0_%s_1_%s" % (DEVICE, SCOPE, long_ago), login.password(secret, long_ago)),
                (2, "%s_0_%s" % (DEVICE, SCOPE), good),
                (2, "%s_3_%s_0_%s" % (DEVICE, SCOPE, hour), good),
                (2, "%s_0_%s_7_%s" % (DEVICE, SCOPE, hour), good),
                (2, DEVICE, good)):
            self.assertEqual(self.client(client_id, password).connack, code, client_id)
        self.assertEqual(len(self.service.complaints()), 9)

    def test_other_topics_and_texts_are_none_of_its_business(self):
        self.assertEqual(self.own().subscribe("$oc/devices/%s/sys/commands/#" % DEVICE), 0x80)
        for topic, body in (("$oc/devices/%s/sys/properties/report" % DEVICE, {}), (SYS + "up", b"?"),
                            (SYS + "up", {"keyword": 1})):
            client = self.own()
            client.publish(topic, body)
            client.wait_gone()

    def test_it_fails_as_it_is_told(self):
        client = self.own()
        client.subscribe(SYS + "down")
        self.service.fault({"times": 2}, {"silent": True}, {"answers": [b"{", b"\xff"]}, {"cut_before": True})
        self.ask(client)
        client.wait_received(2)
        client.publish(SYS + "up", b"")
        wait_for(lambda: len(self.service.requests()) == 2, 5)
        self.assertEqual(len(client.received), 2)
        client.publish(SYS + "up", b"")
        self.assertEqual([body for _, body in client.wait_received(4)[2:]], [b"{", b"\xff"])
        client.publish(SYS + "up", b"")
        client.wait_gone()
        client = self.own()
        client.subscribe(SYS + "down")
        self.service.fault({"cut_after": True})
        self.ask(client)
        client.wait_gone()
        self.service.set(refuse=3)
        self.assertEqual(self.own().connack, 3)


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    unittest.main(verbosity=2)
