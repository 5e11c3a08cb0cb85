"""fieldgatectl beside the running daemon, after it was killed, and on what it has put into quarantine."""
import json
import os
import subprocess
import types

from frame import BUILD, TOPIC, EndToEnd, free_port, wait_for

CTL = os.path.join(BUILD, "src", "fieldgatectl")


def ctl(*words):
    """(exit status, standard output and error)"""
    done = subprocess.run([CTL, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=60)
    return done.returncode, done.stdout.decode(errors="replace")


def objects(*words):
    status, out = ctl(*words, "--json")
    assert status == 0, out
    return [json.loads(line) for line in out.splitlines()]


class Control(EndToEnd):
    def no_cloud(self):
        """A cloud that is away, so that all stays in the journal."""
        return self.cloud_config(types.SimpleNamespace(port=free_port()))

    def test_verify_finds_nothing_wrong_while_the_daemon_writes(self):
        field = self.field()
        gateway = self.gateway(field, clouds=[self.no_cloud()], mappings=[{"topic": TOPIC, "payload": "json"}],
                               journal={"max_size": "32MiB", "segment_size": "8MiB"})
        field.wait_subscribed(gateway.client_id())
        publisher = self.publisher(field)
        last, n_files = [], set()
        for _ in range(40):
            for _ in range(150):
                publisher.publish(pad="x" * 4000)
            status, out = ctl("journal", "verify", "-v", gateway.state)
            self.assertEqual(status, 0, out)
            lane = [o for o in objects("journal", "verify", gateway.state) if o.get("newest")]
            last += [o["last_seq"] for o in lane if "last_seq" in o]
            n_files.update(o["newest"] for o in lane)
        self.assertEqual(last, sorted(last))
        self.assertGreater(last[-1], last[0])
        self.assertGreater(len(n_files), 1)

    def test_after_a_kill_the_journal_is_in_order_and_holds_what_was_acknowledged(self):
        field = self.field()
        gateway = self.gateway(field, clouds=[self.no_cloud()])
        field.wait_subscribed(gateway.client_id())
        publisher = self.publisher(field)
        publisher.burst(500, ("pump-1", "pump-2"))
        wait_for(lambda: gateway.journalled() == 500, 20, "500 messages in the journal")
        gateway.kill9()
        status, out = ctl("journal", "verify", gateway.state)
        self.assertEqual(status, 0, out)
        dumped = [(o["device"], o["body"]["n"]) for o in objects("journal", "dump", gateway.state)
                  if o["kind"] == "telemetry"]
        self.assertEqual(sorted(dumped), sorted(publisher.sent))
        cursors = [o for o in objects("journal", "verify", gateway.state) if o["type"] == "cursor"]
        self.assertEqual([(o["link"], o["backlog"]) for o in cursors], [("tb", 500)])
        self.assertEqual(len(objects("journal", "dump", "--device", "pump-2", gateway.state)), 250)

    def test_a_quarantined_message_can_be_looked_at(self):
        field, cloud = self.field(), self.thingsboard()
        gateway = self.running(field, cloud)
        publisher = self.publisher(field)
        publisher.raw("sensors/pump-1/climate", b"no \x1b[31mJSON\xff")
        wait_for(lambda: gateway.quarantine(), 20, "a message in quarantine")
        status, out = ctl("quarantine", "list", "--state", gateway.state)
        self.assertEqual(status, 0, out)
        self.assertRegex(out, r"^1 \d{4}-\d\d-\d\dT\S+Z gateway sensors/pump-1/climate attempts=0 13 bytes: .+\n$")
        raw = subprocess.run([CTL, "quarantine", "show", "--raw", gateway.state, "1"], stdout=subprocess.PIPE,
                             check=True, timeout=60).stdout
        self.assertEqual(raw, b"no \x1b[31mJSON\xff")
        self.assertIn("no \\x1b[31mJSON\\xff\n", ctl("quarantine", "show", gateway.state, "1")[1])
