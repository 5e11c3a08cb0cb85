"""Configurations that are wrong, and places that are not what they should be."""
import os
import re
import shutil
import signal
import subprocess

from frame import BUILD, DAEMON, Certificates, EndToEnd, check, needs_root

GOOD = """\
gateway: {name: plant7, state_directory: /tmp}
local:
  brokers:
    - {name: hall2, url: "mqtt://10.0.0.5:1883", share: fieldgate}
mappings:
  - topic: sensors/{device}/climate
    payload: json
    telemetry: {temperature: $.t, humidity: $.h}
clouds:
  - name: customer-tb
    plugin: thingsboard
    url: mqtts://tb.example.com
    access_token: TOKEN
    devices: {include: [pump-*], rename: {pump-01: "Pump 1"}}
journal: {max_size: 2GiB, on_full: drop_oldest}
"""

# What is replaced in GOOD, by what, then where the report must point and what it must say.
MISTAKES = [
    ("payload: json", "payload: jsonn", 7, 14, "jsonn"),
    ("    payload: json", "    paylaod: json", 7, 5, "payload"),
    ("name: customer-tb", "name: customer tb", 10, 11, "name"),
    ("plugin: thingsboard", "plugin: thingsbord", 11, 13, "thingsbord"),
    ("mqtts://tb.example.com", "https://tb.example.com", 12, 10, "url"),
    ("mqtts://tb.example.com", "mqtts://tb.example.com:99999", 12, 10, "url"),
    ("    access_token: TOKEN", "    acces_token: TOKEN", 13, 5, "access_token"),
    ("access_token: TOKEN", "access_token: {file: /nonexistent/token}", 13, None, "/nonexistent/token"),
    ("access_token: TOKEN", "access_token: {env: FIELDGATE_NO_SUCH}", 13, None, "FIELDGATE_NO_SUCH"),
    ("2GiB", "2 lots", 15, 21, "max_size"),
    ("2GiB", "1KiB", 15, 21, "max_size"),
    ("journal:", "jurnal:", 15, 1, "journal"),
    ("drop_oldest", "drop_it", 15, 36, "drop_it"),
    ("topic: sensors/{device}/climate", "topic: sensors/{device/climate", 6, None, "topic"),
    ("topic: sensors/{device}/climate", "topic: sensors/#/climate", 6, None, "topic"),
    ("topic: sensors/{device}/climate", "topic: sensors/+/climate", 6, None, "device"),
    ("humidity: $.h", 'humidity: "$.["', 8, None, "humidity"),
    ("{name: hall2,", "{name: hall2, qos: 2,", 4, None, "qos"),
    ("{name: hall2,", "{name: hall2, name: hall3,", 4, None, "already"),
    ("gateway: {", "gateway: {nam: x, ", 1, 11, "name"),
    ("    url: mqtts://tb.example.com\n", "", 10, None, "url"),
    ("local:\n", "local: [\n", None, None, ""),
    ("\n    payload", "\n\tpayload", 7, None, ""),
]


class Check(EndToEnd):
    def write(self, text, name="gateway.yaml"):
        with open(self.path(name), "wb" if isinstance(text, bytes) else "w") as f:
            f.write(text)
        return self.path(name)

    def test_a_good_configuration_passes(self):
        status, text = check(self.write(GOOD))
        self.assertEqual(status, 0, text)

    def test_the_examples_of_the_plugins_pages_pass(self):
        certificates = Certificates(self.directory)
        for page in ("thingsboard", "huawei"):
            with open(os.path.join(os.path.dirname(__file__), "..", "..", "docs", page + ".md"), encoding="utf-8") as f:
                examples = [block for block in re.findall(r"```yaml\n(.*?)```", f.read(), re.S)
                            if block.startswith("clouds:") and "schema:" not in block]
            self.assertTrue(examples, page)
            for example in examples:
                for name in re.findall(r"certificate: (\S+)\.pem", example):
                    certificates.issue(name)
                example = re.sub(r"ca: [^\s}]+\.pem", "ca: " + certificates.ca, example)
                example = re.sub(r"\{(file|credential): [^}]*\}", "c2VjcmV0", example)
                with self.subTest(page=page, example=example):
                    status, text = check(self.write(GOOD[:GOOD.index("clouds:")] + example))
                    self.assertEqual(status, 0, text)

    def test_every_mistake_is_reported_with_its_place(self):
        for find, put, line, column, words in MISTAKES:
            with self.subTest(put=put):
                self.assertIn(find, GOOD)
                status, text = check(self.write(GOOD.replace(find, put, 1)))
                self.assertEqual(status, 1, text)
                places = re.findall(r"^%s:(\d+):(\d+): (.*)$" % re.escape(self.path("gateway.yaml")), text, re.M)
                self.assertTrue(places, text)
                hits = [1 for l, c, what in places if (line is None or int(l) == line) and
                        (column is None or int(c) == column) and words in what]
                self.assertTrue(hits, "expected %s:%s … %s, got:\n%s" % (line, column, words, text))

    def test_all_mistakes_are_reported_in_one_run(self):
        text = GOOD.replace("payload: json", "payload: xml").replace("2GiB", "much").replace("access_token", "token")
        status, text = check(self.write(text))
        self.assertEqual(status, 1)
        lines = [int(n) for n in re.findall(r"gateway\.yaml:(\d+):", text)]
        self.assertTrue({7, 15} <= set(lines) and (13 in lines or 10 in lines), text)
        self.assertEqual(lines, sorted(lines))

    def test_files_that_are_no_configuration_are_refused(self):
        for content in (b"", b"\xff\xfe\x00", b"just text\n", b"[1, 2]\n", b"a: &x [*x]\n", b"{" * 1000,
                        b"a: !!python/object:x {}\n", b"\0" * 100, os.urandom(2000)):
            with self.subTest(content=content[:20]):
                status, text = check(self.write(content))
                self.assertEqual(status, 1, text)
                self.assertTrue(text.strip())
        status, text = check(self.path("absent.yaml"))
        self.assertEqual(status, 1)
        self.assertIn("absent.yaml", text)
        status, text = check(self.directory)
        self.assertEqual(status, 1)

    def test_conf_d_is_read_too(self):
        os.mkdir(self.path("conf.d"))
        first, clouds = GOOD.split("clouds:\n")
        cloud, journal = clouds.split("journal:")
        path = self.write(first + "journal:" + journal)
        self.write("clouds:\n" + cloud, "conf.d/10-cloud.yaml")
        status, text = check(path)
        self.assertEqual(status, 0, text)
        self.write("clouds:\n" + cloud.replace("access_token", "acces_token").replace("customer-tb", "b"),
                   "conf.d/20-cloud.yaml")
        status, text = check(path)
        self.assertEqual(status, 1)
        self.assertIn("conf.d/20-cloud.yaml:5:5:", text)

    def test_a_plugin_of_another_abi_is_refused(self):
        plugins = self.path("plugins")
        os.mkdir(plugins)
        for name, words in (("other_abi", "abi"), ("no_plugin", "plugin")):
            shutil.copy(os.path.join(BUILD, "tests/e2e", name + ".so"), plugins)
            status, text = check(self.write(GOOD.replace("thingsboard", name)), "--plugin-dir", plugins)
            self.assertEqual(status, 1, text)
            self.assertRegex(text.lower(), words)
            self.assertIn("gateway.yaml:11:13:", text)
        self.write("no library at all", "plugins/thingsboard.so")
        status, text = check(self.write(GOOD), "--plugin-dir", plugins)
        self.assertEqual(status, 1, text)

    def test_a_plugin_cannot_be_fetched_from_elsewhere(self):
        status, text = check(self.write(GOOD.replace("plugin: thingsboard", 'plugin: "../thingsboard"')))
        self.assertEqual(status, 1, text)

    def test_secrets_do_not_appear_in_reports(self):
        text = GOOD.replace("access_token: TOKEN", "access_token: s3cr3t\n    password: [s3cr3t]")
        status, text = check(self.write(text))
        self.assertEqual(status, 1)
        self.assertNotIn("s3cr3t", text)


