#!/usr/bin/python3
"""The stand-in for Huawei Cloud IoTDA keeps the platform's times, by a clock that tests move by hand."""
import json
import sys
import threading
import unittest

from cloudsim import wait_for
from huawei import GATEWAY, CommandError
from test_huawei import PUMP, REPORT, SYS, HuaweiTest, services

COMMANDS = SYS + "commands/#"


class Clock:
    """Stands until it is moved."""

    def __init__(self):
        self.s = 1000.0

    def __call__(self):
        return self.s


class ClockTest(HuaweiTest):
    def setUp(self):
        self.clock = Clock()
        self.cloud = self.begin(sub_devices=[PUMP], elapsed=self.clock)

    def move(self, s):
        """So much later; what is due then is done. By halves: those add up."""
        self.clock.s += s
        for _ in range(2):
            self.cloud.unacknowledged()  # between two calls the platform looks at its clock

    def downs(self):
        return [(e["qos"], e["dup"]) for e in self.cloud.events("down")]


class Limits(ClockTest):
    def publish_many(self, client, n, topic=REPORT, body=None):
        client.mqtt.max_inflight_messages_set(n + 1)
        return [client.publish(topic, body or {"services": services(n=i)}) for i in range(n)]

    def test_fifty_messages_a_second_and_not_one_more(self):
        client = self.client()
        for _ in range(2):
            self.assertTrue(all([client.is_acked(mid) for mid in self.publish_many(client, 50)]))
            self.move(1)
        acked = [client.is_acked(mid) for mid in self.publish_many(client, 51)]
        self.assertEqual(acked.count(True), 50)
        self.assertEqual([e["why"] for e in self.cloud.events("rejected")], ["rate limit"])

    def test_a_megabyte_a_second_and_no_byte_more(self):
        body = "x" * (1 << 19)
        client = self.client()
        for _ in range(2):
            for mid in self.publish_many(client, 2, SYS + "messages/up", body):
                self.assertTrue(client.is_acked(mid))
            self.move(1)
        self.publish_many(client, 2, SYS + "messages/up", body)
        client.publish(SYS + "messages/up", "x")
        client.wait_gone()
        self.assertEqual([e["why"] for e in self.cloud.events("rejected")], ["rate limit"])

    def test_each_connection_has_a_rate_of_its_own(self):
        client = self.client()
        for mid in self.publish_many(client, 50):
            self.assertTrue(client.is_acked(mid))
        second = self.client()
        self.assertTrue(all([second.is_acked(mid) for mid in self.publish_many(second, 50)]))

    def test_one_and_a_half_keep_alives_of_silence_end_a_session(self):
        client = self.client(keep_alive=60)
        self.move(89)
        self.accept(client, REPORT, {"services": services(n=1)})
        self.move(90)
        self.assertEqual(self.cloud.events("disconnect"), [])
        self.move(0.5)
        client.wait_gone()
        self.assertEqual([e["why"] for e in self.cloud.events("disconnect")], ["keep-alive"])


class Repeats(ClockTest):
    """What is not acknowledged: its PUBACK goes out when on_message returns."""

    def deaf_client(self):
        release = threading.Event()
        self.addCleanup(release.set)
        client = self.client(keep_alive=1200)
        client.on_message = lambda *_: release.wait(60)
        client.subscribe(COMMANDS)
        return client, release

    def test_every_two_seconds_three_times_and_after_a_return_every_ten_five_times(self):
        client, release = self.deaf_client()
        self.cloud.command_begin(PUMP, "START", timeout_s=1000)
        for n in (2, 3, 4):
            self.move(1.5)
            self.assertEqual(len(self.downs()), n - 1)
            self.move(0.5)
            self.assertEqual(len(self.downs()), n)
        self.move(100)
        self.assertEqual(self.downs(), [(1, False)] + 3 * [(1, True)])
        self.cloud.kick()
        release.set()
        client.wait_gone()
        before = len(self.downs())
        client, release = self.deaf_client()
        self.move(0)
        for n in range(1, 6):
            self.assertEqual(len(self.downs()) - before, n)
            self.move(9.5)
            self.assertEqual(len(self.downs()) - before, n)
            self.move(0.5)
        self.move(100)
        self.assertEqual(self.downs()[before:], [(1, False)] + 4 * [(1, True)])
        release.set()

    def test_what_is_acknowledged_or_was_sent_at_qos_0_is_not_repeated(self):
        client = self.client(keep_alive=1200)
        self.cloud.command_begin(PUMP, "START", timeout_s=1000)
        client.subscribe(COMMANDS)
        self.cloud.command_begin(PUMP, "START", timeout_s=1000)
        wait_for(lambda: self.cloud.unacknowledged() == 0, 20)
        self.move(100)
        self.assertEqual(self.downs(), [(0, False), (1, False)])


class TimeOut(ClockTest):
    """W40, without the gateway's part: who answers after 25 s is late."""

    def post_begin(self, device):
        """The answer comes into the list returned."""
        answer = []
        thread = threading.Thread(target=lambda: answer.append(self.post(device, {"paras": {}})), daemon=True)
        thread.start()
        self.addCleanup(thread.join, 20)
        return answer

    def test_an_answer_after_25_s_is_a_time_out_for_the_application_and_late_for_the_platform(self):
        client = self.client(keep_alive=1200)
        answer = self.post_begin(PUMP)
        topic, _ = client.wait_received(1)[0]
        self.move(19.5)
        self.assertEqual(answer, [])
        self.move(0.5)
        wait_for(lambda: answer, 20, "the application has its answer")
        self.assertEqual((answer[0][0], answer[0][1]["error_code"]), (200, "IOTDA.014111"))
        self.assertNotIn("response", answer[0][1])
        self.move(5)
        client.publish(topic.replace("commands/", "commands/response/"), {"result_code": 0})
        wait_for(lambda: [e["verdict"] for e in self.cloud.responses()] == ["late"], 20)
        self.assertEqual(len(answer), 1)

    def test_an_answer_after_19_s_is_in_time(self):
        client = self.client(keep_alive=1200)
        answer = self.post_begin(GATEWAY)
        topic, _ = client.wait_received(1)[0]
        self.move(19.5)
        client.publish(topic.replace("commands/", "commands/response/"), {"result_code": 7})
        wait_for(lambda: answer, 20, "the application has its answer")
        self.assertEqual((answer[0][0], answer[0][1]["response"]), (200, {"result_code": 7}))
        self.move(1)
        self.assertEqual([e["verdict"] for e in self.cloud.responses()], ["answered"])

    def test_a_command_has_the_time_that_its_caller_gives_it(self):
        self.client(keep_alive=1200)
        call = self.cloud.command_begin(PUMP, "START", timeout_s=3)
        self.move(2.5)
        self.assertFalse(call.is_done)
        self.move(0.5)
        with self.assertRaises(CommandError):
            call.wait(0)
        self.assertNotIn("response", json.dumps(self.cloud.events("down")))


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    unittest.main(verbosity=2)
