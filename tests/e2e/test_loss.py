"""Nothing that was acknowledged is lost; what comes twice is bounded."""
import json
import os
import random
import time

from frame import (Ack, EndToEnd, MAPPING, SteadyLoad, Subscribe, BUILD, needs_root, set_disk, takes_long,
                   wait_for)


def again_per_session(cloud):
    """For each session of the record: how many samples came that an earlier session had brought."""
    seen, counts, now = set(), [], set()
    for e in cloud.events():
        if e["event"] == "connect":
            seen |= now
            now = set()
            counts.append(0)
        elif e["event"] == "publish" and e["topic"] == "v1/gateway/telemetry":
            for device, entries in json.loads(e["payload"]).items():
                for entry in entries:
                    sample = (device, entry["ts"])
                    counts[-1] += sample in seen
                    now.add(sample)
    return counts


class Loss(EndToEnd):
    def test_an_outage_loses_nothing_and_keeps_order(self):
        field, cloud = self.field(), self.thingsboard()
        gateway = self.running(field, cloud)
        publisher = self.publisher(field)
        publisher.burst(300, ("pump-1", "pump-2", "pump-3"))
        self.wait_delivered(cloud, publisher.sent)
        cloud.outage()
        publisher.burst(5000, ("pump-1", "pump-2", "pump-3"))
        publisher.wait_acked()
        wait_for(lambda: gateway.journalled() >= 5300, 20, "all of it in the journal")
        cloud.resume()
        self.wait_delivered(cloud, publisher.sent)
        self.assertEqual((cloud.duplicates(), cloud.disorder("n"), cloud.complaints()), (0, [], []))

    def test_an_outage_under_load_loses_nothing(self):
        field, cloud = self.field(), self.thingsboard()
        self.running(field, cloud, clouds=[self.cloud_config(cloud, max_in_flight_records=500)])
        publisher = self.publisher(field)
        load = SteadyLoad(publisher, 1000)
        for _ in range(2):
            n = len(publisher.acked)
            wait_for(lambda: len(publisher.acked) > n + 500)
            cloud.outage()
            n = len(publisher.acked)
            wait_for(lambda: len(publisher.acked) > n + 1000)
            cloud.resume()
            n = len(cloud.events("publish"))
            wait_for(lambda: len(cloud.events("publish")) > n, 40, "data flows again")
        load.stop()
        publisher.wait_acked()
        self.wait_delivered(cloud, publisher.sent)
        self.assertLessEqual(max(again_per_session(cloud)), 500)
        self.assertEqual((cloud.disorder("n"), cloud.complaints()), ([], []))

    def test_lost_acknowledgements_repeat_no_more_than_the_window(self):
        field, cloud = self.field(), self.thingsboard()
        self.running(field, cloud, clouds=[self.cloud_config(cloud, max_in_flight_records=500)])
        publisher = self.publisher(field)
        load = SteadyLoad(publisher, 1000)
        for _ in range(3):
            n = len(cloud.events("disconnect"))
            cloud.set(lose_ack_at=5)
            wait_for(lambda: len(cloud.events("disconnect")) > n, 30, "the connection breaks")
            n = len(cloud.events("publish"))
            wait_for(lambda: len(cloud.events("publish")) > n, 40, "data flows again")
        load.stop()
        publisher.wait_acked()
        self.wait_delivered(cloud, publisher.sent)
        self.assertLessEqual(max(again_per_session(cloud)), 500)
        self.assertEqual(cloud.complaints(), [])

    def kills(self, n_kills, per_s):
        window, unacked = 500, 200
        field, cloud = self.field(), self.thingsboard()
        gateway = self.running(
            field, cloud, brokers=[self.broker_config(field, receive_maximum=unacked, mqtt_version="5")],
            clouds=[self.cloud_config(cloud, max_in_flight_records=window)])
        publisher = self.publisher(field)
        load = SteadyLoad(publisher, per_s)
        dice = random.Random(int(os.environ.get("FIELDGATE_SEED", "0")) or None)
        for i in range(n_kills):
            if i % 7 == 3:
                cloud.outage()
            if i % 7 == 5:
                cloud.resume()
            # A random moment is the point here: there is no fact to wait for.
            time.sleep(dice.uniform(0.02, 1.2))
            gateway.is_up()
            gateway.kill9()
            gateway.start()
        if cloud.process is None:
            cloud.resume()
        n = len(cloud.events("publish"))
        wait_for(lambda: len(cloud.events("publish")) > n, 60, "data flows after the last start")
        load.stop()
        publisher.wait_acked()
        self.wait_delivered(cloud, publisher.acked)
        self.assertLessEqual(max(again_per_session(cloud)), window + unacked)
        self.assertEqual(cloud.complaints(), [])

    def test_20_kills_under_load_with_an_outage_lose_nothing(self):
        self.kills(20, 500)

    @takes_long
    def test_100_kills_under_load_with_outages_lose_nothing(self):
        self.kills(100, 1000)

    def test_a_clean_restart_repeats_nothing(self):
        field, cloud = self.field(), self.thingsboard()
        gateway = self.running(field, cloud)
        publisher = self.publisher(field)
        load = SteadyLoad(publisher, 500)
        for _ in range(5):
            n = len(cloud.events("publish"))
            wait_for(lambda: len(cloud.events("publish")) > n + 5, 40, "data flows")
            self.assertEqual(gateway.term(), 0)
            gateway.start()
        load.stop()
        publisher.wait_acked()
        self.wait_delivered(cloud, publisher.sent)
        self.assertEqual((cloud.duplicates(), cloud.disorder("n"), cloud.complaints()), (0, [], []))

    def test_a_clean_restart_in_an_outage_repeats_and_loses_nothing(self):
        field, cloud = self.field(), self.thingsboard()
        gateway = self.running(field, cloud)
        publisher = self.publisher(field)
        publisher.burst(100)
        self.wait_delivered(cloud, publisher.sent)
        cloud.outage()
        publisher.burst(1000)
        publisher.wait_acked()
        wait_for(lambda: gateway.journalled() >= 1100, 20, "all of it in the journal")
        self.assertEqual(gateway.term(), 0)
        gateway.start()
        cloud.resume()
        self.wait_delivered(cloud, publisher.sent)
        self.assertEqual((cloud.duplicates(), cloud.disorder("n")), (0, []))

    def test_what_waited_in_the_field_broker_comes_through(self):
        field, cloud = self.field(), self.thingsboard()
        gateway = self.running(field, cloud)
        publisher = self.publisher(field)
        self.assertEqual(gateway.term(), 0)
        publisher.burst(3000, ("pump-1", "pump-2"))
        publisher.wait_acked()
        gateway.start()
        self.wait_delivered(cloud, publisher.sent)
        self.assertEqual((cloud.duplicates(), cloud.complaints()), (0, []))


