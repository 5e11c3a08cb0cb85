"""Credentials got from ThingsBoard: every kind, refused, answered twice, and cut at the worst moments."""
import os
import re
import signal
import time

from frame import Certificates, EndToEnd, wait_for

KEY, SECRET = "pk-17", "the-provision-secret"


class Provisioning(EndToEnd):
    def begin(self, cloud=None, start=True, **options):
        self.site = self.field()
        self.cloud = cloud or self.thingsboard(provisioning={KEY: SECRET})
        config = {"access_token": None, "provision_key": KEY, "provision_secret": SECRET,
                  "provision_device": "gw-9", "use_limits": False}
        self.gw = self.gateway(self.site, self.cloud, start=start,
                               clouds=[self.cloud_config(self.cloud, **dict(config, **options))])
        return self

    def flows(self, n=1):
        """Data arrives; and nothing secret stands in the log."""
        self.site.wait_subscribed(self.gw.client_id())
        publisher = self.publisher(self.site, client_id="publisher-%d" % n)
        for i in range(n):
            publisher.publish()
        self.wait_delivered(self.cloud, publisher.sent)
        login = self.cloud.login("gw-9")
        for secret in (SECRET, login.get("token"), login.get("basic", {}).get("password")):
            if secret:
                self.assertNotIn(secret, self.gw.log(whole=True))
        return login

    def stored(self):
        try:
            with open("%s/links/tb" % self.gw.state, "rb") as f:
                return f.read()
        except FileNotFoundError:
            return b""

    def requests(self):
        return [e["status"] for e in self.cloud.provisioned()]

    def test_a_token_made_up_here_is_provisioned(self):
        self.begin(provision_credentials="token")
        found = self.flows()
        self.assertGreaterEqual(len(found["token"]), 20)
        self.restarts_with_it()

    def test_a_token_of_the_servers_is_provisioned(self):
        self.begin(provision_credentials="server_token")
        found = self.flows()
        self.assertIn(found["token"].encode(), self.stored())
        self.restarts_with_it()

    def test_name_and_password_are_provisioned(self):
        self.begin(provision_credentials="basic")
        found = self.flows()
        self.assertGreaterEqual(len(found["basic"]["password"]), 20)
        self.restarts_with_it()

    def restarts_with_it(self):
        self.assertTrue(self.cloud.login("gw-9")["gateway"])
        self.gw.kill9()
        self.gw.start()
        self.flows(2)
        self.assertEqual(self.requests(), ["SUCCESS"], "it was asked for once, and remembered")
        self.assertEqual(os.stat("%s/links/tb" % self.gw.state).st_mode & 0o777, 0o600)

    def test_a_certificate_is_provisioned(self):
        world = Certificates(self.directory, "world")
        server, mine = world.issue("server"), world.issue("gw-9")
        cloud = self.thingsboard(tls=dict(server, require=True), provisioning={KEY: SECRET})
        self.begin(cloud, provision_credentials="certificate",
                   provision_certificate={"file": mine["certificate"]},
                   url="mqtts://localhost:%d" % cloud.port,
                   tls={"ca": world.ca, "certificate": mine["certificate"], "key": mine["key"]})
        found = self.flows()
        self.assertEqual(found["certificate_sha256"], world.sha256(mine["certificate"]))

    def test_a_device_is_provisioned_as_no_gateway(self):
        self.begin(mode="device")
        self.site.wait_subscribed(self.gw.client_id())
        publisher = self.publisher(self.site)
        publisher.publish()
        wait_for(lambda: self.cloud.values("n") == [0], 60)
        self.assertFalse(self.cloud.login("gw-9")["gateway"])

    def test_a_wrong_secret_is_an_alarm_and_no_loop(self):
        self.begin(provision_secret="wrong")
        self.gw.wait_log(r"NOT_FOUND|provision")
        wait_for(lambda: self.requests() == ["NOT_FOUND"], 20)
        begin = time.monotonic()
        wait_for(lambda: time.monotonic() - begin > 5 or len(self.requests()) > 1, 10)
        self.assertEqual(self.requests(), ["NOT_FOUND"])
        self.assertNotIn("wrong", re.sub(r"key or secret is wrong|wrong secret", "", self.gw.log()))

    def test_a_device_that_is_there_already_is_refused_for_good(self):
        cloud = self.thingsboard(devices=[{"name": "gw-9", "gateway": True, "token": "somebody-else"}],
                                 provisioning={KEY: SECRET})
        self.begin(cloud)
        wait_for(lambda: self.requests() == ["FAILURE"], 20)
        self.gw.wait_log("FAILURE|exists|provision")
        begin = time.monotonic()
        wait_for(lambda: time.monotonic() - begin > 5 or len(self.requests()) > 1, 10)
        self.assertEqual(self.requests(), ["FAILURE"])

    def test_an_answer_that_comes_twice_counts_once(self):
        cloud = self.thingsboard(provisioning={KEY: SECRET})
        cloud.allow_provisioning(KEY, SECRET, fault={"answer_twice": True})
        self.begin(cloud, provision_credentials="server_token")
        self.flows()
        self.assertEqual(self.requests(), ["SUCCESS"])

    def test_the_answer_is_lost_and_the_token_made_up_here_works_all_the_same(self):
        cloud = self.thingsboard(provisioning={KEY: SECRET})
        cloud.allow_provisioning(KEY, SECRET, fault={"cut_before": True})
        self.begin(cloud)
        self.flows()
        self.assertEqual(self.requests()[0], "SUCCESS")

    def test_the_answer_is_the_last_thing_that_comes(self):
        cloud = self.thingsboard(provisioning={KEY: SECRET})
        cloud.allow_provisioning(KEY, SECRET, fault={"cut_after": True})
        self.begin(cloud, provision_credentials="server_token")
        self.flows()
        self.assertEqual(self.requests(), ["SUCCESS"])

    def test_a_kill_at_any_moment_of_provisioning_costs_no_credential(self):
        """Wherever it is killed: what it asked for is on disk before it asks, so the device is never lost."""
        cloud = self.thingsboard(provisioning={KEY: SECRET})
        self.begin(cloud, start=False)
        for delay_ms in range(0, 60, 6):
            self.gw.start()
            begin = time.monotonic()
            wait_for(lambda: (time.monotonic() - begin) * 1000 >= delay_ms, 10, every_s=0.001)
            self.gw.process.send_signal(signal.SIGKILL)
            self.gw.process.wait()
        self.gw.start()
        self.flows()
        self.assertEqual([s for s in self.requests() if s == "SUCCESS"], ["SUCCESS"])

    def test_killed_between_the_answer_and_its_use_the_servers_token_is_on_disk(self):
        self.begin(provision_credentials="server_token", start=False)
        self.gw.start()
        wait_for(lambda: self.cloud.login("gw-9") and self.cloud.login("gw-9")["token"].encode() in self.stored(), 20,
                 "the token is on disk", every_s=0.001)
        self.gw.kill9()
        self.gw.start()
        self.flows()
        self.assertEqual(self.requests(), ["SUCCESS"])
