"""Bad days: dice decide what goes wrong, for a gateway that feeds two clouds from one journal and brings them commands.
What the field broker has acknowledged is in both clouds in the end, each device's in its order (unless the newest goes
first), no command has run twice, and nobody says a wrong word to a cloud. FIELDGATE_SEED=n plays a day again, as far as
a machine lets it."""
import errno
import json
import os
import random
import signal
import threading
import time

from field_device import FieldDevice
from frame import BUILD, SteadyLoad, set_disk, takes_long, wait_for
from test_huawei_gateway import COMMAND, in_iotda
from test_loss import again_per_session
from test_two_clouds import TwoClouds

DEVICES = ["pump-%02d" % n for n in range(20)]
UNACKED = 200  # of the field broker


class Day:
    """What the dice throw: a configuration, and faults that come and go."""

    def __init__(self, test, seed):
        self.test, self.dice = test, random.Random(seed)
        self.window = self.dice.choice([100, 500, 2000])
        self.order = self.dice.choice(["fifo", "live_first"])
        self.has_fallback = self.dice.random() < 0.5
        self.by_alarm = self.dice.random() < 0.3
        self.story = ["seed %d: window %d, %s%s%s" % (seed, self.window, self.order,
                                                      ", with a fallback" if self.has_fallback else "",
                                                      ", by the alarm lane" if self.by_alarm else "")]
        self.is_out = {"hw": False, "tb": False}
        self.is_frozen = False
        self.calls, self.rpcs = [], []
        self.n_ends = 0  # of the daemon

    def say(self, what):
        self.story.append("%.1f s: %s" % (time.monotonic() - self.test.began, what))

    # ---- what may happen

    def toggle(self, name, cloud):
        self.is_out[name] = not self.is_out[name]
        self.say(name + (" goes" if self.is_out[name] else " is back"))
        if self.is_out[name]:
            cloud.outage()
        else:
            cloud.resume()

    def iotda_goes_or_comes(self):
        self.toggle("hw", self.test.cloud)

    def thingsboard_goes_or_comes(self):
        self.toggle("tb", self.test.tb)

    def iotda_freezes_or_thaws(self):
        self.is_frozen = not self.is_frozen
        self.say("hw freezes" if self.is_frozen else "hw thaws")
        if self.is_frozen:
            self.test.cloud.freeze()
        else:
            self.test.cloud.thaw()

    def iotda_throws_the_gateway_out(self):
        self.say("hw kicks")
        self.test.cloud.kick()

    def thingsboard_throws_the_gateway_out(self):
        if not self.is_out["tb"]:
            self.say("tb kicks")
            self.test.tb.kick()

    def an_acknowledgement_is_lost(self):
        n = self.dice.randint(1, 5)
        self.say("the acknowledgement %d from now is lost in both" % n)
        self.test.cloud.set(lose_ack_at=n)
        if not self.is_out["tb"]:
            self.test.tb.set(lose_ack_at=n)

    def iotda_is_slow(self):
        slow_ms = self.dice.choice([0, 50, 400])
        self.say("hw answers after %d ms" % slow_ms)
        self.test.cloud.set(slow_ms=slow_ms)

    def the_disk_can_be_read(self):
        """Else there is no start: test_disk.py."""
        if os.path.exists(os.path.join(self.test.shim, "unreadable")):
            self.say("the disk: well")
            self.test.disk()

    def the_gateway_is_killed(self):
        self.the_disk_can_be_read()
        self.say("kill")
        self.test.gw.is_up()
        self.test.gw.kill9()
        self.n_ends += 1
        self.test.start_gateway()

    def the_gateway_is_restarted(self):
        self.the_disk_can_be_read()
        self.say("restart")
        self.test.assertEqual(self.test.gw.term(60), 0)
        self.n_ends += 1
        self.test.start_gateway()

    def the_clock_steps(self):
        shift_s = self.dice.choice([-20 * 365 * 86400, -3600, 0, 3600, 20 * 365 * 86400])
        self.say("the clock is %d s off" % shift_s)
        self.test.set_clock(shift_s)

    def the_field_broker_freezes_for_a_while(self):
        """As a machine does that swaps: connections stand, and nobody answers."""
        seconds = self.dice.uniform(0.1, 3)
        self.say("the field broker freezes for %.1f s" % seconds)
        self.test.site.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.test.site.process.send_signal(signal.SIGCONT)

    def the_disk_has_a_fault_or_none(self):
        fault = self.dice.choice([{}, {}, {"delay": 20}, {"delay": 200}, {"fail": errno.EIO}, {"full": errno.ENOSPC},
                                  {"unreadable": errno.EIO}])
        self.say("the disk: %s" % (fault or "well"))
        self.test.disk(**fault)

    def commands_come(self):
        names = self.dice.sample(DEVICES, 3)
        self.say("commands for " + ", ".join(names))
        for name in names:
            number = len(self.calls) + len(self.rpcs)
            self.calls.append(self.test.cloud.command_begin("p1_" + name, "START", {"number": number}, "pump",
                                                            timeout_s=20))
            if not self.is_out["tb"]:
                self.rpcs.append(self.test.tb.rpc_begin(name, "stop", {"number": number + 1}, timeout_s=20,
                                                        persistent=True))

    def live(self, seconds):
        happen = [self.iotda_goes_or_comes, self.thingsboard_goes_or_comes, self.iotda_freezes_or_thaws,
                  self.iotda_throws_the_gateway_out, self.thingsboard_throws_the_gateway_out,
                  self.an_acknowledgement_is_lost, self.iotda_is_slow, self.the_gateway_is_killed,
                  self.the_gateway_is_restarted, self.the_clock_steps, self.the_field_broker_freezes_for_a_while,
                  self.the_disk_has_a_fault_or_none, self.commands_come]
        while time.monotonic() < self.test.began + seconds:
            # A random moment is the point here: there is no fact to wait for.
            time.sleep(self.dice.uniform(0.02, 1.5))
            self.dice.choice(happen)()

    def end(self):
        """All is well again."""
        self.say("evening")
        self.test.cloud.set(slow_ms=0)
        self.test.set_clock(0)
        self.test.disk()
        if self.is_frozen:
            self.iotda_freezes_or_thaws()
        for name in [name for name, is_out in self.is_out.items() if is_out]:
            self.toggle(name, {"hw": self.test.cloud, "tb": self.test.tb}[name])


