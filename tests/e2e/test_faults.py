"""Clouds and brokers that are down, slow, wrong or hostile. The daemon stays up, says so, and goes on."""
import collections
import json
import os
import socket
import time

from frame import (Certificates, Connect, EndToEnd, Script, Subscribe, free_port, goes_first, needs_root,
                   takes_long, wait_for)


class Cloud(Script):
    """ThingsBoard to the letter, where the letter matters: react(c, publish, values of n) answers telemetry."""

    QUESTION = "v1/devices/me/rpc/request/"  # for its limits: unanswered, it is waited for before the first telemetry
    LIMITS = b'{"maxPayloadSize":65536,"maxInflightMessages":100,"rateLimits":{},"gatewayRateLimits":{}}'
    RECEIVE_MAXIMUM = 33

    def __init__(self, react=None, window=100):
        self.react, self.window = react, window
        self.taken = []  # values of n, in order
        self.n_telemetry = 0

    def on_connect(self, c, connect):
        c.connack(props={self.RECEIVE_MAXIMUM: self.window})

    def on_publish(self, c, publish):
        if publish.topic.startswith(self.QUESTION):
            c.publish(publish.topic.replace("request", "response"), self.LIMITS)
        if publish.topic != "v1/gateway/telemetry":
            return c.puback(publish.id)
        self.n_telemetry += 1
        values = [entry["values"]["n"] for entries in json.loads(publish.payload).values() for entry in entries]
        if self.react and self.react(c, publish, values):
            return None
        return self.take(c, publish, values)

    def take(self, c, publish, values):
        self.taken += values
        c.puback(publish.id)


