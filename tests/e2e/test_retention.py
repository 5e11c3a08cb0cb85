"""What the journal gives up, for whom, and what it says about it."""
import json
import os
import re
import subprocess
import time
import types

from frame import (Ack, BUILD, EndToEnd, FIRST_TS, MAPPING, Subscribe, free_port, takes_long, wait_for)

CTL = os.path.join(BUILD, "src", "fieldgatectl")

PAD = "x" * 8000
MIB = 1 << 20
PADDED = dict(MAPPING, telemetry={"n": "$.n", "pad": "$.pad"})


def mebibytes(n):
    """How many messages with PAD take so much of the journal."""
    return n * MIB // len(PAD)


class Retention(EndToEnd):
    def status(self, gateway):
        """What fieldgatectl says: {"journal": {…}, "link tb": {…}}."""
        out = subprocess.run([CTL, "status", "--json", "--state", gateway.state], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, check=True, timeout=60).stdout
        lines = [json.loads(line) for line in out.splitlines()]
        return {" ".join(filter(None, (o["what"], o.get("name")))): o for o in lines}

    def losses(self, gateway, link="tb"):
        """{reason: records} of a link, where there are any; their sum is "all"."""
        status = self.status(gateway)["link " + link]
        return {name.replace("lost_", "").replace("lost", "all"): n for name, n in status.items()
                if name.startswith("lost") and n}

    def begin(self, on_full, links=("tb",), max_size="32MiB", **caps):
        """A gateway between a broker and a cloud for each link; @caps: {link: its configuration}."""
        self.broker = self.field()
        self.clouds = {name: self.thingsboard(name=name) for name in links}
        gateway = self.gateway(self.broker, mappings=[PADDED],
                               clouds=[self.cloud_config(c, name, **caps.get(name, {}))
                                       for name, c in self.clouds.items()],
                               journal={"max_size": max_size, "segment_size": "8MiB", "on_full": on_full})
        self.broker.wait_subscribed(gateway.client_id())
        for cloud in self.clouds.values():
            wait_for(lambda: cloud.events("connect"), 20, "every cloud sees a login")
        self.source = self.publisher(self.broker)
        return gateway

    def fill(self, n):
        for _ in range(n):
            self.source.publish(pad=PAD)
        self.source.wait_acked(60)

    def wait_appended(self, gateway, n):
        wait_for(lambda: self.status(gateway)["broker field"]["appended"] >= n, 60, "%d messages taken" % n)

    def wait_quiet(self, gateway, link="tb"):
        """Until the link has nothing left to send."""
        wait_for(lambda: self.status(gateway)["link " + link]["backlog"] == 0, 90, "no backlog of " + link)

    # ---- the cap of the journal

    def test_at_the_cap_the_oldest_go_and_each_is_accounted_for(self):
        gateway = self.begin("drop_oldest")
        cloud = self.clouds["tb"]
        cloud.outage()
        n = mebibytes(64)
        self.fill(n)
        self.wait_appended(gateway, n)
        self.assertLessEqual(self.status(gateway)["journal"]["bytes_on_disk"], 32 * MIB)
        gateway.wait_log(r" warning link tb: lost \d+ records up to \d+: ")
        cloud.resume()
        self.wait_delivered(cloud, self.source.sent[-mebibytes(4):])
        self.wait_quiet(gateway)
        came = sorted(cloud.values("n"))
        self.assertEqual(came, list(range(came[0], n)), "what is newest, without a gap, each once")
        self.assertEqual(self.losses(gateway), {"all": came[0], "limit": came[0]})
        self.assertEqual(cloud.disorder("n"), [])

    def test_at_the_cap_the_newest_are_dropped_and_counted(self):
        gateway = self.begin("drop_newest")
        cloud = self.clouds["tb"]
        cloud.outage()
        n = mebibytes(48)
        self.fill(n)
        wait_for(lambda: self.status(gateway)["broker field"]["received"] == n, 60, "all of it taken in")
        status = self.status(gateway)["journal"]
        self.assertTrue(status["is_full"])
        self.assertLessEqual(status["bytes_on_disk"], 32 * MIB)
        gateway.wait_log(" warning journal: limit of 32 MiB reached, dropping what comes")
        cloud.resume()
        kept = n - status["refused_records"]
        self.wait_delivered(cloud, self.source.sent[:kept])
        self.wait_quiet(gateway)
        gateway.wait_log("journal: there is room again")
        self.fill(100)
        self.wait_delivered(cloud, self.source.sent[-100:])
        self.assertEqual(cloud.values("n"), list(range(kept)) + list(range(n, n + 100)))
        self.assertEqual(self.losses(gateway), {"all": n - kept, "full": n - kept})

    def test_at_the_cap_acknowledgements_stop_and_nothing_is_lost(self):
        gateway = self.begin("stop_ack")
        cloud = self.clouds["tb"]
        cloud.outage()
        self.fill(mebibytes(64))
        gateway.wait_log(" warning journal: limit of 32 MiB reached, acknowledging nothing until clouds have made room")
        self.assertTrue(self.status(gateway)["journal"]["is_full"])
        cloud.resume()
        self.wait_delivered(cloud, self.source.sent, 120)
        self.wait_quiet(gateway)
        gateway.wait_log("journal: there is room again")
        self.assertEqual(self.losses(gateway), {})
        self.assertLessEqual(self.status(gateway)["journal"]["bytes_on_disk"], 32 * MIB)
        self.assertEqual((cloud.duplicates(), cloud.disorder("n")), (0, []))

    def test_a_full_journal_that_stops_is_still_full_after_a_kill(self):
        gateway = self.begin("stop_ack")
        cloud = self.clouds["tb"]
        cloud.outage()
        self.fill(mebibytes(40))
        gateway.wait_log("acknowledging nothing until clouds have made room")
        for _ in range(3):
            gateway.kill9()
            gateway.start()
            gateway.wait_log("acknowledging nothing until clouds have made room")
            self.assertLessEqual(self.status(gateway)["journal"]["bytes_on_disk"], 32 * MIB)
        cloud.resume()
        self.wait_delivered(cloud, self.source.sent, 120)
        self.wait_quiet(gateway)
        # What was on disk when the first kill came between that and its PUBACK is there twice. Each is sent once.
        self.assertEqual(self.status(gateway)["link tb"]["records_acked"], len(cloud.values("n")))
        self.assertEqual(cloud.disorder("n"), [])

    def test_while_the_journal_is_full_no_puback_leaves(self):
        server, cloud = self.scripted(), self.thingsboard()
        gateway = self.gateway(mappings=[PADDED], clouds=[self.cloud_config(cloud)],
                               brokers=[self.broker_config(server, mqtt_version="5")],
                               journal={"max_size": "32MiB", "segment_size": "8MiB", "on_full": "stop_ack"})
        wait_for(lambda: gateway.is_up() and server.packets(Subscribe), 20, "the gateway subscribes")
        wait_for(lambda: cloud.events("connect"), 20, "the cloud sees a login")
        cloud.outage()
        n = mebibytes(40)

        def acks():
            return sum(1 for p in server.packets(Ack) if p.kind == 4)

        def send():
            for i in range(n):
                server.connections[-1].publish("sensors/pump/climate", json.dumps({"n": i, "ts": FIRST_TS + i,
                                                                                       "pad": PAD}))
        server.call(send)
        gateway.wait_log("acknowledging nothing until clouds have made room", 60)
        # Each acknowledged message is in the journal, and nothing else is acknowledged.
        before = acks()
        self.assertLess(before, mebibytes(32))
        self.assertGreaterEqual(gateway.journalled(), before)
        gateway.status()
        self.assertLessEqual(acks(), gateway.journalled())
        cloud.resume()
        wait_for(lambda: acks() == n, 90, "every acknowledgement")
        self.wait_delivered(cloud, [("pump", i) for i in range(n)])
        self.assertEqual((cloud.duplicates(), server.errors), (0, []))

    # ---- the cap of a link

    def test_a_dead_link_with_a_cap_does_not_stop_the_others(self):
        gateway = self.begin("stop_ack", ("tb", "dead"), dead={"max_backlog": "8MiB"})
        self.clouds["dead"].outage()
        n = mebibytes(64)
        self.fill(n)
        self.wait_delivered(self.clouds["tb"], self.source.sent)
        self.assertEqual(self.clouds["tb"].duplicates(), 0)
        self.assertEqual(self.losses(gateway), {})
        self.clouds["dead"].resume()
        self.wait_quiet(gateway, "dead")
        came = sorted(set(self.clouds["dead"].values("n")))
        self.assertEqual(came, list(range(came[0], n)))
        self.assertEqual(self.losses(gateway, "dead"), {"all": came[0], "own_limit": came[0]})

    def test_a_dead_link_pushes_out_nothing_that_another_still_needs(self):
        gateway = self.begin("drop_oldest", ("tb", "dead"), "96MiB", dead={"max_backlog": "8MiB"})
        for cloud in self.clouds.values():
            cloud.outage()
        n = mebibytes(64)
        self.fill(n)
        self.wait_appended(gateway, n)
        wait_for(lambda: self.losses(gateway, "dead"), 20, "the dead link is cut off")
        gateway.wait_log(r" warning link dead: lost \d+ records up to \d+: ")
        self.assertEqual(self.losses(gateway), {})
        self.clouds["tb"].resume()
        self.wait_delivered(self.clouds["tb"], self.source.sent, 90)
        self.assertEqual(self.clouds["tb"].duplicates(), 0)
        self.assertNotIn("link tb: lost", gateway.log())

    def test_a_dead_link_keeps_no_more_of_the_disk_than_its_cap(self):
        gateway = self.begin("drop_oldest", ("tb", "dead"), "96MiB", dead={"max_backlog": "8MiB"})
        self.clouds["dead"].outage()
        n = mebibytes(48)
        self.fill(n)
        self.wait_delivered(self.clouds["tb"], self.source.sent)
        # Its cap, the file that is being written, and the one before it.
        wait_for(lambda: self.status(gateway)["journal"]["bytes_on_disk"] <= 32 * MIB, 20, "room on the disk")

    @takes_long
    def test_a_dead_link_loses_what_is_too_old_for_it_alone(self):
        gateway = self.begin("drop_oldest", ("tb", "dead", "slow"), "96MiB", dead={"max_age": "1min"})
        self.clouds["dead"].outage()
        self.clouds["slow"].outage()
        self.fill(500)
        self.wait_delivered(self.clouds["tb"], self.source.sent)
        wait_for(lambda: self.losses(gateway, "dead"), 120, "the dead link gives up")
        self.assertEqual(self.losses(gateway, "dead"), {"all": 500, "age": 500})
        self.clouds["slow"].resume()
        self.wait_delivered(self.clouds["slow"], self.source.sent)
        self.clouds["dead"].resume()
        self.fill(50)
        self.wait_delivered(self.clouds["dead"], self.source.sent[-50:])
        self.assertEqual(sorted(self.clouds["dead"].values("n")), list(range(500, 550)))

    def test_a_link_that_was_taken_away_holds_nothing_back(self):
        gateway = self.begin("stop_ack", ("tb", "dead"))
        self.clouds["dead"].outage()
        self.fill(mebibytes(40))
        gateway.wait_log("acknowledging nothing until clouds have made room")
        self.assertEqual(gateway.term(), 0)
        gateway.config["clouds"] = gateway.config["clouds"][:1]
        gateway.start()
        self.wait_delivered(self.clouds["tb"], self.source.sent, 90)

    # ---- what is said

    def test_losses_are_told_at_once_then_at_growing_intervals(self):
        nobody = types.SimpleNamespace(port=free_port())
        self.broker = self.field()
        gateway = self.gateway(self.broker, mappings=[PADDED], clouds=[self.cloud_config(nobody)],
                               journal={"max_size": "32MiB", "segment_size": "8MiB", "on_full": "drop_newest"})
        self.broker.wait_subscribed(gateway.client_id())
        self.source = self.publisher(self.broker)
        self.fill(mebibytes(32))
        gateway.wait_log("limit of 32 MiB reached, dropping what comes$")
        first = time.monotonic()

        def lines():
            self.source.publish(pad=PAD)
            return re.findall("limit of 32 MiB reached, dropping what comes.*$", gateway.log(), re.M)
        wait_for(lambda: len(lines()) > 1, 30, "a second line")
        self.assertGreater(time.monotonic() - first, 9)
        self.assertRegex(lines()[1], r"\(\d+ times since the last such line\)$")
        # What was dropped is not said to be in the journal.
        gateway.stop()
        received, appended = map(int, re.search(r"received=(\d+) appended=(\d+)", gateway.log()).groups())
        refused = int(re.search(r" refused=(\d+)", gateway.log()).group(1))
        self.assertGreater(refused, 0)
        self.assertEqual(received, appended + refused)
