"""What goes first: alarms, what is new, or what is oldest."""
from frame import EndToEnd, MAPPING, SteadyLoad, wait_for

ALARM = {"topic": "alarms/{device}", "payload": "json", "telemetry": {"alarm": "$.alarm"}, "lane": "alarm"}
PER_S = 100
WINDOW = 100


class Lanes(EndToEnd):
    def begin(self, **more):
        """A gateway whose cloud takes PER_S values a second."""
        self.broker, self.cloud = self.field(), self.thingsboard()
        gateway = self.running(self.broker, self.cloud, mappings=[MAPPING, ALARM], clouds=[
            self.cloud_config(self.cloud, limits={"points": "%d/s" % PER_S}, max_in_flight_records=WINDOW, **more)])
        self.source = self.publisher(self.broker)
        return gateway

    def pile_up(self, gateway, n):
        """An outage in which @n messages gather."""
        self.cloud.outage()
        self.source.burst(n)
        self.source.wait_acked()
        wait_for(lambda: gateway.journalled() >= n, 20, "all of it in the journal")

    def catch_up(self, per_s, n):
        """Let the cloud come back and @per_s new messages come, until @n in all have arrived."""
        self.cloud.resume()
        wait_for(lambda: self.cloud.values("n"), 30, "the backlog begins to drain")
        load = SteadyLoad(self.source, per_s, ("pump-1",))
        self.addCleanup(load.stop)
        wait_for(lambda: len(self.cloud.values("n")) >= n, 60, "%d messages" % n)
        return load

    def assert_each_once(self):
        self.wait_delivered(self.cloud, self.source.sent)
        self.assertEqual(sorted(self.cloud.values("n")), list(range(len(self.source.sent))))

    def test_an_alarm_overtakes_the_backlog(self):
        gateway = self.begin()
        self.pile_up(gateway, 1000)
        self.source.raw("alarms/pump-1", '{"alarm": "before"}')
        wait_for(lambda: gateway.journalled("alarm") == 1, 20, "the alarm in the journal")
        self.cloud.resume()
        wait_for(lambda: self.cloud.values("alarm"), 30, "the alarm")
        keys = [k for _, _, k, _ in self.cloud.samples()]
        self.assertLessEqual(keys.index("alarm"), WINDOW, "what had arrived before it")
        self.source.raw("alarms/pump-1", '{"alarm": "amid"}')
        wait_for(lambda: len(self.cloud.values("alarm")) == 2, 20, "the second alarm")
        self.assertLess(len(self.cloud.values("n")), 1000)
        self.assert_each_once()
        self.assertEqual(self.cloud.values("alarm"), ["before", "amid"])
        self.assertEqual(self.cloud.disorder("n"), [])

    def test_fifo_sends_the_oldest_first_though_new_data_comes(self):
        gateway = self.begin(order="fifo")
        self.pile_up(gateway, 500)
        self.catch_up(PER_S // 2, 600).stop()
        self.assert_each_once()
        self.assertEqual(self.cloud.disorder("n"), [])

    def test_live_first_gives_the_backlog_its_share(self):
        n, share = 400, 25
        gateway = self.begin(order="live_first", backlog_share=share)
        self.pile_up(gateway, n)
        load = self.catch_up(2 * PER_S, 600)  # more than there is room for
        load.stop()
        came = self.cloud.values("n")
        amid = came[next(i for i, v in enumerate(came) if v >= n):]
        old = [v for v in amid if v < n]
        self.assertLess(max(old), n - 1, "backlog was left when this was looked at")
        self.assertAlmostEqual(100 * len(old) / len(amid), share, delta=8)
        self.assertEqual(old, sorted(old))
        self.assert_each_once()

    def test_live_first_keeps_new_data_fresh_while_the_backlog_drains(self):
        n = 600
        gateway = self.begin(order="live_first")
        self.pile_up(gateway, n)
        load = self.catch_up(PER_S // 2, n // 2)
        for _ in range(50):
            published = len(self.source.acked)
            wait_for(lambda: n + sum(1 for v in self.cloud.values("n") if v >= n) >= published, 20, "new data, soon")
        self.assertFalse(set(range(n)) <= set(self.cloud.values("n")), "the backlog is not gone yet")
        load.stop()
        self.assert_each_once()

    def test_a_kill_amid_live_first_loses_nothing_and_repeats_little(self):
        gateway = self.begin(order="live_first")
        self.pile_up(gateway, 600)
        load = self.catch_up(PER_S // 2, 200)
        for i in (1, 2, 3):
            gateway.kill9()
            gateway.start()
            wait_for(lambda: len(self.cloud.values("n")) >= 200 + i * 150, 60, "data flows again")
        load.stop()
        self.source.wait_acked()
        self.wait_delivered(self.cloud, self.source.acked)
        self.assertLessEqual(self.cloud.duplicates(), 3 * WINDOW)