class Answers(EndToEnd):
    """Every reaction of section 8 that a real broker cannot be made to show."""

    def against(self, react, version, count=20, window=100, **more):
        self.script = Cloud(react, window)
        self.server = self.scripted(self.script)
        self.broker = self.field()
        self.subject = self.gateway(self.broker, clouds=[self.cloud_config(self.server, mqtt_version=version, **more)])
        self.broker.wait_subscribed(self.subject.client_id())
        self.device = self.publisher(self.broker)
        self.device.burst(count)

    def wait_taken(self, expected, timeout_s=60):
        try:
            wait_for(lambda: self.subject.is_up() and set(self.script.taken) == set(expected), timeout_s)
        except AssertionError as error:
            raise AssertionError("%s; missing %s, too many %s" % (
                error, sorted(set(expected) - set(self.script.taken))[:5],
                sorted(set(self.script.taken) - set(expected))[:5]))

    def test_a_puback_of_0x97_is_tried_again_until_taken(self):
        refusals = []

        def react(c, publish, values):
            if len(refusals) < 3:
                refusals.append(time.monotonic())
                c.puback(publish.id, 0x97)
                return True
        self.against(react, "5", window=1)  # what is in flight behind a refusal would overtake it
        self.wait_taken(range(20), 120)
        self.assertEqual(self.subject.quarantine(), [])
        self.assertEqual([n for i, n in enumerate(self.script.taken) if n not in self.script.taken[:i]],
                         list(range(20)))

    @goes_first
    def test_a_puback_of_0x97_then_close_is_tried_again_until_taken(self):
        refusals = []

        def react(c, publish, values):
            if len(refusals) < 2:
                refusals.append(1)
                c.puback(publish.id, 0x97)
                c.disconnect(0x97)
                return True
        self.against(react, "5")
        self.wait_taken(range(20), 120)
        self.assertEqual(self.subject.quarantine(), [])

    def refuses_the_seventh(self, code, close=False):
        def react(c, publish, values):
            if 7 in values:
                c.puback(publish.id, code)
                if close:
                    c.disconnect(code)
                return True
        self.against(react, "5")
        self.wait_taken(set(range(20)) - {7}, 180)
        wait_for(lambda: len(self.subject.quarantine()) == 1, 20, "one message in quarantine")
        link, reason, _, body = self.subject.quarantine()[0]
        self.assertEqual((link, json.loads(body)["n"]), ("tb", 7))
        self.assertTrue(reason)
        self.device.burst(5)
        self.wait_taken(set(range(25)) - {7})

    def test_a_puback_of_0x99_puts_one_message_into_quarantine(self):
        self.refuses_the_seventh(0x99)

    def test_a_puback_of_0x90_puts_one_message_into_quarantine(self):
        self.refuses_the_seventh(0x90)

    @takes_long
    def test_a_puback_of_0x80_ends_in_quarantine_after_some_attempts(self):
        self.refuses_the_seventh(0x80)

    @takes_long
    def test_a_puback_of_0x83_then_close_ends_in_quarantine_after_some_attempts(self):
        self.refuses_the_seventh(0x83, close=True)

    @takes_long
    def test_three_drops_on_3_1_1_put_the_poison_into_quarantine(self):
        def react(c, publish, values):
            if 7 in values:
                c.close()
                return True
        self.against(react, "3.1.1")
        self.wait_taken(set(range(20)) - {7}, 240)
        wait_for(lambda: len(self.subject.quarantine()) == 1, 20, "one message in quarantine")
        self.assertEqual(json.loads(self.subject.quarantine()[0][3])["n"], 7)
        self.device.burst(5)
        self.wait_taken(set(range(25)) - {7})

    @takes_long
    def test_a_message_that_is_never_acknowledged_ends_in_quarantine(self):
        self.against(lambda c, publish, values: 7 in values, "3.1.1", ack_timeout="1s")
        self.wait_taken(set(range(20)) - {7}, 240)
        wait_for(lambda: len(self.subject.quarantine()) == 1, 20, "one message in quarantine")
        self.assertEqual(json.loads(self.subject.quarantine()[0][3])["n"], 7)

    @goes_first
    def test_a_connection_that_breaks_now_and_then_loses_nothing(self):
        dropped = []

        def react(c, publish, values):
            if self.script.n_telemetry % 4 == 0 and len(dropped) < 3:
                dropped.append(1)
                c.close(abort=True)
                return True
        self.against(react, "5", count=0)
        for _ in range(5):
            self.device.burst(20)
            wait_for(lambda: len(set(self.script.taken)) == len(self.device.sent), 60, "all of it taken")
        self.wait_taken(range(100))
        self.assertEqual(self.subject.quarantine(), [])

    def test_no_more_is_in_flight_than_configured(self):
        held, most = [], [0]

        def react(c, publish, values):
            held.append((c, publish, values))
            most[0] = max(most[0], len(held))
            return True

        def on_tick(server):
            # The oldest is answered when nothing more has come for a tick: the window is full by then.
            if held:
                c, publish, values = held.pop(0)
                self.script.take(c, publish, values)
        self.against(react, "5", count=0, max_in_flight=3)
        self.script.on_tick = on_tick
        for _ in range(10):
            self.device.burst(30, ("a", "b", "c"))
        wait_for(lambda: len(self.script.taken) == 300, 60, "all of it taken")
        self.assertLessEqual(most[0], 3)
        self.assertEqual(sorted(self.script.taken), sorted(n for n in range(100) for _ in "abc"))

    def test_a_server_of_3_1_1_only_is_found_out(self):
        script = Cloud()

        def on_connect(c, connect):
            if connect.version == 5:
                c.send(b"\x20\x02\x00\x01")  # as a server of 3.1.1 says it: unacceptable protocol version
                c.close()
            else:
                c.connack()
        script.on_connect = on_connect
        self.script, server, broker = script, self.scripted(script), self.field()
        self.subject = self.gateway(broker, clouds=[self.cloud_config(server)])
        broker.wait_subscribed(self.subject.client_id())
        publisher = self.publisher(broker)
        publisher.burst(20)
        self.wait_taken(range(20))
        self.assertEqual([c.version for c in server.packets(Connect)], [5, 4])

    def test_a_field_broker_of_3_1_1_only_is_found_out(self):
        class Old(Script):
            def on_connect(self, c, connect):
                if connect.version == 5:
                    c.send(b"\x20\x02\x00\x01")
                    c.close()
                else:
                    c.connack()
        server, cloud = self.scripted(Old()), self.thingsboard()
        gateway = self.gateway(server, cloud)
        wait_for(lambda: gateway.is_up() and server.packets(Subscribe), 30, "a subscription")
        server.call(lambda: server.connections[-1].publish("sensors/a/climate", '{"n":1}'))
        wait_for(lambda: cloud.values("n") == [1], 20, "the sample")

    @takes_long
    def test_a_cloud_that_breaks_the_protocol_is_survived(self):
        # No property that does not exist: see an_unknown_property_is_survived.
        garbage = [b"\x40\x02\xff\xff", b"\x40\x01\x00", b"\x40\x00", b"\x32\x04\x00\x01a\x00",
                   b"\x32\x04\xff\xffa\x00", b"\xf0\xff\xff\xff\xff\xff", b"\x00\x00",
                   b"\x30\xff\xff\xff\x7f" + b"x" * 1000, b"\xe0\x01\x8e", b"\xe0\x01\x97"]

        def react(c, publish, values):
            if garbage:
                c.send(garbage.pop())
                c.close()
                return True
        self.against(react, "5", count=0)
        self.device.burst(50)
        self.wait_taken(range(50), 240)
        self.assertEqual(garbage, [])


