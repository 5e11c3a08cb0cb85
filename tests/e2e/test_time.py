"""The wall clock is wrong, gets right, and jumps: stamps come right, sessions stay."""
import json
import os
import time

from frame import BUILD, EndToEnd, FIRST_TS, TOPIC, wait_for

YEAR_S = 365 * 86400
# Two samples: what the device says about the time, and nothing.
MAPPINGS = [{"topic": "stamped/{device}", "payload": "json", "telemetry": {"n": "$.n"}, "time": "$.ts"},
            {"topic": TOPIC, "payload": "json", "telemetry": {"n": "$.n"}}]


class Time(EndToEnd):
    def setUp(self):
        super().setUp()
        self.field_broker, self.cloud = self.field(), self.thingsboard()
        self.device = self.publisher(self.field_broker)
        self.published = {}  # n → when, in ms

    def set_clock(self, shift_s):
        """By how much the daemon's wall clock is wrong from now on."""
        with open(self.path("shift.new"), "w") as f:
            f.write(str(int(shift_s)))
        os.rename(self.path("shift.new"), self.path("shift"))

    def begin(self, wait="10min", boot=1, subject=None):
        """Start a daemon, on a machine started for the @boot-th time."""
        subject = subject or self.gateway(self.field_broker, self.cloud, start=False, mappings=MAPPINGS,
                                          gateway={"time_wait": wait})
        subject.start(env={"LD_PRELOAD": os.path.join(BUILD, "tests/e2e/fake_clock.so"),
                           "FAKE_CLOCK": self.path("shift"), "FIELDGATE_BOOT_ID": "%032x" % boot,
                           "ASAN_OPTIONS": "verify_asan_link_order=0"})
        subject.wait_log(r"link tb: connected")
        subject.wait_log(r"broker field: connected")
        self.field_broker.wait_subscribed(subject.client_id())
        return subject

    def publish(self):
        n = len(self.published)
        self.published[n] = time.time() * 1000
        self.device.raw(TOPIC.replace("{device}", "pump-1"), json.dumps({"n": n}))
        return n

    def stamps(self):
        return {v: ts for _, ts, k, v in self.cloud.samples() if k == "n"}

    def wait_stamp(self, n, timeout_s=20):
        wait_for(lambda: n in self.stamps(), timeout_s, "sample %d in the cloud" % n)
        return self.stamps()[n]

    def assert_right(self, n, shift_s=0):
        self.assertAlmostEqual(self.wait_stamp(n), self.published[n] + shift_s * 1000, delta=1000)

    def wait_journalled(self, subject, n):
        wait_for(lambda: subject.journalled() >= n, 20, "%d messages in the journal" % n)

    def to_1970(self):
        self.set_clock(100 - int(time.time()))

    def test_what_came_in_1970_has_its_right_time_once_the_clock_is_set(self):
        self.to_1970()
        subject = self.begin()
        early = [self.publish() for _ in range(3)]
        self.wait_journalled(subject, 3)
        subject.wait_log(r"clock: not set yet")
        self.assertEqual(self.stamps(), {})
        self.set_clock(0)
        for n in early:
            self.assert_right(n)
        self.assert_right(self.publish())
        self.assertEqual(len(self.cloud.events("connect")), 1)
        self.assertEqual(self.cloud.complaints(), [])

    def test_a_device_that_knows_the_time_is_believed_in_1970_too(self):
        self.to_1970()
        self.begin()
        self.device.raw("stamped/pump-1", json.dumps({"n": 7, "ts": FIRST_TS}))
        self.assertEqual(self.wait_stamp(7), FIRST_TS)

    def test_what_came_in_1970_has_its_right_time_after_a_crash_and_a_reboot(self):
        self.to_1970()
        subject = self.begin()
        first = self.publish()
        self.wait_journalled(subject, 1)
        subject.kill9()
        self.begin(subject=subject)  # the same boot, still not knowing
        second = self.publish()
        self.wait_journalled(subject, 2)
        self.cloud.outage()
        self.set_clock(0)
        subject.wait_log(r"clock: the time is known now")
        subject.kill9()
        self.to_1970()
        self.cloud.resume()
        self.begin(subject=subject, boot=2)
        # All are of a boot whose time is known: nothing waits, though this one does not know it.
        self.assert_right(first)
        self.assert_right(second)

    def test_a_boot_that_never_knew_comes_before_the_next_and_in_order(self):
        self.to_1970()
        subject = self.begin()
        early = [self.publish() for _ in range(3)]
        self.wait_journalled(subject, 3)
        self.assertEqual(subject.term(), 0)
        self.begin(subject=subject, boot=2)
        self.set_clock(0)
        late = self.publish()
        self.assert_right(late)
        stamps = [self.wait_stamp(n) for n in early]
        self.assertEqual(stamps, sorted(stamps))
        self.assertLess(stamps[-1], self.stamps()[late])

    def test_after_the_wait_it_goes_out_with_the_best_guess(self):
        self.to_1970()
        self.begin(wait="3s")
        n = self.publish()
        # Not in 1970: no earlier than anything that this program can have seen.
        self.assertGreater(self.wait_stamp(n), 1735689600000)
        self.set_clock(0)
        wait_for(lambda: abs(self.wait_stamp(self.publish()) / 1000 - time.time()) < 60, 20, "right stamps")

    def test_steps_of_twenty_years_end_no_session_and_stop_no_data(self):
        self.set_clock(0)
        subject = self.begin()
        self.assert_right(self.publish())
        self.set_clock(20 * YEAR_S)
        self.assert_right(self.publish(), 20 * YEAR_S)
        subject.wait_log(r"clock: stepped by 6307\d+ s, followed")
        self.set_clock(0)
        self.assert_right(self.publish())
        self.set_clock(-20 * YEAR_S)
        self.assert_right(self.publish())  # before any possible time: not followed
        self.set_clock(0)
        self.assert_right(self.publish())
        # Timers that had taken the step for time gone by would have struck within this.
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline:
            self.assert_right(self.publish())
        self.assertEqual(len(self.cloud.events("connect")), 1)
        self.assertEqual(self.field_broker.log().count("as " + subject.client_id()), 1)
        self.assertEqual(self.cloud.complaints(), [])
        self.assertEqual(subject.status()["link tb"]["quarantined"], 0)

    def test_a_step_with_publishes_in_flight_sends_nothing_twice(self):
        self.set_clock(0)
        subject = self.begin()
        self.assert_right(self.publish())
        self.cloud.set(slow_ms=300)
        sent = []
        for shift_s in (20 * YEAR_S, 0, -20 * YEAR_S, 0):
            sent.append(self.publish())
            self.wait_journalled(subject, len(self.published))
            self.set_clock(shift_s)
        for n in sent:
            self.wait_stamp(n)
        self.assertEqual(len(self.cloud.values("n")), len(self.published))
        self.assertEqual(len(self.cloud.events("connect")), 1)
