"""Firmware and software that IoTDA orders, on the whole way to the device that reports, and back."""
import os

from certificates import Certificates
from cloudsim import GATEWAY, Huawei
from frame import MAPPING, needs_root, wait_for
from test_huawei_gateway import PUMPS, HuaweiTest
from test_images import MIB, Pump, some_bytes, synced

ABOUT = {"topic": "about/{device}", "attributes": "all"}
FILES = {"deliver": "file", "topic": "fw/{device}", "status": {"topic": "fw/{device}/state"}}
CHUNKS = dict(FILES, deliver="chunks", chunk_topic="fw/{device}/chunk/{index}")
PUMP_1, PUMP_2 = "p1_pump-1", "p1_pump-2"
UPDATED = b"\x02\x00\x04"  # as src/local/images_entry.c has it: version, firmware, state


class Ota(HuaweiTest):
    def huawei(self):
        self.world = Certificates(self.directory)
        certificate = self.world.issue("iotda")
        cloud = Huawei(sub_devices=["p1_" + pump for pump in PUMPS], tls=certificate, files_tls=certificate)
        self.addCleanup(cloud.stop)
        return cloud.start()

    def begin(self, rule=FILES, name="pump-1", prefix=(), **options):
        self.site, self.cloud = self.field(), self.huawei()
        config = dict(self.huawei_config(self.cloud, url="mqtts://localhost:%d" % self.cloud.port,
                                         tls={"ca": self.world.ca}), **options)
        self.gw = self.gateway(self.site, clouds=[{k: v for k, v in config.items() if v is not None}],
                               mappings=[ABOUT, MAPPING], start=False)
        self.gw.config["images"] = [rule]
        self.pump = Pump(self.site.port, name)
        self.addCleanup(self.pump.close)
        self.start(prefix=list(prefix))

    def start(self, **how):
        before = len(self.cloud.events("connect"))
        self.gw.start(**how)
        self.site.wait_subscribed(self.gw.client_id())
        wait_for(lambda: len(self.cloud.events("connect")) > before, 20, "IoTDA sees a login")

    def runs(self, device_id, about, **versions):
        """The device tells @about of itself; until IoTDA hears @versions when it asks."""
        self.pump.publish("about/" + self.pump.name, about)

        def is_told():
            self.cloud.ask_versions(device_id)
            return self.cloud.versions(device_id) == versions
        wait_for(is_told, 20, "%s of %s, not %s" % (versions, device_id, self.cloud.versions(device_id)))

    def wait_over(self, upgrade, state, why=None):
        wait_for(lambda: upgrade.is_over, 60, "the end of the upgrade, not %s" % upgrade.reports)
        self.assertEqual((upgrade.state, upgrade.why), (state, why), upgrade.reports)

    def install(self, upgrade, data):
        """The device takes the file it is told of, and says that it runs it."""
        with open(self.pump.announcement(upgrade.version)["file"], "rb") as f:
            self.assertEqual(f.read(), data)
        self.pump.report("UPDATED")
        self.wait_over(upgrade, "succeeded")

    def clean(self, upgrade):
        self.assertEqual(self.complaints(), [])
        self.assertNotIn(upgrade.token, self.gw.log(whole=True))

    def test_firmware_for_a_sub_device_is_installed_and_each_step_told(self):
        self.begin(CHUNKS)
        self.runs(PUMP_1, {"fw_version": "1.0", "sw_version": 7}, fw_version="1.0", sw_version="7")
        data = some_bytes(200000)
        upgrade = self.cloud.upgrade(PUMP_1, "2.0", data)
        self.assertEqual(self.pump.image("2.0"), data)
        announced = self.pump.announcement("2.0")
        self.assertEqual((announced["kind"], announced["title"], announced["size"]), ("firmware", "package.bin", 200000))
        wait_for(lambda: [r["progress"] for r in upgrade.reports][-1:] == [90], 20, "handed over is told")
        self.pump.report("UPDATED")
        self.wait_over(upgrade, "succeeded")
        self.assertEqual({r["result_code"] for r in upgrade.reports}, {0})
        self.cloud.ask_versions(PUMP_1)
        wait_for(lambda: self.cloud.versions(PUMP_1) == {"fw_version": "2.0", "sw_version": "7"}, 20, "what it runs now")
        self.clean(upgrade)

    def test_software_for_the_gateway_itself_comes_by_a_signed_url(self):
        self.begin(dict(FILES, versions={"firmware": "fw", "software": "sw"}), name=GATEWAY, unknown_version="none")
        self.gw.term()
        self.gw.config["gateway"]["name"] = GATEWAY
        self.start()
        self.runs(GATEWAY, {"sw": "7"}, sw_version="7", fw_version="none")
        data = some_bytes(9000)
        upgrade = self.cloud.upgrade(GATEWAY, "8", data, kind="software", form=2)
        self.install(upgrade, data)
        self.assertEqual([s for _, _, s in self.cloud.package_requests()], [200])
        self.clean(upgrade)

    def test_the_only_device_of_a_link_is_upgraded(self):
        self.begin(mode="device", device="pump-1", product_id=None)
        self.runs(GATEWAY, {"fw_version": "1"}, fw_version="1")
        data = some_bytes(9000)
        upgrade = self.cloud.upgrade(GATEWAY, "2", data)
        self.install(upgrade, data)
        self.clean(upgrade)

    def test_versions_outlive_the_gateway_and_are_never_made_up(self):
        self.begin()
        self.runs(PUMP_1, {"fw_version": "1.0"}, fw_version="1.0")
        wait_for(lambda: os.path.exists(self.gw.state + "/versions"), 20, "it is on disk")
        self.gw.kill9()
        self.start()
        before = len(self.cloud.reported("version_report"))
        self.cloud.ask_versions(PUMP_2)
        self.cloud.ask_versions(PUMP_1)
        wait_for(lambda: len(self.cloud.reported("version_report")) > before, 20, "an answer")
        self.assertEqual(self.cloud.reported("version_report")[before:], [{"fw_version": "1.0"}])
        self.assertIsNone(self.cloud.versions(PUMP_2))

    def test_what_runs_already_is_not_fetched(self):
        self.begin()
        self.runs(PUMP_1, {"fw_version": "2.0"}, fw_version="2.0")
        upgrade = self.cloud.upgrade(PUMP_1, "2.0", b"x", asks=False)
        self.wait_over(upgrade, "failed", "result_code 3")
        self.assertEqual(self.cloud.package_requests(), [])

    def test_a_wrong_sign_never_reaches_the_device(self):
        self.begin()
        upgrade = self.cloud.upgrade(PUMP_1, "2.0", some_bytes(9000), asks=False, fault={"sign": True})
        self.wait_over(upgrade, "failed", "result_code 7")
        again = self.cloud.upgrade(PUMP_1, "2.1", some_bytes(9000), asks=False, fault={"size": 9001})
        self.wait_over(again, "failed", "result_code 7")
        self.assertEqual(self.pump.received, [])
        self.clean(upgrade)

    def test_a_token_that_has_expired_fails_the_order_and_the_next_one_goes_on_from_there(self):
        self.begin()
        data = some_bytes(4 * MIB)
        first = self.cloud.upgrade(PUMP_1, "2.0", data, asks=False, fault={"cut_at": 3 * MIB, "valid_for": 1})
        self.wait_over(first, "failed", "result_code 6")
        self.assertIn("401", first.reports[-1]["description"])
        second = self.cloud.upgrade(PUMP_1, "2.0", data, asks=False)
        self.install(second, data)
        self.assertEqual([s for _, _, s in self.cloud.package_requests()], [200, 401, 206])
        self.clean(second)

    def test_a_device_that_refuses_is_believed(self):
        self.begin()
        upgrade = self.cloud.upgrade(PUMP_1, "2.0", some_bytes(9000), asks=False)
        self.pump.announcement("2.0")
        self.pump.report("FAILED", error="flash is worn")
        self.wait_over(upgrade, "failed", "result_code 10")
        self.assertIn("flash is worn", upgrade.reports[-1]["description"])
        self.clean(upgrade)

    def test_a_device_without_images_is_told_of(self):
        self.begin(dict(FILES, devices=["fan-*"]))
        upgrade = self.cloud.upgrade(PUMP_1, "2.0", b"x", asks=False)
        self.wait_over(upgrade, "failed", "result_code 8")

    @needs_root
    def test_without_room_iotda_is_told(self):
        small = self.path("small")
        os.mkdir(small)
        self.begin(dict(FILES, directory=small), prefix=[
            "unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=16m none "$0" && exec "$@"', small])
        upgrade = self.cloud.upgrade(PUMP_1, "2.0", some_bytes(9000), asks=False)
        self.wait_over(upgrade, "failed", "result_code 5")

    def test_an_order_that_comes_twice_is_one(self):
        self.begin()
        data = some_bytes(9000)
        upgrade = self.cloud.upgrade(PUMP_1, "2.0", data, asks=False)
        self.cloud.repeat_upgrade(upgrade)
        self.pump.announcement("2.0")
        self.cloud.repeat_upgrade(upgrade)
        self.install(upgrade, data)
        n = len(self.cloud.reported("upgrade_progress_report"))
        self.cloud.repeat_upgrade(upgrade)
        wait_for(lambda: len(self.cloud.reported("upgrade_progress_report")) > n, 20, "told again")
        self.runs(PUMP_1, {"sw_version": "9"}, fw_version="2.0", sw_version="9")
        self.assertEqual((len(self.pump.bodies("fw/pump-1")), len(self.cloud.package_requests())), (1, 1))
        self.clean(upgrade)

    def test_a_kill_in_the_middle_of_a_download_is_gone_on_from_with_the_token(self):
        self.begin()
        data = some_bytes(4 * MIB)
        upgrade = self.cloud.upgrade(PUMP_1, "2.0", data, asks=False, fault={"cut_at": 3 * MIB, "delay_s": [0, 10]})
        wait_for(lambda: len(self.cloud.package_requests()) == 2, 20, "the rest is asked for")
        wait_for(lambda: synced(self.gw) >= MIB, 20, "a MiB is safe")
        self.gw.kill9()
        self.start()
        self.install(upgrade, data)
        wanted = [wanted for _, wanted, _ in self.cloud.package_requests()]
        self.assertEqual(wanted[:2], [None, "bytes=%d-" % (3 * MIB)])
        for part in wanted[2:]:
            self.assertRegex(part, "^bytes=[0-9]{7}-$")
        self.clean(upgrade)

    def test_iotda_hears_the_last_word_even_when_the_gateway_is_killed_before_it_could_be_said(self):
        self.begin()
        upgrade = self.cloud.upgrade(PUMP_1, "2.0", some_bytes(9000), asks=False)
        self.pump.announcement("2.0")
        self.gw.wait_log("is handed over")
        self.cloud.outage()
        self.pump.report("UPDATED")

        def is_on_disk():
            with open(self.gw.state + "/image-states", "rb") as f:
                return UPDATED in f.read()
        wait_for(is_on_disk, 20, "it is on disk")
        self.gw.kill9()
        self.cloud.resume()
        self.start()
        self.wait_over(upgrade, "succeeded")
        self.assertEqual(self.complaints(), [])

    def test_one_image_for_many_pumps_is_brought_to_each(self):
        self.begin()
        others = [Pump(self.site.port, name) for name in PUMPS[1:]]
        for pump in others:
            self.addCleanup(pump.close)
        data = some_bytes(9000)
        upgrades = [self.cloud.upgrade("p1_" + name, "2.0", data, asks=False) for name in PUMPS]
        for pump, upgrade in zip([self.pump] + others, upgrades):
            pump.announcement("2.0")
            pump.report("UPDATED")
            self.wait_over(upgrade, "succeeded")
        self.clean(upgrades[0])