class Links(EndToEnd):
    """P4: a dead cloud does not slow the others."""

    def beside(self, **dead):
        field, cloud = self.field(), self.thingsboard()
        gateway = self.running(field, cloud, clouds=[
            self.cloud_config(cloud), dict(self.cloud_config(cloud, "dead"), **dead)])
        publisher = self.publisher(field)
        publisher.burst(2000, ("pump-1", "pump-2"))
        self.wait_delivered(cloud, publisher.sent, 20)
        self.assertEqual((cloud.duplicates(), cloud.disorder("n")), (0, []))
        return gateway, cloud

    def test_a_link_to_a_closed_port_does_not_hold_the_other(self):
        gateway, _ = self.beside(url="mqtt://127.0.0.1:%d" % free_port())
        gateway.wait_log("link dead: .*refused.*reconnecting in")

    def test_a_link_to_a_frozen_cloud_does_not_hold_the_other(self):
        frozen = self.thingsboard(name="frozen")
        frozen.freeze()
        self.beside(url="mqtt://127.0.0.1:%d" % frozen.port)
        frozen.thaw()

    def test_a_cloud_that_freezes_in_flight_does_not_hold_the_other(self):
        field, cloud, other = self.field(), self.thingsboard(), self.thingsboard(name="other")
        self.running(field, cloud, clouds=[self.cloud_config(cloud), self.cloud_config(other, "other")])
        publisher = self.publisher(field)
        publisher.burst(500)
        self.wait_delivered(other, publisher.sent)
        other.freeze()
        publisher.burst(5000)
        self.wait_delivered(cloud, publisher.sent, 20)
        other.thaw()
        self.wait_delivered(other, publisher.sent, 90)
        self.assertEqual(other.disorder("n"), [])

    def test_a_cloud_that_says_no_connack_does_not_hold_the_other(self):
        class Silent(Script):
            def on_connect(self, c, connect):
                pass
        self.beside(url="mqtt://127.0.0.1:%d" % self.scripted(Silent()).port)

    def test_wrong_credentials_are_named_and_tried_again_slowly(self):
        gateway, cloud = self.beside(access_token="WRONG")
        gateway.wait_log("<?error>?.*link dead: .*check its credentials")
        self.assertNotIn("WRONG", gateway.log())
        self.assertLessEqual(len(cloud.events("refused")), 2)

    @needs_root
    def test_a_name_that_never_resolves_does_not_hold_the_other(self):
        # A name server that takes every question and answers none.
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        for last in range(2, 250):
            try:
                server.bind(("127.0.53.%d" % last, 53))
                break
            except OSError:
                continue
        with open(self.path("resolv.conf"), "w") as f:
            f.write("nameserver %s\noptions timeout:30 attempts:5\n" % server.getsockname()[0])
        field, cloud = self.field(), self.thingsboard()
        gateway = self.gateway(field, start=False, clouds=[
            self.cloud_config(cloud, "dead", url="mqtt://thingsboard.example:1883"), self.cloud_config(cloud)])
        gateway.start(prefix=["unshare", "-m", "sh", "-c",
                              'mount --bind "$0" /etc/resolv.conf && exec "$@"', self.path("resolv.conf")])
        server.settimeout(20)
        server.recv(512)  # the question has been put
        field.wait_subscribed(gateway.client_id())
        publisher = self.publisher(field)
        publisher.burst(2000)
        self.wait_delivered(cloud, publisher.sent, 20)
        self.assertEqual(gateway.term(), 0)

    def test_two_links_with_one_token_are_recognised(self):
        field, cloud = self.field(), self.thingsboard()
        gateway = self.running(field, cloud, clouds=[self.cloud_config(cloud, "a"), self.cloud_config(cloud, "b")])
        gateway.wait_log("does another client use the same credentials", 60)
        # No storm: each of the two backs off further and further.
        n = len(cloud.events("connect"))
        self.assertLess(n, 30)

    def test_everyone_thrown_out_comes_back(self):
        field, cloud = self.field(), self.thingsboard()
        self.running(field, cloud)
        publisher = self.publisher(field)
        for i in range(3):
            cloud.kick()
            wait_for(lambda: len(cloud.events("disconnect")) > i, 20)
            publisher.burst(50)
            self.wait_delivered(cloud, publisher.sent)
        self.assertEqual(cloud.disorder("n"), [])


