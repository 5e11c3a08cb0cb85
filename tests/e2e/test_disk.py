"""A disk that is full, read-only, broken or frozen, and a journal that this version must leave alone."""
import errno
import hashlib
import json
import os
import re
import struct
import subprocess
import sys

from frame import BUILD, EndToEnd, HERE, MAPPING, needs_root, set_disk, wait_for

sys.path.insert(0, os.path.join(HERE, ".."))
import journal_reader  # noqa: E402

CTL = os.path.join(BUILD, "src", "fieldgatectl")
STUCK = "journal: .*; acknowledging nothing until it works again"
MIB = 1 << 20


def ctl(*words):
    """(exit status, standard output and error)"""
    done = subprocess.run([CTL, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=60)
    return done.returncode, done.stdout.decode(errors="replace")


def can_mount_loop():
    script = "mkfs.ext4 -q $0 && mount -o loop $0 $1"
    directory = os.environ.get("TMPDIR", "/tmp")
    image, mount = os.path.join(directory, "fieldgate-loop.%d" % os.getpid()), directory
    with open(image, "wb") as f:
        f.truncate(8 * MIB)
    try:
        return subprocess.run(["unshare", "-m", "sh", "-c", script, image, mount], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode == 0
    finally:
        os.unlink(image)


class Disk(EndToEnd):
    def on_a_mount(self, options, **how):
        """A gateway whose state directory is a mount of its own, which only it sees."""
        self.broker, self.cloud = self.field(), self.thingsboard()
        gateway = self.gateway(self.broker, self.cloud, start=False,
                               mappings=[dict(MAPPING, telemetry={"n": "$.n", "pad": "$.pad"})],
                               journal={"max_size": "128MiB", "segment_size": "8MiB"}, **how)
        gateway.start(prefix=["unshare", "-m", "sh", "-c", 'mount %s "$0" && exec "$@"' % options, gateway.state])
        self.broker.wait_subscribed(gateway.client_id())
        wait_for(lambda: self.cloud.events("connect"), 20, "the cloud sees a login")
        self.source = self.publisher(self.broker)
        return gateway

    def inside(self, gateway, *words, check=True):
        """Run a command where the gateway's disk is seen; returns what it says."""
        return subprocess.run(["nsenter", "-t", str(gateway.process.pid), "-m", *words], check=check,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=60).stdout.decode()

    def status(self, gateway):
        lines = self.inside(gateway, CTL, "status", "--json", "--state", gateway.state).splitlines()
        return {o["what"]: o for o in map(json.loads, lines)}

    def publish(self, n):
        for _ in range(n):
            self.source.publish(pad="x" * 4000)
        self.source.wait_acked()

    # ---- real ones

    @needs_root
    def test_work_goes_on_without_a_restart_when_a_full_disk_has_room_again(self):
        gateway = self.on_a_mount("-t tmpfs -o size=64m none")
        self.publish(100)
        self.wait_delivered(self.cloud, self.source.sent)
        filler = os.path.join(gateway.state, "filler")
        self.inside(gateway, "sh", "-c", 'head -c 100M /dev/zero >"$0"; true', filler)
        self.cloud.outage()
        self.publish(6000)
        gateway.wait_log(STUCK)
        self.assertLess(self.status(gateway)["broker"]["appended"], 6100)
        self.assertRegex(self.inside(gateway, CTL, "status", "--state", gateway.state),
                         r'journal: stuck why="[^"]+: No space left on device" ')
        self.inside(gateway, "rm", filler)
        gateway.wait_log("journal: writing works again")
        self.assertNotIn("state", self.status(gateway)["journal"])
        self.cloud.resume()
        self.wait_delivered(self.cloud, self.source.sent, 120)
        self.assertEqual((self.cloud.duplicates(), self.cloud.disorder("n")), (0, []))

    @needs_root
    def test_a_disk_with_less_room_than_the_journal_may_take_is_told_at_the_start(self):
        gateway = self.on_a_mount("-t tmpfs -o size=64m none")
        gateway.wait_log(r" warning journal: its limits allow 256 MiB, and \S+/journal has room for \d\d MiB: .*max_size")
        self.assertEqual(gateway.term(), 0)
        gateway.start(prefix=["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=300m none "$0" && exec "$@"',
                              gateway.state])
        gateway.wait_log("broker [^ ]+: connected")
        self.assertNotIn("its limits allow", gateway.log())

    @needs_root
    def test_a_frozen_disk_holds_acknowledgements_and_nothing_else(self):
        if not can_mount_loop():
            self.skipTest("no loop devices")
        with open(self.path("disk"), "wb") as f:
            f.truncate(96 * MIB)
        subprocess.run(["mkfs.ext4", "-q", self.path("disk")], check=True)
        gateway = self.on_a_mount("-o loop " + self.path("disk"))
        self.publish(100)
        self.wait_delivered(self.cloud, self.source.sent)
        taken = self.status(gateway)["journal"]["synced_seq"]
        self.inside(gateway, "fsfreeze", "-f", gateway.state)
        try:
            self.publish(500)
            wait_for(lambda: self.status(gateway)["broker"]["received"] > 100, 20, "it still listens")
            self.assertEqual(self.status(gateway)["journal"]["synced_seq"], taken)
        finally:
            self.inside(gateway, "fsfreeze", "-u", gateway.state)
        self.wait_delivered(self.cloud, self.source.sent)
        self.assertEqual((self.cloud.duplicates(), self.cloud.disorder("n")), (0, []))

    @needs_root
    def test_a_file_system_that_gives_up_costs_nothing_that_was_acknowledged(self):
        if not can_mount_loop():
            self.skipTest("no loop devices")
        with open(self.path("disk"), "wb") as f:
            f.truncate(96 * MIB)
        subprocess.run(["mkfs.ext4", "-q", self.path("disk")], check=True)
        gateway = self.on_a_mount("-o loop,errors=remount-ro " + self.path("disk"))
        self.publish(100)
        self.wait_delivered(self.cloud, self.source.sent)
        self.cloud.outage()
        self.publish(300)
        wait_for(lambda: self.status(gateway)["journal"]["synced_seq"] >= 400, 20, "all of it on disk")
        device = os.path.basename(self.inside(gateway, "findmnt", "-n", "-o", "SOURCE", gateway.state).strip())
        trigger = "/sys/fs/ext4/%s/trigger_fs_error" % device
        if not os.path.exists(trigger):
            self.skipTest("this kernel cannot be told to fail")
        self.inside(gateway, "sh", "-c", 'echo 1 >"$0"', trigger)
        self.publish(300)
        gateway.wait_log(STUCK)
        self.cloud.resume()  # what is on disk already still goes out
        self.wait_delivered(self.cloud, self.source.sent[:200])
        gateway.kill9()
        subprocess.run(["fsck.ext4", "-fy", self.path("disk")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        gateway.start(prefix=["unshare", "-m", "sh", "-c",
                              'mount -o loop %s "$0" && exec "$@"' % self.path("disk"), gateway.state])
        self.wait_delivered(self.cloud, self.source.sent)

    # ---- made up ones

    def on_a_shim(self):
        self.shim = self.path("shim")
        os.mkdir(self.shim)
        self.broker, self.cloud = self.field(), self.thingsboard()
        gateway = self.gateway(self.broker, clouds=[self.cloud_config(self.cloud, max_in_flight_records=200)],
                               start=False)
        self.env = {"LD_PRELOAD": os.path.join(BUILD, "tests/e2e/slow_sync.so"), "SLOW_SYNC": self.shim,
                    "ASAN_OPTIONS": "verify_asan_link_order=0"}
        gateway.start(env=self.env)
        self.broker.wait_subscribed(gateway.client_id())
        wait_for(lambda: self.cloud.events("connect"), 20, "the cloud sees a login")
        self.source = self.publisher(self.broker)
        return gateway

    def disk(self, **faults):
        set_disk(self.shim, **faults)

    def refuses(self, **faults):
        """Acknowledgements stop, what is on disk goes out, and all goes on when the disk takes again."""
        gateway = self.on_a_shim()
        self.source.burst(100)
        self.wait_delivered(self.cloud, self.source.sent)
        self.cloud.outage()
        self.source.burst(150)
        wait_for(lambda: gateway.journalled() == 250, 20, "all of it in the journal")
        self.disk(**faults)
        self.source.burst(300)
        gateway.wait_log(STUCK)
        self.cloud.resume()
        self.wait_delivered(self.cloud, self.source.sent[:150])
        self.assertLessEqual(len(self.cloud.values("n")), 250, "nothing goes out that is not on disk")
        self.disk()
        self.wait_delivered(self.cloud, self.source.sent, 90)
        gateway.wait_log("journal: writing works again")
        self.assertEqual((self.cloud.duplicates(), self.cloud.disorder("n")), (0, []))

    def test_a_disk_that_turns_read_only_and_back_loses_nothing(self):
        self.refuses(full=errno.EROFS, fail=errno.EROFS)

    def test_a_disk_whose_writes_fail_for_a_while_loses_nothing(self):
        self.refuses(full=errno.EIO)

    def test_a_disk_that_cannot_be_read_at_the_start_is_told_and_loses_nothing(self):
        gateway = self.on_a_shim()
        self.cloud.outage()
        self.source.burst(300)
        wait_for(lambda: gateway.journalled() == 300, 20, "all of it in the journal")
        gateway.kill9()
        self.disk(unreadable=errno.EIO)
        gateway.start(env=self.env)
        self.assertEqual(gateway.wait_end(), 1)
        self.assertRegex(gateway.log(), r"cannot read main/[0-9a-f]{16}\.seg: Input/output error\. Nothing is changed")
        self.disk()
        gateway.start(env=self.env)
        self.cloud.resume()
        self.wait_delivered(self.cloud, self.source.sent)

    def test_a_disk_that_cannot_be_read_for_a_while_loses_nothing(self):
        gateway = self.on_a_shim()
        self.source.burst(100)
        self.wait_delivered(self.cloud, self.source.sent)
        self.cloud.outage()
        self.source.burst(2000)
        wait_for(lambda: gateway.journalled() == 2100, 20, "all of it in the journal")
        self.disk(unreadable=errno.EIO)
        n = len(self.cloud.events("connect"))
        self.cloud.resume()
        wait_for(lambda: len(self.cloud.events("connect")) > n, 60, "the cloud sees a login")
        gateway.wait_log("error link tb: the journal cannot be read: input/output error; trying again")
        self.disk()
        self.wait_delivered(self.cloud, self.source.sent)
        gateway.wait_log("link tb: the journal can be read again")
        self.assertEqual(gateway.log().count("the journal cannot be read"), 1)
        self.assertEqual(gateway.status()["link tb"]["lost"], 0)
        self.assertEqual((self.cloud.duplicates(), self.cloud.disorder("n")), (0, []))

    # ---- a journal of another version

    def test_a_journal_of_a_later_version_is_refused_and_not_touched(self):
        self.broker, self.cloud = self.field(), self.thingsboard()
        gateway = self.running(self.broker, self.cloud)
        source = self.publisher(self.broker)
        source.burst(100)
        self.wait_delivered(self.cloud, source.sent)
        self.assertEqual(gateway.term(), 0)
        directory = os.path.join(gateway.state, "journal", "main")
        newest = os.path.join(directory, max(name for name in os.listdir(directory) if name.endswith(".seg")))
        for what, offset, value in (("version", 12, struct.pack("<H", 99)),
                                    ("feature", 20, struct.pack("<I", 1 << 30))):
            with self.subTest(what):
                with open(newest, "r+b") as f:
                    whole = f.read()
                    head = bytearray(whole[:4096])
                    head[offset:offset + len(value)] = value
                    head[8:12] = struct.pack("<I", journal_reader.crc32c(bytes(head[12:])))
                    f.seek(0)
                    f.write(head)
                before = self.everything(gateway)
                gateway.start()
                self.assertEqual(gateway.wait_end(), 1)
                self.assertIn("was written by a later version", gateway.log())
                self.assertEqual(self.everything(gateway), before)
                for command in ("verify", "dump"):
                    status, out = ctl("journal", command, gateway.state)
                    self.assertEqual(status, 1)
                    self.assertIn("written by a later version", out)
                self.assertEqual(self.everything(gateway), before)
                with open(newest, "wb") as f:
                    f.write(whole)
        gateway.start()
        gateway.wait_log("link tb: connected")
        source.burst(10)
        self.wait_delivered(self.cloud, source.sent)
        self.assertEqual(self.cloud.duplicates(), 0)

    def everything(self, gateway):
        """{path: checksum} of the journal's files."""
        found = {}
        for directory, _, names in os.walk(os.path.join(gateway.state, "journal")):
            for name in names:
                with open(os.path.join(directory, name), "rb") as f:
                    found[os.path.join(directory, name)] = hashlib.sha256(f.read()).hexdigest()
        return found

    def test_a_segment_whose_header_is_damaged_is_told_of(self):
        self.broker, self.cloud = self.field(), self.thingsboard()
        gateway = self.running(self.broker, self.cloud)
        self.cloud.outage()
        source = self.publisher(self.broker)
        source.burst(100)
        wait_for(lambda: gateway.journalled() == 100, 20, "all of it in the journal")
        gateway.kill9()
        directory = os.path.join(gateway.state, "journal", "main")
        for name in os.listdir(directory):
            with open(os.path.join(directory, name), "r+b") as f:
                f.write(b"damage")
        gateway.start()
        gateway.wait_log(r"warning journal: 1 of its files cannot be used .* lost; .*journal verify -v")
        status, out = ctl("journal", "verify", "-v", gateway.state)
        self.assertEqual(status, 0)
        self.assertIn("1.seg.damaged: set aside by the daemon", out)
        self.cloud.resume()
        source.burst(10)
        self.wait_delivered(self.cloud, source.sent[100:])

    def test_a_damaged_journal_is_told_of_and_the_rest_is_sent(self):
        self.broker, self.cloud = self.field(), self.thingsboard()
        gateway = self.running(self.broker, self.cloud)
        self.cloud.outage()
        source = self.publisher(self.broker)
        source.burst(500)
        wait_for(lambda: gateway.journalled() == 500, 20, "all of it in the journal")
        # What no later commit stands behind would pass for a commit that was interrupted.
        source.burst(100)
        wait_for(lambda: gateway.journalled() == 600, 20, "more behind it")
        gateway.kill9()
        self.assertEqual(ctl("journal", "verify", gateway.state)[0], 0)
        directory = os.path.join(gateway.state, "journal", "main")
        newest = os.path.join(directory, max(name for name in os.listdir(directory) if name.endswith(".seg")))
        with open(newest, "r+b") as f:
            data = f.read()
            at = data.index(b'"n":200')
            f.seek(at)
            f.write(b'"n":999')
        status, out = ctl("journal", "verify", gateway.state)
        self.assertEqual(status, 1)
        self.assertRegex(out, r"records? \d+(\.\.\d+)? .*damaged|damaged.* \d+")
        status, out = ctl("journal", "dump", "--lane", "main", "--kind", "telemetry", gateway.state)
        self.assertEqual(status, 1)
        self.assertIn('"n":201', out)
        self.assertNotIn('"n":999', out)
        gateway.start()
        self.cloud.resume()
        self.wait_delivered(self.cloud, [s for s in source.sent if s[1] != 200])
        self.assertNotIn(200, self.cloud.values("n"))
        self.assertNotIn(999, self.cloud.values("n"))
        wait_for(lambda: gateway.status()["link tb"]["lost_damaged"] == 1, 20, "the loss is counted")
        gateway.wait_log(r"link tb: lost 1 records up to \d+: ")
