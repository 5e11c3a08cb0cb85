"""Huawei Cloud IoTDA: where the platform is says its provisioning service, which the stand-in plays, too."""
import json
import os
import subprocess
import time

from cloudsim import Bootstrap, Huawei
from frame import BUILD, Certificates, EndToEnd, wait_for
from huawei import login
from huawei.bootstrap import derived

DEVICE, SCOPE, GROUP_SECRET = "edge-gw-0042", "9c41d07be2aa", "Z3JvdXAtc2VjcmV0LWRlbW8tMDE="
DERIVED = derived(DEVICE, GROUP_SECRET)
CTL = os.path.join(BUILD, "src", "fieldgatectl")


class BootstrapTest(EndToEnd):
    def iotda(self, device=None, **how):
        """An IoTDA that knows nobody yet, but for @device."""
        cloud = Huawei(devices=[device or {"device_id": "somebody-else", "secret": "x"}], **how)
        self.addCleanup(cloud.stop)
        return cloud.start()

    def service_for(self, **how):
        service = Bootstrap(**how)
        self.addCleanup(service.stop)
        return service.start()

    def of_group(self, cloud, **more):
        """A service that sends the devices of a group to @cloud."""
        return self.service_for(groups={SCOPE: self.home(cloud, secret=GROUP_SECRET, **more)})

    @staticmethod
    def home(cloud, host="127.0.0.1", **more):
        return dict({"address": "%s:%d" % (host, cloud.port), "register": cloud.register}, **more)

    def begin(self, cloud=None, service=None, start=True, **options):
        self.cloud = cloud or self.iotda()
        self.service = service or self.of_group(self.cloud)
        self.site = self.field()
        config = dict({"name": "hw", "plugin": "huawei", "url": "mqtt://127.0.0.1:%d" % self.service.port,
                       "device_id": DEVICE, "mode": "device", "bootstrap": True, "scope_id": SCOPE,
                       "group_secret": GROUP_SECRET}, **options)
        self.gw = self.gateway(self.site, start=False,
                               clouds=[{k: v for k, v in config.items() if v is not None}])
        self.store = os.path.join(self.gw.state, "links", "hw")
        self.n = 0
        return self.started() if start else self

    def started(self):
        self.gw.start()
        self.site.wait_subscribed(self.gw.client_id())
        return self

    def flows(self, cloud=None, secrets=(GROUP_SECRET, DERIVED)):
        """What a device says arrives at IoTDA, and no secret stands in the log."""
        self.n += 1
        publisher = self.publisher(self.site, client_id="publisher-%d" % self.n)
        publisher.publish()
        publisher.wait_acked()
        cloud = cloud or self.cloud
        wait_for(lambda: self.gw.is_up() and len(cloud.values("n")) >= self.n, 20, "%d values" % self.n)
        for secret in secrets:
            self.assertNotIn(secret, self.gw.log(whole=True))
        self.assertEqual(self.service.complaints(), [])

    def stored(self):
        try:
            with open(self.store, "rb") as f:
                return f.read()
        except FileNotFoundError:
            return b""

    def logins(self, cloud=None):
        """(client id) of all who came to IoTDA, but for the question whether it speaks MQTT 5."""
        return [e["client"] for e in (cloud or self.cloud).events() if e["event"] in ("connect", "refused")
                and e.get("why") != "protocol version 5"]

    @staticmethod
    def readable(pipe):
        try:
            return os.read(pipe, 4096)
        except BlockingIOError:
            return b""

    def wait_login_fails(self):
        wait_for(lambda: self.gw.is_up() and self.stored(), 20, "an answer on disk")
        self.gw.wait_log("Connection refused|reset by peer")


