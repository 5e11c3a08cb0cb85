"""ThingsBoard and Huawei Cloud IoTDA, fed from one journal: each gets what the device said, whatever the other does."""
import json
import re

from frame import MAPPING, SteadyLoad, wait_for
from test_huawei_gateway import PUMPS, HuaweiTest, in_iotda

RAW = {"topic": "raw/{device}", "payload": "json"}

# Members as they travel. Whoever parses a number and writes it again spells some of these in another way.
NUMBERS = ["1.10", "42.0", "42", "-0", "-0.0", "0.0", "9007199254740993", "9223372036854775807",
           "-9223372036854775808", "18446744073709551615", "123456789012345678901234567890", "21.499999999999999",
           "1e-7"]
# ThingsBoard would make texts of these, so there they are spelled in another way: its page says how.
ADAPTED = {"1E+2": "100.0", "1e2": "100.0", "100e-2": "1.0", "0.30000000000000004": "0.3",
           "0.1000000000000000055511151231257827": "0.1", "5e-324": "0.0"}
TEXTS = ['""', '"000123"', '"1.10"', '"NaN"', '"true"', '"caf\u00e9"', r'"caf\u00e9"', r'"caf\u00E9"', r'"\u0041"',
         '"\U0001F600"', r'"\ud83d\ude00"', '"a/b"', r'"a\/b"', r'"a\tb\u0009\n"', r'"\"\\"', '"\u007f\u0080"',
         '"  two  blanks  "', r'"{\"n\":1.10}"']
OTHERS = ["true", "false", "[]", "{}", "[1.10,[2.0,{}]]", r'{"x":1.0,"\u0079":[null,"\u00e9"]}']


class TwoClouds(HuaweiTest):
    def begin(self, tb_options=None, **options):
        self.tb = self.thingsboard()
        super().begin([self.cloud_config(self.tb, **(tb_options or {}))], **options)
        wait_for(self.tb_connects, 20, "ThingsBoard sees a login")
        return self

    def tb_connects(self):
        return self.tb.events("connect")

    def wait_both(self):
        self.wait_delivered(self.cloud, in_iotda(self.device.sent))
        self.wait_delivered(self.tb, self.device.sent)

    def burst(self, n=300):
        self.device.burst(n, PUMPS)
        self.device.wait_acked()

    def assert_all_is_well(self):
        for cloud in (self.cloud, self.tb):
            self.assertEqual(cloud.disorder("n"), [])
        self.assertEqual((self.complaints(), self.tb.complaints()), ([], []))


class Unchanged(TwoClouds):
    maxDiff = None
    mapping = RAW

    def sent_as(self, cloud, member):
        """The bodies of pump-1 as they stand in the payloads of @cloud, in order: text between @member and what
        follows it."""
        found = []
        for event in cloud.events("publish"):
            text = event["payload"]
            for at in re.finditer('"%s":' % member, text):
                _, end = json.JSONDecoder().raw_decode(text, at.end())
                found.append(text[at.end():end])
        return found

    def bodies(self):
        """(in IoTDA, in ThingsBoard)"""
        return self.sent_as(self.cloud, "properties"), self.sent_as(self.tb, "values")

    def test_numbers_and_texts_reach_both_clouds_byte_for_byte(self):
        self.begin()
        members = NUMBERS + TEXTS + OTHERS
        said = ["{%s}" % ",".join('"m%d":%s' % (i, text) for i, text in enumerate(members)),
                '{"caf\u00e9":1.0,"caf\\u00e8":2.00,"a b":[1.50]}']
        said += ['{"only":%s}' % text for text in members]
        adapted = ['{"only":%s,"next":1.10}' % text for text in ADAPTED]
        for body in said + adapted:
            self.device.raw("raw/pump-1", body.encode())
        n = len(said + adapted)
        wait_for(lambda: all(len(bodies) >= n for bodies in self.bodies()), 20, "all arrive in both")
        in_tb = said + ['{"only":%s,"next":1.10}' % text for text in ADAPTED.values()]
        self.assertEqual(self.bodies(), (said + adapted, in_tb))
        self.assertEqual(self.gw.journalled(), n, "written once, for both")
        self.assertEqual(self.complaints(), [])

    def test_a_number_that_only_one_cloud_can_take_reaches_that_one_unchanged(self):
        """1e400 is JSON, and no number that ThingsBoard can store."""
        self.begin()
        body = '{"a":1.10,"b":1e400,"c":-1e400,"d":2.0}'
        self.device.raw("raw/pump-1", body)
        wait_for(lambda: all(self.bodies()), 20, "it arrives in both")
        self.assertEqual(self.bodies(), ([body], ['{"a":1.10,"d":2.0}']))
        links = self.gw.status()
        self.assertEqual((links["link hw"]["values_dropped"], links["link tb"]["values_dropped"]), (0, 2))


