"""Firmware and software, from a package in ThingsBoard to a field device that reports."""
import hashlib
import http.server
import os
import random
import ssl
import struct
import threading

from field_device import FieldDevice
from frame import Certificates, EndToEnd, ThingsBoard, needs_root, wait_for

MIB = 1 << 20
CHUNKS = {"devices": ["pump-*"], "deliver": "chunks", "topic": "fw/{device}", "chunk_topic": "fw/{device}/chunk/{index}",
          "status": {"topic": "fw/{device}/state"}}
FILES = {"deliver": "file", "topic": "fw/{device}", "status": {"topic": "fw/{device}/state"}}
TO_THE_END = ["DOWNLOADING", "DOWNLOADED", "VERIFIED", "UPDATING", "UPDATED"]


def some_bytes(size, seed=1):
    return random.Random(seed).randbytes(size)


def synced(gateway):
    """How many bytes of an image are safe, as src/ota/image_info.h has it."""
    directory = gateway.state + "/images"
    for name in os.listdir(directory):
        if name.endswith(".info"):
            with open("%s/%s" % (directory, name), "rb") as f:
                return struct.unpack_from("<Q", f.read(), 24)[0]
    return 0


class Pump(FieldDevice):
    """A device that collects an image, and says how its installation went."""

    def __init__(self, port, name="pump-1"):
        super().__init__(port, client_id=name)
        self.name = name
        self.subscribe("fw/%s" % name, "fw/%s/chunk/+" % name)

    def announcement(self, version):
        return wait_for(lambda: next((a for a in self.bodies("fw/" + self.name) if a["version"] == version), None), 60,
                        "version %s is announced" % version)

    def image(self, version):
        """Until all of it has come; returns its bytes."""
        a = self.announcement(version)
        n = (a["size"] + a["chunk_size"] - 1) // a["chunk_size"]
        topics = ["fw/%s/chunk/%d" % (self.name, i) for i in range(n)]
        wait_for(lambda: set(topics) <= {topic for topic, _ in self.received}, 60, "%d chunks" % n)
        return b"".join(self.bodies(topic)[-1] for topic in topics)

    def report(self, state, **more):
        self.publish("fw/%s/state" % self.name, dict({"state": state}, **more))


class ImagesTest(EndToEnd):
    def begin(self, rule=None, own=False, start=True, **options):
        """@own: the link speaks as the device pump-1 itself, else as a gateway that has pump-1."""
        self.site = self.field()
        self.cloud = self.thingsboard(devices=[{"name": "pump-1" if own else "the gateway", "gateway": not own,
                                                "token": ThingsBoard.TOKEN}])
        if own:
            options = dict({"mode": "device", "device": "pump-1"}, **options)
        self.gw = self.gateway(self.site, self.cloud, start=False, clouds=[self.cloud_config(self.cloud, **options)])
        self.gw.config["images"] = [rule or CHUNKS]
        self.pump = Pump(self.site.port)
        self.addCleanup(self.pump.close)
        if start:
            self.start()

    def start(self, **how):
        self.gw.start(**how)
        self.site.wait_subscribed(self.gw.client_id())
        self.wait_cloud()

    def wait_cloud(self):
        """Until ThingsBoard would tell a change, and knows pump-1."""
        n = len(self.cloud.values("n"))
        self.pump.publish("sensors/pump-1/climate", {"n": n, "ts": 1718000000000 + n})
        wait_for(lambda: len(self.cloud.values("n")) > n, 20, "a sample in the cloud")

    def wait_states(self, states, kind="fw"):
        wait_for(lambda: self.cloud.ota_states("pump-1", kind)[-len(states):] == states, 60,
                 "%s, not %s" % (states, self.cloud.ota_states("pump-1", kind)))

    def wait_failure(self, words):
        wait_for(lambda: self.cloud.ota_states("pump-1")[-1:] == ["FAILED"], 60,
                 "FAILED, not %s" % self.cloud.ota_states("pump-1"))
        self.assertIn(words, self.cloud.values("fw_error", "pump-1")[-1])