class Kinds(BootstrapTest):
    def test_a_device_of_a_group_goes_on_with_the_derived_secret_and_remembers_where(self):
        self.begin()
        self.flows()
        [asked] = self.service.events("connect")
        self.assertRegex(asked["client"], "^%s_0_%s_0_[0-9]{10}$" % (DEVICE, SCOPE))
        [client] = self.logins()
        self.assertRegex(client, "^%s_0_0_[0-9]{10}$" % DEVICE)
        self.assertEqual(os.stat(self.store).st_mode & 0o777, 0o600)
        address = "127.0.0.1:%d" % self.cloud.port
        self.gw.wait_log("connected to 127.0.0.1:%d, .*, to set itself up" % self.service.port)
        self.gw.wait_log("connected to " + address)
        status = subprocess.run([CTL, "status", "--state", self.gw.state, "--json"], stdout=subprocess.PIPE, timeout=20)
        links = [line for line in map(json.loads, status.stdout.decode().splitlines()) if line.get("what") == "link"]
        self.assertEqual([link["address"] for link in links], [address])
        self.gw.kill9()
        self.started()
        self.flows()
        self.assertEqual(self.service.requests(), [DEVICE], "asked once, and remembered")

    def test_a_secret_that_is_given_is_used_and_kept_from_the_log(self):
        cloud = self.iotda()
        self.begin(cloud, self.of_group(cloud, gives="given-s3cr3t-01"), sign_type=2)
        self.flows(secrets=("given-s3cr3t-01", GROUP_SECRET, DERIVED))
        self.assertIn(b"given-s3cr3t-01", self.stored())
        self.gw.kill9()
        self.started()
        self.flows(secrets=("given-s3cr3t-01", GROUP_SECRET, DERIVED))
        self.assertEqual(self.service.requests(), [DEVICE])

    def test_a_registered_device_keeps_its_own_secret(self):
        cloud = self.iotda({"device_id": DEVICE, "secret": "own-s3cr3t-01"})
        service = self.service_for(devices={DEVICE: {"secret": "own-s3cr3t-01", "address": "127.0.0.1:1", "keywords": {
            "plant 7": "127.0.0.1:%d" % cloud.port}}})
        self.begin(cloud, service, scope_id=None, group_secret=None, secret="own-s3cr3t-01",
                   strategy_keyword="plant 7")
        self.flows(secrets=["own-s3cr3t-01"])
        self.assertNotIn(b"own-s3cr3t-01", self.stored())
        self.assertEqual([e["keyword"] for e in service.events("request")], ["plant 7"])

    def test_a_certificate_of_a_group_opens_both_and_each_may_have_a_ca_of_its_own(self):
        provisioning, platform = Certificates(self.directory, "provisioning"), Certificates(self.directory, "platform")
        mine = platform.issue(DEVICE)
        both = self.path("both.pem")
        with open(both, "w") as f:
            f.write(open(provisioning.ca).read() + open(platform.ca).read())
        cloud = self.iotda({"device_id": DEVICE, "fingerprint": platform.sha256(mine["certificate"])},
                           tls=dict(platform.issue("iotda", "DNS:localhost"), device_ca=platform.ca))
        service = self.service_for(groups={SCOPE: {"address": "localhost:%d" % cloud.port}},
                                   tls=dict(provisioning.issue("service"), device_ca=platform.ca))
        self.begin(cloud, service, group_secret=None, url="mqtts://127.0.0.1:%d" % service.port,
                   tls={"ca": both, "certificate": mine["certificate"], "key": mine["key"]})
        self.flows()
        self.assertEqual([e["client"] for e in service.events("connect")], ["%s_0_%s" % (DEVICE, SCOPE)])

    def test_what_devices_say_before_waits_for_iotda(self):
        self.begin(start=False)
        self.service.outage()
        self.started()
        publisher = self.publisher(self.site)
        publisher.burst(200)
        publisher.wait_acked()
        self.service.resume()
        wait_for(lambda: self.gw.is_up() and set(self.cloud.values("n")) == set(range(200)), 20, "all of it")
        self.assertEqual((self.service.complaints(), self.service.requests()), ([], [DEVICE]))