class BadDays(TwoClouds):
    devices = DEVICES

    def complaints(self):
        """An answer whose acknowledgement is lost comes again."""
        return [c for c in super().complaints() if c.get("verdict") != "duplicate"]

    def set_clock(self, shift_s):
        with open(self.path("shift.new"), "w") as f:
            f.write(str(shift_s))
        os.rename(self.path("shift.new"), self.path("shift"))

    def disk(self, **fault):
        set_disk(self.shim, **fault)

    def start_gateway(self):
        shims = [os.path.join(BUILD, "tests/e2e", name) for name in ("fake_clock.so", "slow_sync.so")]
        self.gw.start(env={"LD_PRELOAD": " ".join(shims), "FAKE_CLOCK": self.path("shift"), "SLOW_SYNC": self.shim,
                           "ASAN_OPTIONS": "verify_asan_link_order=0"})

    def huawei_config(self, cloud, **more):
        if self.day.has_fallback:
            more["fallback"] = {"url": cloud.https.url, "after": "1s"}
        return super().huawei_config(cloud, **more)

    def morning(self, day):
        self.day = day
        self.shim = self.path("shim")
        os.mkdir(self.shim)
        self.set_clock(0)
        link = {"max_in_flight_records": day.window, "order": day.order, "ack_timeout": "5s"}
        self.site, self.cloud, self.tb = self.field(), self.huawei(), self.thingsboard()
        mapping = dict(self.mapping, **({"lane": "alarm"} if day.by_alarm else {}))
        self.gw = self.gateway(
            self.site, brokers=[self.broker_config(self.site, receive_maximum=UNACKED, mqtt_version="5")],
            clouds=[self.huawei_config(self.cloud, **link), self.cloud_config(self.tb, **link)],
            mappings=[mapping], start=False)
        self.gw.config["commands"] = [COMMAND]
        self.start_gateway()
        self.site.wait_subscribed(self.gw.client_id())
        self.device = self.publisher(self.site)
        self.served = FieldDevice(self.site.port)
        self.addCleanup(self.served.close)
        self.ran = []
        lock = threading.Lock()

        def react(_client, _user, message):
            body = json.loads(message.payload)
            with lock:
                self.ran.append(body["params"]["number"])
            self.served.mqtt.publish(message.topic + "/answer", json.dumps({"id": body["id"], "result": {}}), 1)
        self.served.mqtt.on_message = react
        self.served.subscribe("cmd/+/+")
        self.device.burst(len(DEVICES), DEVICES)
        self.wait_both()
        self.began = time.monotonic()

    def live_through(self, seed, seconds):
        day = Day(self, seed)
        try:
            self.morning(day)
            load = SteadyLoad(self.device, 300, DEVICES)
            self.addCleanup(load.stop)
            day.live(seconds)
            day.end()
            load.stop()
            self.device.wait_acked()
            for cloud, expected in ((self.cloud, in_iotda(self.device.acked)), (self.tb, self.device.acked)):
                self.wait_delivered(cloud, expected, 120)
            self.check(day)
        except BaseException:
            print("\n".join(day.story))
            raise

    def check(self, day):
        self.assertEqual((self.complaints(), self.tb.complaints()), ([], []))
        if day.order == "fifo":
            self.assertEqual((self.cloud.disorder("n"), self.tb.disorder("n")), ([], []))
        again = again_per_session(self.tb)
        self.assertLessEqual(sum(again), len(again) * day.window + day.n_ends * UNACKED)
        self.assertEqual(len(self.ran), len(set(self.ran)), "no command has run twice")
        for call in day.calls:
            wait_for(lambda call=call: call.is_done, 60, "each command of IoTDA has ended")
        self.assertEqual(self.gw.quarantine(), [])
        for name in ("link hw", "link tb"):
            self.assertEqual({k: v for k, v in self.gw.status()[name].items() if k.startswith("lost") and v}, {})
        self.assertEqual(self.gw.term(60), 0)

    @takes_long
    def test_a_bad_day_loses_nothing_and_runs_no_command_twice(self):
        self.live_through(int(os.environ.get("FIELDGATE_SEED", "0")) or random.randrange(1, 1 << 30), 60)