class OverMqtt(ImagesTest):
    def test_firmware_in_chunks_reaches_the_device_that_reports(self):
        self.begin(own=True)
        data = some_bytes(50000)
        self.cloud.assign_firmware("pump-1", "A", "2", data)
        self.assertEqual(self.pump.image("2"), data)
        announced = self.pump.announcement("2")
        self.assertEqual((announced["kind"], announced["title"], announced["size"], announced["chunk_size"]),
                         ("firmware", "A", 50000, 4096))
        self.assertEqual((announced["algorithm"], announced["checksum"]), ("SHA256", hashlib.sha256(data).hexdigest()))
        self.wait_states(TO_THE_END[:4])
        self.pump.report("UPDATED")
        self.wait_states(TO_THE_END)
        self.assertEqual(self.cloud.values("current_fw_version", "pump-1"), ["2"])
        self.assertEqual(self.cloud.complaints(), [])

    def test_software_is_an_image_of_its_own(self):
        self.begin(own=True)
        self.cloud.assign_software("pump-1", "S", "9", b"\x00software", algorithm="MURMUR3_128")
        self.assertEqual(self.pump.image("9"), b"\x00software")
        self.pump.report("UPDATED")
        self.wait_states(TO_THE_END, "sw")
        self.assertEqual(self.cloud.ota_states("pump-1", "fw"), [])

    def test_a_wrong_checksum_never_reaches_the_device(self):
        self.begin(own=True)
        self.cloud.assign_firmware("pump-1", "A", "2", some_bytes(9000), fault={"checksum": True})
        self.wait_failure("checksum")
        self.assertEqual(self.pump.received, [])

    def test_a_wrong_size_is_told(self):
        self.begin(own=True)
        self.cloud.assign_firmware("pump-1", "A", "2", some_bytes(9000), fault={"size": 10000})
        self.wait_failure("not what the announced size makes of it")

    def test_an_error_of_the_cloud_is_told(self):
        self.begin(own=True)
        self.cloud.assign_firmware("pump-1", "A", "2", some_bytes(9000), fault={"error_at_chunk": 1})
        self.wait_failure("ThingsBoard does not send it: FAILURE")

    def test_a_cut_in_the_middle_is_gone_on_from(self):
        self.begin(own=True)
        data = some_bytes(200000)
        package = self.cloud.assign_firmware("pump-1", "A", "2", data, fault={"cut_at_chunk": 30})
        self.assertEqual(self.pump.image("2"), data)
        self.assertEqual(package.n_chunks_sent, 49)
        self.pump.report("UPDATED")
        self.wait_states(TO_THE_END[1:])

    def test_a_new_version_in_the_middle_takes_over(self):
        self.begin(own=True)
        old = self.cloud.assign_firmware("pump-1", "A", "2", some_bytes(8 * MIB))
        wait_for(lambda: old.n_chunks_sent > 20, 20, "some chunks of the old version")
        data = some_bytes(30000, 3)
        self.cloud.assign_firmware("pump-1", "A", "3", data)
        self.assertEqual(self.pump.image("3"), data)
        self.pump.report("UPDATED", version="2")  # of the past
        self.pump.report("UPDATED", version="3")
        self.wait_states(TO_THE_END)
        self.assertEqual(self.cloud.values("current_fw_version", "pump-1"), ["3"])
        self.assertEqual([a["version"] for a in self.pump.bodies("fw/pump-1")], ["3"])

    def test_what_is_withdrawn_stops(self):
        self.begin(own=True)
        package = self.cloud.assign_firmware("pump-1", "A", "2", some_bytes(8 * MIB))
        wait_for(lambda: package.n_chunks_sent > 20, 20, "some chunks")
        self.cloud.unassign("pump-1")
        self.gw.wait_log("withdrawn")
        wait_for(lambda: not [n for n in os.listdir(self.gw.state + "/images") if n.endswith(".part")], 20)

    def test_a_kill_in_the_middle_does_not_begin_anew(self):
        self.begin(dict(CHUNKS, chunk_size="64KiB"), own=True, image_chunk_size=16384)
        data = some_bytes(24 * MIB)
        self.cloud.assign_firmware("pump-1", "A", "2", data)
        wait_for(lambda: synced(self.gw) >= MIB, 60, "a MiB is safe")
        self.gw.kill9()
        self.start()
        self.assertEqual(self.pump.image("2"), data)
        self.assertEqual(len(self.cloud.publishes("v2/fw/request/1/chunk/0")), 1)
        self.pump.report("UPDATED")
        self.wait_states(TO_THE_END[3:])

    def test_a_kill_in_the_middle_of_the_gateways_own_image_is_gone_on_from_without_being_told_to(self):
        self.begin(dict(CHUNKS, devices=["gw"], chunk_size="64KiB"), start=False, image_chunk_size=16384)
        self.start()
        data = some_bytes(24 * MIB)
        self.cloud.assign_firmware("the gateway", "A", "2", data)
        wait_for(lambda: synced(self.gw) >= MIB, 60, "a MiB is safe")
        self.gw.kill9()
        pump = Pump(self.site.port, "gw")
        self.addCleanup(pump.close)
        self.start()
        self.assertEqual(pump.image("2"), data)
        self.assertEqual(len(self.cloud.publishes("v2/fw/request/1/chunk/0")), 1)

    def test_what_is_installed_is_not_installed_again_after_a_restart(self):
        self.begin(own=True)
        self.cloud.assign_firmware("pump-1", "A", "2", some_bytes(9000))
        self.pump.image("2")
        self.pump.report("UPDATED")
        self.wait_states(TO_THE_END)
        self.assertEqual(self.gw.term(), 0)
        self.start()
        # When it connects, and perhaps once more when the package is asked for.
        wait_for(lambda: len(self.cloud.values("current_fw_version", "pump-1")) >= 2, 20, "told once more")
        self.assertEqual(len(self.pump.bodies("fw/pump-1")), 1)