class Commit(EndToEnd):
    """P1: an acknowledgement means on disk. The field broker is scripted and the disk is watched."""

    def setUp(self):
        super().setUp()
        self.shim = self.path("disk")
        os.mkdir(self.shim)
        self.tokens = {}  # packet id → token
        self.server = self.scripted()
        self.cloud = self.thingsboard()

    def begin(self, version="5", **settings):
        self.disk(**settings)
        self.subject = self.gateway(self.server, self.cloud, start=False, brokers=[
            self.broker_config(self.server, mqtt_version=version)],
            mappings=[{"topic": "sensors/{device}/climate", "payload": "json", "telemetry": {"n": "$.n"}}])
        self.subject.start(env={"LD_PRELOAD": os.path.join(BUILD, "tests/e2e/slow_sync.so"),
                                "SLOW_SYNC": self.shim, "ASAN_OPTIONS": "verify_asan_link_order=0"})
        wait_for(lambda: self.subject.is_up() and self.server.packets(Subscribe), 20, "the gateway subscribes")

    def disk(self, **settings):
        set_disk(self.shim, **settings)

    def diary(self):
        """([(fd, time, token)] of writes, [(fd, begin, end, result)] of syncs), times in seconds."""
        writes, syncs = [], []
        try:
            with open(os.path.join(self.shim, "diary")) as f:
                lines = f.read().splitlines()
        except FileNotFoundError:
            lines = []
        for line in lines:
            w = line.split(" ")
            if w[0] == "write":
                writes.append((int(w[1]), int(w[2]) / 1e9, w[3]))
            else:
                syncs.append((int(w[1]), int(w[2]) / 1e9, int(w[3]) / 1e9, int(w[4])))
        return writes, syncs

    def send(self, count, first=0):
        def run():
            c = self.server.connections[-1]
            for i in range(first, first + count):
                token = "m%d" % i
                self.tokens[c.publish("sensors/pump/climate", '{"n":"@@%s@@"}' % token)] = token
        self.server.call(run)

    def acks(self):
        """{token: time of its PUBACK}"""
        return {self.tokens[p.id]: at for at, _, p in list(self.server.log)
                if isinstance(p, Ack) and p.kind == 4 and p.id in self.tokens}

    def assert_acked_after_sync(self):
        writes, syncs = self.diary()
        acks = self.acks()
        for token, acked in acks.items():
            proofs = [1 for fd, at, what in writes if what == token for s_fd, begin, end, result in syncs
                      if s_fd == fd and begin >= at and end <= acked and result == 0]
            self.assertTrue(proofs, "%s was acknowledged before its record was synced" % token)
        return len(acks)

    def acked_in_order(self, version):
        self.begin(version, delay=30)
        for i in range(10):
            self.send(20, i * 20)
            wait_for(lambda: len(self.acks()) > i * 20, 20, "the first acknowledgement of a batch")
        wait_for(lambda: len(self.acks()) == 200, 20, "all acknowledgements")
        self.assertEqual(self.assert_acked_after_sync(), 200)
        self.assertEqual(self.server.errors, [])
        # Ten bursts, each of which may be cut in two: the disk is asked once a batch, not once a message.
        self.assertLess(len(self.diary()[1]), 60)

    def test_no_acknowledgement_precedes_its_sync_over_5(self):
        self.acked_in_order("5")

    def test_no_acknowledgement_precedes_its_sync_over_3_1_1(self):
        self.acked_in_order("3.1.1")

    def test_a_sync_that_fails_acknowledges_nothing(self):
        self.begin()
        self.send(5)
        wait_for(lambda: len(self.acks()) == 5, 20, "acknowledgements")
        self.disk(fail=5)
        n = len(self.diary()[1])
        self.send(5, 5)
        wait_for(lambda: len(self.diary()[1]) >= n + 2, 30, "two syncs that failed")
        self.assertEqual(len(self.acks()), 5)
        self.subject.wait_log("journal: .*input/output error")
        self.disk()
        wait_for(lambda: len(self.acks()) == 10, 60, "acknowledgements once the disk works")
        self.assert_acked_after_sync()
        wait_for(lambda: {v for _, _, k, v in self.cloud.samples() if k == "n"} ==
                 {"@@m%d@@" % i for i in range(10)}, 30, "all of it in the cloud")

    def test_a_disk_that_is_full_acknowledges_nothing(self):
        self.begin()
        self.disk(full=28)
        self.send(5)
        self.subject.wait_log("no space left|enospc|full")
        self.assertEqual(len(self.acks()), 0)
        self.disk()
        wait_for(lambda: len(self.acks()) == 5, 60, "acknowledgements once there is room")
        self.assert_acked_after_sync()


class Full(EndToEnd):
    @needs_root
    def test_a_full_disk_in_an_outage_loses_nothing(self):
        field, cloud = self.field(), self.thingsboard()
        gateway = self.gateway(field, cloud, start=False, journal={"max_size": "32MiB", "segment_size": "8MiB"},
                               mappings=[dict(MAPPING, telemetry={"n": "$.n", "text": "$.text"})])
        gateway.start(prefix=["unshare", "-m", "sh", "-c",
                              'mount -t tmpfs -o size=10m none "$0" && exec "$@"', gateway.state])
        field.wait_subscribed(gateway.client_id())
        wait_for(lambda: cloud.events("connect"), 20)
        cloud.outage()
        publisher = self.publisher(field)
        for _ in range(15000):
            publisher.publish(text="x" * 1000)
        publisher.wait_acked()
        gateway.wait_log("no space left|enospc|full", 60)
        cloud.resume()
        self.wait_delivered(cloud, publisher.sent, 120)