class Certificate(EndToEnd):
    def refused(self, certificates, alt, words, **tls):
        server = certificates.issue("server", alt)
        field, cloud = self.field(), self.thingsboard(tls=server)
        gateway = self.gateway(field, clouds=[self.cloud_config(
            cloud, url="mqtts://localhost:%d" % cloud.port, tls=tls or {"ca": certificates.ca})])
        gateway.wait_log("link tb: .*(%s)" % words)
        self.assertEqual(cloud.events("connect"), [])
        return gateway

    def test_a_certificate_of_another_name_is_refused(self):
        self.refused(Certificates(self.directory), "DNS:elsewhere.example", "host ?name|name mismatch")

    def test_a_certificate_of_another_ca_is_refused(self):
        other = Certificates(self.directory, "other")
        self.refused(Certificates(self.directory), "DNS:localhost", "certificate", ca=other.ca)

    def test_a_certificate_that_nobody_we_know_signed_is_refused(self):
        self.refused(Certificates(self.directory), "DNS:localhost", "certificate", server_name="localhost")

    def test_server_name_stands_in_for_the_host(self):
        certificates = Certificates(self.directory)
        field = self.field()
        cloud = self.thingsboard(tls=certificates.issue("server", "DNS:tb.example"))
        self.running(field, cloud, clouds=[self.cloud_config(
            cloud, url="mqtts://127.0.0.1:%d" % cloud.port,
            tls={"ca": certificates.ca, "server_name": "tb.example"})])

    def test_an_insecure_link_connects_and_is_warned_about(self):
        certificates = Certificates(self.directory)
        field = self.field()
        cloud = self.thingsboard(tls=certificates.issue("server", "DNS:elsewhere.example"))
        gateway = self.running(field, cloud, clouds=[self.cloud_config(
            cloud, url="mqtts://localhost:%d" % cloud.port, tls={"insecure": True})])
        gateway.wait_log("link tb: .*insecure")

    def test_a_peer_that_speaks_no_tls_is_survived(self):
        field, cloud = self.field(), self.thingsboard()
        gateway = self.gateway(field, clouds=[self.cloud_config(cloud, url="mqtts://localhost:%d" % cloud.port)])
        gateway.wait_log("link tb: .*reconnecting in")


class Broker(EndToEnd):
    """The field side."""

    def test_a_field_broker_that_is_down_at_the_start_is_waited_for(self):
        field, cloud = self.field(), self.thingsboard()
        field.stop()
        gateway = self.gateway(field, cloud)
        gateway.wait_log("broker field: .*refused.*in \\d+ ms")
        field.start()
        field.wait_subscribed(gateway.client_id(), 60)
        publisher = self.publisher(field)
        publisher.burst(100)
        self.wait_delivered(cloud, publisher.sent)

    def test_a_field_broker_that_restarts_loses_nothing(self):
        field, cloud = self.field(), self.thingsboard()
        gateway = self.running(field, cloud)
        for _ in range(2):
            publisher = self.publisher(field)
            publisher._next = {"pump-1": len(cloud.values("n"))}
            publisher.burst(500)
            publisher.wait_acked()
            publisher.close()
            field.stop()  # saves its state
            os.truncate(field.log_path, 0)
            field.start()
            field.wait_subscribed(gateway.client_id(), 60)
            self.wait_delivered(cloud, publisher.sent)
        # What the broker had not seen acknowledged when it stopped, it sends again, and does not say so.
        times = collections.Counter(cloud.values("n"))
        self.assertLessEqual(max(times.values()), 3)
        self.assertEqual(cloud.disorder("n"), [])

    def test_a_wrong_password_on_the_field_side_is_named(self):
        field, cloud = self.field(start=False).use_passwords(gateway="right"), self.thingsboard()
        field.start()
        gateway = self.gateway(brokers=[self.broker_config(field, username="gateway", password="wr0ng")],
                               clouds=[self.cloud_config(cloud)])
        gateway.wait_log("broker field: .*check its user name and password, trying again in \\d{4,} ms")
        self.assertNotIn("wr0ng", gateway.log())

    def test_another_client_with_our_id_is_survived(self):
        field, cloud = self.field(), self.thingsboard()
        gateway = self.running(field, cloud)
        intruder = self.publisher(field, client_id=gateway.client_id())
        gateway.wait_log("broker field: .*in \\d+ ms")
        intruder.close()
        # It came with a clean session, so the broker has forgotten what it kept for us.
        wait_for(lambda: field.log().count("fieldgate-gw-field 1 sensors/") == 2, 20, "a second subscription")
        publisher = self.publisher(field)
        publisher.burst(10)
        self.wait_delivered(cloud, publisher.sent)

    def test_two_gateways_share_the_messages(self):
        field, one, two = self.field(), self.thingsboard(name="one"), self.thingsboard(name="two")
        gateways = []
        for name, cloud in (("left", one), ("right", two)):
            gateway = self.gateway(brokers=[self.broker_config(field, share="plant")],
                                   clouds=[self.cloud_config(cloud)], name=name)
            gateway.wait_log("broker field: connected")
            gateways.append(gateway)
        wait_for(lambda: field.log().count("$share/plant/") == 2, 20, "two shared subscriptions")
        publisher = self.publisher(field)
        publisher.burst(1000)

        def everything():
            return sorted(one.values("n") + two.values("n")) == list(range(1000))
        wait_for(everything, 30, "each message in exactly one cloud")
        self.assertTrue(one.values("n") and two.values("n"))