class FromUrl(ImagesTest):
    def test_a_device_that_is_away_gets_its_image_when_it_is_back(self):
        self.begin(FILES, start=False)
        self.gw.config["mappings"].append({"topic": "status/{device}", "presence": {}})
        self.start()
        self.cloud.assign_firmware("pump-1", "A", "2", some_bytes(9000), url=True, fault={"delay_s": 1})
        wait_for(lambda: self.cloud.package_requests(), 20, "it is asked for")
        self.pump.publish("status/pump-1", "offline")
        self.wait_states(["DOWNLOADING", "DOWNLOADED", "VERIFIED"])
        self.gw.wait_log("is here and checked")
        self.assertEqual(self.pump.bodies("fw/pump-1"), [])
        self.pump.publish("status/pump-1", "online")
        self.pump.announcement("2")
        self.pump.report("UPDATED")
        self.wait_states(TO_THE_END)

    def test_a_sub_devices_image_is_downloaded_and_a_cut_is_gone_on_from(self):
        self.begin()
        data = some_bytes(3 * MIB)
        self.cloud.assign_firmware("pump-1", "A", "2", data, url=True, fault={"cut_at": MIB})
        self.assertEqual(self.pump.image("2"), data)
        self.assertEqual([r for _, r, _ in self.cloud.package_requests()], [None, "bytes=%d-" % MIB])
        self.pump.report("UPDATED")
        self.wait_states(TO_THE_END)

    def test_a_kill_in_the_middle_of_a_download_is_gone_on_from(self):
        self.begin()
        data = some_bytes(20000)
        self.cloud.assign_firmware("pump-1", "A", "2", data, url=True, fault={"delay_s": 2})
        wait_for(lambda: self.cloud.package_requests(), 20, "it is asked for")
        self.gw.kill9()
        self.gw.start()
        self.assertEqual(self.pump.image("2"), data)

    def test_the_last_word_is_said_even_when_the_gateway_is_killed_before_it_could_be(self):
        self.begin(FILES)
        self.cloud.assign_firmware("pump-1", "A", "2", some_bytes(9000), url=True)
        self.pump.announcement("2")
        self.wait_states(TO_THE_END[:4])
        self.cloud.outage()
        self.pump.report("UPDATED")

        def is_on_disk(flags=b""):
            with open(self.gw.state + "/image-states", "rb") as f:
                return b"\x02\x00\x04" + flags in f.read()  # as src/local/images_entry.c has it: version, firmware, state
        wait_for(is_on_disk, 20, "it is on disk")
        self.gw.kill9()
        self.cloud.resume()
        self.start()
        self.wait_states(TO_THE_END)
        self.assertEqual(self.cloud.values("current_fw_version", "pump-1"), ["2"])
        # ThingsBoard has acknowledged it, which is on disk: another restart says nothing.
        wait_for(lambda: is_on_disk(b"\x02"), 20, "that it is known is on disk")
        self.assertEqual(self.gw.term(), 0)
        self.start()
        self.assertEqual(self.cloud.values("current_fw_version", "pump-1"), ["2"])

    def test_a_sub_device_without_an_url_is_told_so(self):
        self.begin()
        self.cloud.assign_firmware("pump-1", "A", "2", some_bytes(9000))
        self.wait_failure("by URL only")

    def test_a_device_that_failed_is_believed(self):
        self.begin(FILES)
        data = some_bytes(9000)
        self.cloud.assign_firmware("pump-1", "A", "2", data, url=True)
        with open(self.pump.announcement("2")["file"], "rb") as f:
            self.assertEqual(f.read(), data)
        self.pump.report("UPDATING")
        self.pump.report("FAILED", error="flash is worn")
        self.wait_failure("flash is worn")

    def test_a_device_may_fetch_from_the_clouds_url(self):
        self.begin(dict(FILES, deliver="url"))
        package = self.cloud.assign_firmware("pump-1", "A", "2", some_bytes(9000), url=True)
        self.assertEqual(self.pump.announcement("2")["url"], package.url)
        self.pump.report("UPDATED")
        self.wait_states(TO_THE_END[3:])
        self.assertEqual(self.cloud.package_requests(), [])

    def test_a_package_that_is_not_there_is_told(self):
        self.begin()
        self.cloud.assign_firmware("pump-1", "A", "2", some_bytes(9000), url=True, fault={"status": 404})
        self.wait_failure("status 404")

    def test_what_was_assigned_while_away_is_fetched_when_asked_for(self):
        self.begin(fetch_images=True)
        self.assertEqual(self.gw.term(), 0)
        data = some_bytes(9000)
        self.cloud.assign_firmware("pump-1", "A", "2", data, url=True)
        self.start()
        self.assertEqual(self.pump.image("2"), data)

    @needs_root
    def test_without_room_the_cloud_is_told(self):
        small = self.path("small")
        os.mkdir(small)
        self.begin(dict(FILES, directory=small), start=False)
        self.start(prefix=["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=16m none "$0" && exec "$@"', small])
        self.cloud.assign_firmware("pump-1", "A", "2", some_bytes(9000), url=True)
        self.wait_failure("space")

    def test_https_is_checked_against_the_links_ca(self):
        world, other = Certificates(self.directory), Certificates(self.directory, "other-ca")
        data = some_bytes(9000)
        good, bad = (self._https(c.issue(name), data) for c, name in ((world, "good"), (other, "bad")))
        self.site, self.cloud = self.field(), self.thingsboard(tls=world.issue("cloud"))
        self.gw = self.gateway(self.site, self.cloud, start=False, clouds=[self.cloud_config(
            self.cloud, url="mqtts://localhost:%d" % self.cloud.port, tls={"ca": world.ca})])
        self.gw.config["images"] = [CHUNKS]
        self.pump = Pump(self.site.port)
        self.addCleanup(self.pump.close)
        self.start()
        self.cloud.assign_firmware("pump-1", "A", "1", data, url=bad + "/fw")
        self.wait_states(["DOWNLOADING"])
        self.cloud.assign_firmware("pump-1", "A", "2", data, url=good + "/fw")
        self.assertEqual(self.pump.image("2"), data)
        self.assertEqual([a["version"] for a in self.pump.bodies("fw/pump-1")], ["2"])

    def _https(self, certificate, data):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_):
                pass  # a client that does not trust it

        server = Server(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate["certificate"], certificate["key"])
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return "https://localhost:%d" % server.server_address[1]