class Start(EndToEnd):
    def begin(self, **how):
        return self.gateway(brokers=[{"name": "field", "url": "mqtt://127.0.0.1:1"}], clouds=[
            {"name": "tb", "plugin": "thingsboard", "url": "mqtt://127.0.0.1:1", "access_token": "T"}],
            start=False, **how)

    def ends(self, gateway, words, **how):
        gateway.start(**how)
        self.assertEqual(gateway.wait_end(), 1, gateway.log())
        self.assertRegex(gateway.log().lower(), words)

    def test_a_wrong_configuration_does_not_start(self):
        gateway = self.begin()
        gateway.config["clouds"][0]["plugin"] = "absent"
        self.ends(gateway, "absent")

    def test_a_state_directory_that_is_missing_is_named(self):
        gateway = self.begin()
        gateway.config["gateway"]["state_directory"] = self.path("absent")
        self.ends(gateway, re.escape(self.path("absent")).lower())

    def test_a_state_directory_that_is_a_file_is_named(self):
        gateway = self.begin()
        shutil.rmtree(gateway.state)
        open(gateway.state, "w").close()
        self.ends(gateway, "not a directory")

    @needs_root
    def test_a_state_directory_that_is_read_only_is_named(self):
        gateway = self.begin()
        self.ends(gateway, "read-only", prefix=[
            "unshare", "-m", "sh", "-c", 'mount -t tmpfs -o ro none "$0" && exec "$@"', gateway.state])

    @needs_root
    def test_a_state_directory_without_room_is_named(self):
        broker = self.field()
        gateway = self.gateway(broker, start=False, clouds=[
            {"name": "tb", "plugin": "thingsboard", "url": "mqtt://127.0.0.1:1", "access_token": "T"}])
        gateway.start(prefix=["unshare", "-m", "sh", "-c",
                              'mount -t tmpfs -o size=64k none "$0" && exec "$@"', gateway.state])
        broker.wait_subscribed(gateway.client_id())
        publisher = self.publisher(broker)
        publisher.burst(5000)
        gateway.wait_log("no space left")
        self.assertEqual(gateway.term(), 0)

    def test_two_daemons_do_not_share_a_state_directory(self):
        first = self.begin().start()
        first.wait_log("journal: open")
        second = self.begin(name="second")
        second.config["gateway"]["state_directory"] = first.state
        self.ends(second, "another|in use|lock")
        first.is_up()

    def test_sigterm_and_sigint_end_it_with_0(self):
        for how in (signal.SIGTERM, signal.SIGINT):
            gateway = self.begin().start()
            gateway.wait_log("journal: open")
            gateway.process.send_signal(how)
            self.assertEqual(gateway.wait_end(), 0)

    def test_it_has_a_help_and_a_version(self):
        for words, status, text in ((["--help"], 0, "--check"), (["--version"], 0, "fieldgate"),
                                    (["--nonsense"], 2, "--help"), (["surplus"], 2, "surplus")):
            done = subprocess.run([DAEMON] + words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20)
            self.assertEqual(done.returncode, status)
            self.assertIn(text, done.stdout.decode())
