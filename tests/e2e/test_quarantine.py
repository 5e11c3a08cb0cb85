"""What nobody could take: looked at, sent again, dropped; and who may ask for that."""
import json
import os
import socket
import stat
import subprocess
import threading
import time

from frame import BUILD, EndToEnd, MAPPING, SteadyLoad, goes_first, wait_for
from test_faults import Cloud

CTL = os.path.join(BUILD, "src", "fieldgatectl")
TOO_FAR = 0x99  # a PUBACK with it refuses a payload for good


def ctl(*words, prefix=()):
    """(exit status, standard output, standard error)"""
    done = subprocess.run([*prefix, CTL, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=100)
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


class Quarantine(EndToEnd):
    def begin(self, bad=(7,), count=20, **how):
        """A cloud that refuses the values @bad; they are in quarantine when this returns."""
        self.bad = set(bad)

        def react(c, publish, values):
            if self.bad & set(values):
                c.puback(publish.id, TOO_FAR)
                return True
        self.script = Cloud(react)
        self.cloud = self.scripted(self.script)
        self.broker = self.field()
        self.subject = self.gateway(self.broker, clouds=[self.cloud_config(self.cloud, mqtt_version="5")], **how)
        self.broker.wait_subscribed(self.subject.client_id())
        self.device = self.publisher(self.broker)
        self.device.burst(count)
        wait_for(lambda: len(self.listed()) == len(self.bad), 60, "what is refused stands in quarantine")
        self.wait_taken(set(range(count)) - self.bad)
        return self.subject

    def wait_taken(self, expected):
        wait_for(lambda: self.subject.is_up() and set(self.script.taken) == set(expected), 60, "what the cloud takes")

    def listed(self):
        """[number] of what "quarantine list" lists."""
        status, out, errors = ctl("quarantine", "list", "--json", self.subject.state)
        self.assertEqual(status, 0, errors)
        return [json.loads(line)["number"] for line in out.splitlines()]

    def ask(self, command, *words):
        """(exit status, [object]) of "quarantine retry" or "quarantine drop"."""
        status, out, errors = ctl("quarantine", command, "--json", "--state", self.subject.state, *words)
        return status, [json.loads(line) for line in out.splitlines()] or errors

    # ---- retry and drop

    def test_what_a_cloud_refused_is_sent_again_once_and_leaves_the_quarantine(self):
        self.begin()
        status, out, _ = ctl("quarantine", "list", self.subject.state)
        self.assertRegex(out, r"^1 \d{4}-\d\d-\d\dT\S+Z tb pump-1 attempts=\d+ \d+ bytes: .+\n$")
        self.bad = set()
        status, out, errors = ctl("quarantine", "retry", "--state", self.subject.state, "1")
        self.assertEqual((status, out, errors), (0, "1 sent again\n1 sent again, 0 kept\n", ""))
        self.assertEqual(self.listed(), [])
        self.wait_taken(range(20))
        self.assertEqual(self.script.taken.count(7), 1)
        self.assertEqual(ctl("quarantine", "list", self.subject.state), (0, "", "The quarantine is empty.\n"))
        # Also after a restart.
        self.subject.kill9()
        self.subject.start()
        self.subject.wait_log("link tb: connected")
        self.device.burst(1)
        self.wait_taken(range(21))
        self.assertEqual(self.listed(), [])

    def test_what_is_refused_again_comes_back_under_a_new_number(self):
        self.begin()
        self.assertEqual(self.ask("retry", "1"), (0, [{"number": 1, "result": "sent again"}]))
        wait_for(lambda: self.listed() and self.listed()[0] > 1, 20, "a new number")
        self.assertEqual(len(self.listed()), 1)
        self.assertEqual(sorted(self.script.taken), sorted(set(range(20)) - {7}))

    def test_a_retry_while_the_link_is_down_goes_out_once_it_is_up(self):
        self.begin()
        self.bad = set()
        port = self.cloud.port
        self.cloud.stop()
        self.subject.wait_log("link tb: .*refused")
        self.assertEqual(self.ask("retry", "1")[0], 0)
        self.assertEqual(self.listed(), [])
        self.subject.kill9()  # it is on disk: nothing forgets it
        self.cloud = type(self.cloud)(self.script, port).start()
        self.addCleanup(self.cloud.stop)
        self.subject.start()
        self.wait_taken(range(20))
        # Twice when the kill came before it was on disk that the first one was done with.
        self.assertLessEqual(self.script.taken.count(7), 2)

    def test_a_message_goes_again_only_to_the_cloud_that_refused_it(self):
        second = self.thingsboard()
        self.begin(bad=())
        self.subject.stop()
        self.bad = {21}
        self.subject.config["clouds"].append(self.cloud_config(second, "second"))
        self.subject.start()
        wait_for(lambda: second.events("connect"), 20, "the second cloud sees a login")
        self.device.burst(5)
        wait_for(lambda: len(self.listed()) == 1, 60, "one message in quarantine")
        self.wait_delivered(second, self.device.sent[20:])
        self.bad = set()
        self.assertEqual(self.ask("retry", "--all", "--link", "second"), (0, ""))
        self.assertEqual(ctl("quarantine", "drop", "--all", "--link", "second", "--state", self.subject.state),
                         (0, "", "The quarantine has nothing of link second.\n"))
        self.assertEqual(len(self.listed()), 1)
        self.assertEqual(self.ask("retry", "--all", "--link", "tb")[0], 0)
        self.wait_taken(range(25))
        self.device.burst(1)
        self.wait_delivered(second, self.device.sent[-1:])
        self.assertEqual(second.duplicates(), 0)

    def test_a_message_for_a_cloud_that_is_no_more_is_kept(self):
        self.begin()
        self.subject.stop()
        self.subject.config["clouds"][0]["name"] = "other"
        self.subject.start()
        self.subject.wait_log("link other: connected")
        status, results = self.ask("retry", "1")
        self.assertEqual((status, results), (1, [
            {"number": 1, "result": "kept", "error": 'no cloud "tb" is configured any more'}]))
        self.assertEqual(self.listed(), [1])
        self.assertEqual(self.ask("drop", "1")[0], 0)
        self.assertEqual(self.listed(), [])

    def test_what_no_rule_took_goes_through_the_rules_of_today(self):
        strict = dict(MAPPING, telemetry={"n": "$.n"}, time="$.when")
        self.begin(bad=(), count=0, mappings=[strict])
        self.device.raw("sensors/pump-9/climate", '{"n": 1, "when": "yesterday"}')
        self.device.raw("sensors/pump-9/climate", "no JSON")
        wait_for(lambda: len(self.listed()) == 2, 20, "two messages in quarantine")
        status, results = self.ask("retry", "--all")
        self.assertEqual((status, [r["result"] for r in results]), (1, ["kept", "kept"]))
        self.subject.stop()
        self.subject.config["mappings"] = [dict(MAPPING, time=None)]
        del self.subject.config["mappings"][0]["time"]
        self.subject.start()
        self.subject.wait_log("link tb: connected")
        status, results = self.ask("retry", "1", "2")
        self.assertEqual((status, [r["result"] for r in results]), (1, ["sent again", "kept"]))
        self.wait_taken({1})
        self.assertEqual(self.listed(), [2])

    def test_what_was_asked_or_said_of_presence_long_ago_is_kept(self):
        strict = dict(MAPPING, topic="+/{device}/now", telemetry={"n": "$.n"})
        del strict["time"]
        self.begin(bad=(), count=0, mappings=[strict])
        self.device.raw("ask/pump-9/now", '{"shared": ["interval"]}')
        self.device.raw("status/pump-9/now", '{"is": "down"}')
        wait_for(lambda: len(self.listed()) == 2, 20, "two messages in quarantine")
        self.subject.stop()
        self.subject.config["mappings"] = [
            {"topic": "ask/{device}/now", "request": {"kind": "attributes", "response": "answer/{device}",
                                                      "timeout": "1s"}},
            {"topic": "status/{device}/now", "presence": {"from": "$.is", "down": ["down"]}}, MAPPING]
        self.subject.start()
        self.subject.wait_log("link tb: connected")
        why = "it is out of date: it asks for something, or says that a device came or went"
        self.assertEqual(self.ask("retry", "--all"), (1, [
            {"number": n, "result": "kept", "error": why} for n in (1, 2)]))
        self.device.burst(1)
        self.wait_taken({0})
        time.sleep(2)  # a question would be answered by now
        self.assertTrue(self.subject.is_up())
        status = ctl("status", "--state", self.subject.state)[1]
        self.assertRegex(status, r'^gateway \S+: version="[0-9.]+" uptime_s=\d+( without_clock)?\n')
        self.assertIn("devices: known=1 up=1 down=0", status)

    def test_what_is_dropped_is_gone_for_good(self):
        self.begin(bad=(3, 7, 11))
        self.subject.stop()  # its cursor is on disk: the kill repeats nothing
        self.subject.start()
        self.subject.wait_log("link tb: connected")
        self.assertEqual(self.ask("drop", "2"), (0, [{"number": 2, "result": "dropped"}]))
        self.assertEqual(self.listed(), [1, 3])
        self.subject.kill9()
        self.subject.start()
        self.subject.wait_log("link tb: connected")
        self.assertEqual(self.listed(), [1, 3])
        self.assertEqual(ctl("quarantine", "show", self.subject.state, "2")[0], 1)
        self.assertEqual(self.ask("drop", "--all")[0], 0)
        self.assertEqual(self.listed(), [])
        self.wait_taken(set(range(20)) - self.bad)

    def test_wrong_numbers_are_named_and_the_right_ones_are_done(self):
        self.begin(bad=(3, 7))
        status, results = self.ask("drop", "2", "99", "2")
        self.assertEqual((status, results), (1, [
            {"number": 2, "result": "dropped"},
            {"number": 99, "result": "kept", "error": "there is no such message"}]))
        for words in (["0"], ["-1"], ["x"], ["1", "2x"], ["99999999999999999999999"], [], ["1", "--all"],
                      ["1", "--link", "tb"]):
            status, errors = self.ask("drop", *words)
            self.assertEqual(status, 2, words)
            self.assertIn("fieldgatectl", errors)
        self.assertEqual(self.listed(), [1])

    def test_a_flood_stays_within_its_bound_and_can_be_dropped(self):
        self.begin(bad=(), count=0, journal={"max_quarantine_size": "16MiB", "segment_size": "8MiB"})
        n = 6000
        for i in range(n):
            self.device.raw("sensors/pump-1/climate", '{"n": "%d", no JSON %s' % (i, "x" * 4000))
        wait_for(lambda: self.subject.status()["broker field"]["quarantined"] == n, 60, "all of it refused")
        directory = os.path.join(self.subject.state, "journal", "quarantine")
        size = sum(os.stat(os.path.join(directory, name)).st_blocks * 512 for name in os.listdir(directory))
        self.assertLessEqual(size, 16 << 20)
        listed = self.listed()
        self.assertEqual(listed, list(range(listed[0], n + 1)), "the newest are kept")
        self.assertGreater(len(listed), 1500)
        # The flow goes on while thousands are worked through, more than one request takes.
        load = SteadyLoad(self.device, 200, ("pump-1",))
        status, results = self.ask("drop", *map(str, listed[:1500]))
        self.assertEqual((status, len(results)), (0, 1500))
        status, results = self.ask("drop", "--all")
        self.assertEqual((status, [r["number"] for r in results]), (0, listed[1500:]))
        load.stop()
        self.assertEqual(self.listed(), [])
        self.wait_taken(range(len(self.device.sent)))

    def test_a_journal_that_drops_what_comes_keeps_it_in_quarantine(self):
        padded = dict(MAPPING, telemetry={"n": "$.n", "pad": "$.pad"})
        self.begin(bad=(), count=0, mappings=[padded],
                   journal={"max_size": "32MiB", "segment_size": "8MiB", "on_full": "drop_newest"})
        self.bad = {0}
        self.device.publish(pad="x" * 50000)
        wait_for(lambda: self.listed() == [1], 60, "a large message in quarantine")
        port = self.cloud.port
        self.cloud.stop()
        for _ in range(5000):
            self.device.publish(pad="x" * 8000)
        self.subject.wait_log("journal: limit of 32 MiB reached, dropping what comes")
        for which in ("1", "--all"):
            self.assertEqual(self.ask("retry", which), (
                1, "fieldgatectl: the journal has no room now: try again later\n"))
        self.assertEqual(self.listed(), [1])
        self.bad = set()
        self.cloud = type(self.cloud)(self.script, port).start()
        self.addCleanup(self.cloud.stop)
        self.subject.wait_log("journal: there is room again", 60)
        self.assertEqual(self.ask("retry", "1")[0], 0)
        wait_for(lambda: 0 in self.script.taken, 60, "what was refused")

    def test_thousands_are_sent_again_each_once(self):
        n = 2500
        self.begin(bad=(), count=0, mappings=[dict(MAPPING, time="$.when")])
        for i in range(n):
            self.device.raw("sensors/pump-1/climate", '{"n": %d, "when": "yesterday"}' % i)
        wait_for(lambda: self.subject.status()["broker field"]["quarantined"] == n, 60, "all of it refused")
        self.subject.stop()
        self.subject.config["mappings"] = [{"topic": MAPPING["topic"], "telemetry": {"n": "$.n"}}]
        self.subject.start()
        self.subject.wait_log("link tb: connected")
        status, results = self.ask("retry", *map(str, range(1, 1501)))
        self.assertEqual((status, [r["number"] for r in results]), (0, list(range(1, 1501))))
        self.assertEqual(self.listed(), list(range(1501, n + 1)))
        status, results = self.ask("retry", "--all")
        self.assertEqual((status, len(results)), (0, n - 1500))
        self.assertEqual(self.listed(), [])
        self.wait_taken(range(n))
        self.assertEqual(len(self.script.taken), n)

    def test_more_than_is_read_at_a_time_is_sent_again_each_once(self):
        n = 40
        self.begin(bad=(), count=0, mappings=[dict(MAPPING, time="$.when")])
        for i in range(n):
            self.device.raw("sensors/pump-1/climate", '{"n": %d, "when": "yesterday", "pad": "%s"}' % (i, "x" * 60000))
        wait_for(lambda: self.subject.status()["broker field"]["quarantined"] == n, 60, "all of it refused")
        self.subject.stop()
        self.subject.config["mappings"] = [{"topic": MAPPING["topic"], "telemetry": {"n": "$.n"}}]
        self.subject.start()
        self.subject.wait_log("link tb: connected")
        some = range(2, n, 2)
        status, results = self.ask("retry", *map(str, some))
        self.assertEqual((status, [r["number"] for r in results]), (0, list(some)))
        status, results = self.ask("retry", "--all")
        self.assertEqual((status, [r["number"] for r in results]), (0, [*range(1, n, 2), n]))
        self.assertEqual(self.listed(), [])
        self.wait_taken(range(n))
        self.assertEqual(len(self.script.taken), n)

    # ---- the socket

    def test_without_a_daemon_one_can_look_and_is_told_what_to_do_for_the_rest(self):
        self.begin()
        self.subject.kill9()
        self.assertEqual(self.listed(), [1])
        self.assertIn('"n":7', ctl("quarantine", "show", self.subject.state, "1")[1])
        for command in ("retry", "drop"):
            status, _, errors = ctl("quarantine", command, "--state", self.subject.state, "1")
            self.assertEqual(status, 1)
            self.assertRegex(errors, r"^fieldgatectl: no fieldgate runs with the state directory \S+ \(.*\): start it, "
                                     r"or name another with --state\n$")
        self.assertEqual(ctl("status", "--state", self.subject.state)[0], 1)
        status, _, errors = ctl("--state", self.subject.state, "status")
        self.assertEqual(status, 2)
        self.assertIn("options stand behind the command", errors)
        self.assertEqual(self.listed(), [1])

    def test_two_who_ask_at_once_both_get_their_answer_and_each_message_goes_once(self):
        bad = set(range(0, 40, 2))
        self.begin(bad=bad, count=40)
        self.bad = set()
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(self.ask("retry", "--all"))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        done = [r["number"] for _, results in answers for r in results if r and r["result"] == "sent again"]
        self.wait_taken(range(40))
        self.assertEqual(sorted(done), list(range(1, 21)), "nobody sends again what another has")
        self.assertEqual(len(self.script.taken), 40)
        self.assertEqual(self.listed(), [])

    def connect(self):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(30)
        s.connect(os.path.join(self.subject.state, "control"))
        self.addCleanup(s.close)
        return s

    @goes_first
    def test_clients_that_send_rubbish_half_a_line_or_nothing_harm_nobody(self):
        self.begin()
        silent = [self.connect() for _ in range(3)]
        half = self.connect()
        half.sendall(b'{"command":"status"')
        for rubbish in (b"\n", b"\0\0\0\n", b"GET / HTTP/1.1\r\n\r\n", b'{"command":"status"}}\n',
                        b'{"command":"quarantine_drop","numbers":"1"}\n', b'{"command":"quarantine_drop","numbers":[]}\n',
                        b'{"command":"quarantine_drop","numbers":[1,-1]}\n', b'{"command":"quarantine_drop","from":"x"}\n',
                        b'{"command":"quarantine_drop","numbers":[%s]}\n' % b",".join([b"1"] * 1001),
                        b'{"command":"quarantine_drop","link":7}\n', b'{"command":"' + b"x" * 70000 + b'"}\n'):
            s = self.connect()
            try:
                s.sendall(rubbish)
                answer = s.makefile().read()
            except (BrokenPipeError, ConnectionResetError):
                answer = ""
            self.assertIn(answer.count("\n"), (0, 1))
            self.assertTrue("error" in answer or len(rubbish) > 65536, answer)
        self.assertEqual(self.listed(), [1])
        self.assertEqual(ctl("status", "--state", self.subject.state)[0], 0)
        for s in silent + [half]:
            self.assertEqual(s.recv(100), b"", "who says nothing is dropped")
        self.device.burst(5)
        self.wait_taken(set(range(25)) - self.bad)

    def test_only_root_and_the_daemons_user_may_ask(self):
        self.begin()
        path = os.path.join(self.subject.state, "control")
        mode = os.stat(path).st_mode
        self.assertTrue(stat.S_ISSOCK(mode))
        self.assertEqual(stat.S_IMODE(mode), 0o600)
        if os.geteuid() != 0:
            self.skipTest("needs root to be somebody else")
        as_nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        os.chmod(self.directory, 0o755)
        os.chmod(self.subject.state, 0o755)
        if subprocess.run(as_nobody + [CTL, "--version"], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode != 0:
            self.skipTest("others cannot reach the build directory")
        status, _, errors = ctl("status", "--state", self.subject.state, prefix=as_nobody)
        self.assertEqual(status, 1)
        self.assertIn("only root and the user fieldgate runs as may", errors)
        # Whoever gets hold of the socket though its mode is wrong is turned away all the same.
        os.chmod(path, 0o666)
        status, _, errors = ctl("quarantine", "drop", "--state", self.subject.state, "1", prefix=as_nobody)
        self.assertEqual(status, 1)
        self.assertIn("only root and the user fieldgate runs as may", errors)
        self.assertEqual(self.listed(), [1])