class Trouble(BootstrapTest):
    def test_a_certificate_for_another_name_than_that_which_was_given_is_refused(self):
        world = Certificates(self.directory, "world")
        cloud = self.iotda(tls=world.issue("iotda", "DNS:localhost"))
        service = self.service_for(groups={SCOPE: self.home(cloud, secret=GROUP_SECRET)}, tls=world.issue("service"))
        self.begin(cloud, service, url="mqtts://localhost:%d" % service.port, tls={"ca": world.ca})
        self.gw.wait_log("certificate of 127.0.0.1: IP address mismatch")
        self.assertEqual(cloud.events("connect"), [])
        service.change(SCOPE, address="localhost:%d" % cloud.port)
        os.remove(self.store)
        self.gw.kill9()
        self.started()
        self.flows()

    def test_who_is_not_let_in_is_told_so_and_there_is_no_loop(self):
        self.begin(group_secret="YW5vdGhlciBzZWNyZXQ=")
        self.gw.wait_log("bad user name or password, setting itself up; check its credentials")
        refused = [e["why"] for e in self.service.complaints()]
        self.assertEqual(refused, ["password or certificate"] * 2, "at once a second time, in case the clock was wrong")
        self.assertEqual(self.service.requests(), [])

    def test_an_address_that_comes_twice_counts_once(self):
        self.begin(start=False)
        self.service.fault({"times": 2})
        self.started()
        self.flows()
        self.assertEqual((self.service.requests(), len(self.logins())), ([DEVICE], 1))

    def test_an_answer_that_makes_no_sense_is_told_and_not_used(self):
        self.begin(start=False)
        address = "127.0.0.1:%d" % self.cloud.port
        self.cloud.register(DEVICE, DERIVED)
        self.service.fault({"answers": [
            b"", b"{", b"\xff\xfe", b"[]", b'{"address":"127.0.0.1"}', b'{"address":"127.0.0.1:99999"}',
            b'{"address":"mqtt://%s"}' % address.encode(), b'{"address":"%s","deviceSecret":[]}' % address.encode(),
            b'{"address":"%s"}' % address.encode()]})
        self.started()
        self.flows()
        self.gw.wait_log("names no address of the form HOST:PORT")
        self.gw.wait_log("sys/bootstrap/down\" that this plugin does not understand")

    def test_a_session_that_is_cut_before_the_answer_asks_again(self):
        self.begin(start=False)
        self.service.fault({"cut_before": True}, {"cut_before": True})
        self.started()
        self.flows()
        self.assertEqual(self.service.requests(), [DEVICE] * 3)

    def test_a_session_that_is_cut_behind_the_answer_was_good(self):
        self.begin(start=False)
        self.service.fault({"cut_after": True})
        self.started()
        self.flows()
        self.assertEqual(self.service.requests(), [DEVICE])

    def test_killed_between_the_answer_and_the_disk_it_asks_again_and_has_used_nothing(self):
        self.begin(start=False)
        os.makedirs(os.path.dirname(self.store))
        os.mkfifo(self.store + ".tmp")  # who writes to it waits for a reader
        self.started()
        wait_for(lambda: self.service.events("answer"), 20, "the answer")
        pipe = os.open(self.store + ".tmp", os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, pipe)
        wait_for(lambda: self.gw.is_up() and self.readable(pipe), 20, "it is being written")
        self.gw.kill9()
        self.assertEqual((self.logins(), self.stored()), ([], b""))
        os.remove(self.store + ".tmp")
        self.started()
        self.flows()
        self.assertEqual(self.service.requests(), [DEVICE] * 2)

    def test_killed_between_the_disk_and_the_use_it_goes_there_at_once(self):
        self.begin(start=False)
        self.cloud.outage()
        self.started()
        self.wait_login_fails()
        self.gw.kill9()
        self.service.outage()
        self.cloud.resume()
        self.started()
        self.flows()
        self.assertEqual(self.service.requests(), [DEVICE])

    def test_killed_at_any_moment_it_finds_its_way(self):
        self.begin(start=False)
        for delay_ms in range(0, 60, 6):
            self.gw.start()
            begin = time.monotonic()
            wait_for(lambda: (time.monotonic() - begin) * 1000 >= delay_ms, 10, every_s=0.001)
            self.gw.kill9()
        self.started()
        self.flows()
        self.assertEqual(set(self.service.requests()), {DEVICE})

    def test_with_no_room_on_the_disk_nothing_is_used(self):
        self.begin(start=False)
        os.makedirs(self.store + ".tmp")  # what shall be a file cannot be made
        self.started()
        self.gw.wait_log("what it must remember cannot be written: Is a directory")
        self.assertEqual((self.logins(), self.stored()), ([], b""))
        self.gw.kill9()
        os.rmdir(self.store + ".tmp")
        self.started()
        self.flows()

    def test_another_secret_in_the_configuration_is_another_bootstrap(self):
        self.begin()
        self.flows()
        second = self.iotda()
        self.service.change(SCOPE, **self.home(second, secret="YW5vdGhlciBzZWNyZXQ="))
        self.gw.config["clouds"][0]["group_secret"] = "YW5vdGhlciBzZWNyZXQ="
        self.gw.term()
        self.started()
        self.n = 0
        self.flows(second)
        self.assertEqual(self.service.requests(), [DEVICE] * 2)


class Again(BootstrapTest):
    def test_iotda_may_send_the_device_elsewhere(self):
        self.begin()
        self.flows()
        second = self.iotda()
        self.service.change(SCOPE, **self.home(second))
        self.gw.kill9()  # within a minute after a bootstrap it would be an old wish
        self.started()
        self.flows()
        self.cloud.message(DEVICE, "BootstrapRequestTrigger")
        wait_for(lambda: self.gw.is_up() and self.logins(second), 20, "a login at the second IoTDA")
        self.n = 0
        self.flows(second)
        self.assertEqual((self.service.requests(), len(self.logins(second))), ([DEVICE] * 2, 1))

    def test_without_a_bootstrap_configured_the_wish_for_one_is_told(self):
        cloud = self.iotda({"device_id": DEVICE, "secret": "own-s3cr3t-01"})
        self.begin(cloud, url="mqtt://127.0.0.1:%d" % cloud.port, bootstrap=None, scope_id=None, group_secret=None,
                   secret="own-s3cr3t-01")
        self.flows(secrets=["own-s3cr3t-01"])
        cloud.message(DEVICE, "BootstrapRequestTrigger")
        self.gw.wait_log("wants the gateway to bootstrap, which is not configured")
        self.flows(secrets=["own-s3cr3t-01"])