class Events(TwoClouds):
    mapping = {"topic": "events/{device}/{what}", "event": "{what}", "stream": "pump", "time": "$.ts"}

    def told(self):
        return [(e["device"], e["type"], e["paras"]) for e in self.cloud.events("reported") if e["service"] == "pump"]

    def test_an_event_is_one_in_iotda_and_a_value_in_thingsboard(self):
        self.begin()
        self.device.raw("events/pump-1/overheat", '{"ts":1718000000123,"t":90.50}')
        self.device.raw("events/pump-1/tripped", "{}")
        wait_for(lambda: len(self.tb.values("overheat") + self.tb.values("tripped")) == 2, 20, "ThingsBoard has both")
        wait_for(lambda: len(self.told()) == 2, 20, "IoTDA has both")
        self.assertEqual(self.told(), [("p1_pump-1", "overheat", {"t": 90.5}), ("p1_pump-1", "tripped", {})])
        self.assertEqual([(d, ms, v) for d, ms, k, v in self.tb.samples() if k == "overheat"],
                         [("pump-1", 1718000000123, {"t": 90.5})])
        self.assert_all_is_well()


class Apart(TwoClouds):
    """What one cloud goes through is nothing to the other, which has all while it lasts."""

    def live_on(self, healthy, expected, ill):
        """All that is said now is in @healthy, while @ill has none of it."""
        before = len(ill.samples())
        self.burst()
        self.wait_delivered(healthy, expected(self.device.sent))
        self.assertLess(len(ill.samples()) - before, 300)

    def test_iotda_and_thingsboard_are_fed_from_one_journal_and_a_dead_one_holds_up_nobody(self):
        self.begin()
        self.burst(60)
        self.wait_both()
        self.cloud.outage()
        self.live_on(self.tb, list, self.cloud)
        self.cloud.resume()
        self.wait_both()
        self.tb.outage()
        self.live_on(self.cloud, in_iotda, self.tb)
        self.tb.resume()
        self.wait_both()
        self.assert_all_is_well()

    def test_iotda_or_thingsboard_frozen_holds_up_nobody_and_catches_up(self):
        """The connection stands, and nobody answers: no error says so."""
        self.begin()
        self.burst(60)
        self.wait_both()
        for ill, healthy, expected in ((self.cloud, self.tb, list), (self.tb, self.cloud, in_iotda)):
            ill.freeze()
            self.live_on(healthy, expected, ill)
            ill.thaw()
            self.wait_both()
        self.assertEqual((len(self.cloud.events("connect")), len(self.tb.events("connect"))), (1, 1))
        self.assert_all_is_well()

    def test_iotda_or_thingsboard_slow_holds_up_nobody(self):
        self.begin()
        self.burst(60)
        self.wait_both()
        for ill, healthy, expected in ((self.cloud, self.tb, list), (self.tb, self.cloud, in_iotda)):
            ill.set(slow_ms=400)
            self.burst()
            self.wait_delivered(healthy, expected(self.device.sent))
            ill.set(slow_ms=0)
            self.wait_both()
        self.assert_all_is_well()

    def test_a_kill_while_iotda_is_behind_loses_nothing_for_either(self):
        self.begin()
        self.cloud.outage()
        self.burst()
        self.wait_delivered(self.tb, self.device.sent)
        load = SteadyLoad(self.device, 300, PUMPS)
        self.addCleanup(load.stop)
        for _ in range(2):
            before = len(self.tb.samples())
            wait_for(lambda before=before: len(self.tb.samples()) > before, 20, "it is under way")
            self.gw.kill9()
            self.gw.start()
        load.stop()
        self.device.wait_acked()
        self.wait_delivered(self.tb, self.device.sent)
        self.assertEqual(self.cloud.samples(), [])
        self.cloud.resume()
        self.wait_both()
        self.assert_all_is_well()

    def test_a_kill_while_thingsboard_is_behind_loses_nothing_for_either(self):
        self.begin()
        self.tb.outage()
        self.burst()
        self.wait_delivered(self.cloud, in_iotda(self.device.sent))
        self.gw.kill9()
        self.gw.start()
        self.burst(60)
        self.wait_delivered(self.cloud, in_iotda(self.device.sent))
        self.tb.resume()
        self.wait_both()
        self.assert_all_is_well()

    def test_what_one_cloud_cannot_take_stands_in_quarantine_for_that_one_only(self):
        self.mapping = dict(MAPPING, telemetry={"n": "$.n", "text": "$.text"})
        self.begin(tb_options={"max_packet_size": 1024})
        self.burst(30)
        self.device.publish("pump 4")                      # no device id of IoTDA
        self.device.publish("pump-1", text="x" * 2000)     # no packet for that ThingsBoard
        self.burst(30)
        for_tb = [(d, n) for d, n in self.device.sent if (d, n) != ("pump-1", 10)]
        for_iotda = [(d, n) for d, n in self.device.sent if d != "pump 4"]
        self.wait_delivered(self.tb, for_tb)
        self.wait_delivered(self.cloud, in_iotda(for_iotda))
        wait_for(lambda: len(self.gw.quarantine()) == 2, 20, "both stand in quarantine")
        self.assertEqual(sorted(link for link, *_ in self.gw.quarantine()), ["hw", "tb"])
        links = self.gw.status()
        self.assertEqual((links["link hw"]["quarantined"], links["link tb"]["quarantined"]), (1, 1))
        self.assertEqual((len(self.cloud.events("connect")), len(self.tb.events("connect"))), (1, 1))
        self.assert_all_is_well()
