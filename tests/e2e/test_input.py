"""Whatever a field device sends: the flow goes on, and what cannot be used is in quarantine."""
import os
import struct
import unittest

from frame import Ack, EndToEnd, Subscribe, field, packet, wait_for

DEEP = b'{"n":' + b"[" * 10000 + b"]" * 10000 + b"}"


class Input(EndToEnd):
    def setUp(self):
        super().setUp()
        self.server = self.scripted()
        self.cloud = self.thingsboard()

    def begin(self, version="5", **how):
        self.subject = self.gateway(self.server, self.cloud, brokers=[
            self.broker_config(self.server, mqtt_version=version)], mappings=[
                {"topic": "sensors/{device}/climate", "payload": "json", "telemetry": {"n": "$.n"}}], **how)
        wait_for(lambda: self.subject.is_up() and self.server.packets(Subscribe), 20, "a subscription")

    def send(self, topic, payload, qos=1):
        """Returns the packet id."""
        return self.server.call(lambda: self.server.connections[-1].publish(topic, payload, qos))

    def wait_acked(self, packet_id):
        wait_for(lambda: self.subject.is_up() and
                 packet_id in [a.id for a in self.server.packets(Ack)], 20, "an acknowledgement")

    def still_flows(self, n):
        self.wait_acked(self.send("sensors/good/climate", '{"n":%d}' % n))
        wait_for(lambda: n in self.cloud.values("n", "good"), 20, "a good sample after bad ones")
        self.assertEqual(self.cloud.complaints(), [])
        self.assertEqual(self.server.errors, [])

    def test_unusable_messages_are_acknowledged_and_quarantined(self):
        self.begin()
        good = "sensors/bad/climate"
        bad = [
            (good, b"not json"),
            (good, b""),
            (good, b"[1,2]"),
            (good, b"42"),
            (good, b'{"n":1'),
            (good, b'{"n":1}}'),
            (good, b'{"n":01}'),
            (good, b'{"n":"\xff\xfe"}'),
            (good, b'{"n":"\\ud800"}'),
            (good, b"\x00\x01\x02"),
            (good, DEEP),
            (good, b'{"other":1}'),
            (good, b'{"n":"' + b"x" * 1048576 + b'"}'),
            ("sensors//climate", b'{"n":1}'),
            ("sensors/%s/climate" % ("d" * 256), b'{"n":1}'),
            ("sensors/%s/climate" % ("d" * (65535 - 16)), b'{"n":1}'),
        ]
        for i, (topic, payload) in enumerate(bad):
            with self.subTest(topic=topic[:40], payload=payload[:40]):
                self.wait_acked(self.send(topic, payload))
                wait_for(lambda: len(self.subject.quarantine()) == i + 1, 10, "it stands in quarantine")
                _, reason, found, _ = self.subject.quarantine()[-1]
                self.assertTrue(reason)
                self.assertEqual(found[:100], topic.encode()[:100])
                self.still_flows(i)

    def test_odd_messages_that_are_fine_arrive(self):
        self.begin()
        fine = [
            ("sensors/a/climate", b' \t\r\n{ "n" : 1 } \n', "a", 1),
            ("sensors/\u00fcber \u6e29\u5ea6/climate", b'{"n":2}', "\u00fcber \u6e29\u5ea6", 2),
            ("sensors/%s/climate" % ("d" * 255), b'{"n":3}', "d" * 255, 3),
            ("sensors/b/climate", b'{"n":4,"pad":"' + b"x" * 1000000 + b'"}', "b", 4),
            ("sensors/c/climate", '{"n":"\u00e9\\u00e9\\n\\""}'.encode(), "c", '\u00e9\u00e9\n"'),
            ("sensors/d/climate", b'{"n":[[[[1]]]]}', "d", [[[[1]]]]),
            ("sensors/e'\"<>{{x/climate".replace("<>{{", ""), b'{"n":5}', "e'\"x", 5),
        ]
        for topic, payload, device, value in fine:
            self.wait_acked(self.send(topic, payload))
            wait_for(lambda: value in self.cloud.values("n", device), 20, "%s arrives" % device)
        self.assertEqual(self.subject.quarantine(), [])
        self.assertEqual(self.cloud.complaints(), [])

    def test_an_object_too_large_for_the_cloud_is_quarantined_for_it(self):
        self.begin()
        self.wait_acked(self.send("sensors/a/climate", b'{"n":"' + b"x" * 70000 + b'"}'))
        wait_for(lambda: len(self.subject.quarantine()) == 1, 20, "it stands in quarantine")
        self.assertEqual(self.subject.quarantine()[0][0], "tb")
        self.still_flows(1)

    def test_values_the_cloud_has_no_form_for_are_left_out(self):
        self.begin()
        for text in ("NaN", "Infinity", "-Infinity", "null"):
            self.wait_acked(self.send("sensors/a/climate", '{"n":%s}' % text))
        self.still_flows(1)
        self.assertEqual(self.cloud.values("n", "a"), [])

    def test_qos_0_arrives(self):
        self.begin()
        self.send("sensors/a/climate", '{"n":7}', qos=0)
        wait_for(lambda: self.cloud.values("n", "a") == [7], 20, "the sample")

    def test_a_topic_that_no_rule_knows_is_acknowledged(self):
        self.begin()
        for topic in ("other/a", "sensors/a/climate/more", "/", "$SYS/x", "sensors/a"):
            self.wait_acked(self.send(topic, '{"n":1}'))
        self.still_flows(1)

    def breaks(self, data, version="5"):
        """Raw bytes that break the protocol: the connection ends, the next one works."""
        self.begin(version)
        n = len(self.server.packets(Subscribe))
        self.server.call(lambda: self.server.connections[-1].send(data))
        wait_for(lambda: self.subject.is_up() and len(self.server.packets(Subscribe)) > n, 40, "a new session")
        self.still_flows(1)

    def test_a_topic_that_is_not_utf_8_is_survived(self):
        for version in ("5", "3.1.1"):
            body = field(b"sensors/\xff\xfe/climate") + struct.pack("!H", 77) + \
                (b"\0" if version == "5" else b"") + b'{"n":1}'
            with self.subTest(version=version):
                self.server.log.clear()
                self.begin(version)
                self.server.call(lambda: self.server.connections[-1].send(packet(3, 2, body)))
                wait_for(lambda: self.subject.is_up() and (77 in [a.id for a in self.server.packets(Ack)] or
                                                           len(self.server.packets(Subscribe)) > 1), 40, "a reaction")
                self.still_flows(1)
                self.subject.stop()

    def test_a_packet_of_qos_3_is_survived(self):
        self.breaks(packet(3, 6, field("sensors/a/climate") + b"\0\1\0" + b'{"n":1}'))

    def test_a_packet_longer_than_it_says_is_survived(self):
        self.breaks(b"\x32\x05\xff\xffabc")

    def test_a_remaining_length_of_five_bytes_is_survived(self):
        self.breaks(b"\x32\xff\xff\xff\xff\x01")

    @unittest.expectedFailure
    def test_an_unknown_property_is_survived(self):
        # libmosquitto 2.0.11 runs into an assertion of its own here and takes the process along. Nothing is
        # lost, the service manager starts it again; towards such a peer `mqtt_version: "3.1.1"` helps.
        self.breaks(packet(3, 2, field("sensors/a/climate") + b"\0\1" + b"\2\x7f\0" + b'{"n":1}'))

    def test_packets_that_do_not_exist_are_survived(self):
        self.breaks(packet(0, 7, os.urandom(100)))

    def test_packets_that_only_a_client_sends_are_survived(self):
        self.breaks(packet(8, 2, b"\0\1" + field("#") + b"\1"), "3.1.1")
