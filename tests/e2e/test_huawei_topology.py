"""Huawei Cloud IoTDA: sub-devices that IoTDA has, gets and loses, and what it calls them."""
import os
import subprocess

from cloudsim import GATEWAY
from field_device import FieldDevice
from frame import BUILD, MAPPING, wait_for
from test_huawei_gateway import PUMPS, HuaweiTest

CTL = os.path.join(BUILD, "src", "fieldgatectl")


class Topology(HuaweiTest):
    def burst(self, count, devices):
        """Returns {(device, n)} of what is published."""
        before = len(self.device.sent)
        self.device.burst(count, devices)
        return set(self.device.sent[before:])

    def wait_named(self, expected, **ids):
        """Until (device, n) have arrived under the @ids of their devices; "_" stands for "-"."""
        ids = {name.replace("_", "-"): id_ for name, id_ in ids.items()}
        self.wait_delivered(self.cloud, {(ids.get(device, "p1_" + device), n) for device, n in expected})

    def reports(self, kind):
        return len(self.cloud.reported(kind))

    def wait_added(self, *names):
        wait_for(lambda: set(names) <= set(self.cloud.sub_devices().values()), 20, "sub-devices %s" % (names,))

    def test_what_iotda_calls_a_sub_device_goes_both_ways_and_outlives_a_kill(self):
        self.begin()
        self.cloud.add_sub_device("another-id", node_id="pump-9")
        wait_for(lambda: self.cloud.unacknowledged() == 0, 20, "the notice is acknowledged")
        self.wait_named(self.burst(6, ["pump-9", "pump-1"]), pump_9="another-id")
        served = FieldDevice(self.site.port).subscribe("cmd/#")
        self.addCleanup(served.close)
        call = self.cloud.command_begin("another-id", "START", {"speed": 1})
        body = served.wait_for("cmd/pump-9/START")
        served.publish("cmd/pump-9/START/answer", {"id": body["id"], "result": {}})
        self.assertEqual(call.wait()["result_code"], 0)
        self.gw.kill9()
        sent = self.burst(6, ["pump-9", "pump-1"])
        self.gw.start()
        self.wait_named(sent, pump_9="another-id")
        self.assertEqual(self.cloud.statuses()["another-id"], "ONLINE")
        self.assertNotIn("p1_pump-9", {device for device, _, _, _ in self.cloud.samples()})
        self.assertEqual(self.cloud.disorder("n"), [])

    def test_a_sub_device_that_spoke_before_it_was_there_is_online_when_it_is(self):
        self.begin()
        self.burst(1, ["pump-9"])
        self.gw.wait_log('does not take the status of 1 sub-devices, the first is "p1_pump-9"')
        self.cloud.add_sub_device("p1_pump-9")
        wait_for(lambda: self.cloud.statuses()["p1_pump-9"] == "ONLINE", 20, "it is online")
        self.wait_named(self.burst(1, ["pump-9"]))

    def test_a_command_for_a_sub_device_that_iotda_has_yet_to_name_waits_for_that(self):
        self.begin()
        self.cloud.add_sub_device("another-id", node_id="pump-9")
        self.wait_named(self.burst(1, ["pump-9"]), pump_9="another-id")
        served = FieldDevice(self.site.port).subscribe("cmd/#")
        self.addCleanup(served.close)
        n = self.reports("sub_device_sync_request")
        self.gw.kill9()
        self.cloud.set(answer_after_s=1)
        self.gw.start()
        wait_for(lambda: self.reports("sub_device_sync_request") > n, 20, "the gateway asks for the list")
        call = self.cloud.command_begin("another-id", "START", {"speed": 1})
        body = served.wait_for("cmd/pump-9/START")
        served.publish("cmd/pump-9/START/answer", {"id": body["id"], "result": {}})
        self.assertEqual(call.wait()["result_code"], 0)

    def test_the_list_is_asked_for_by_its_version_before_anything_is_told(self):
        self.begin()
        self.wait_named(self.burst(3, PUMPS))
        self.cloud.outage()
        self.cloud.add_sub_device("another-id", node_id="pump-9")
        self.cloud.delete_sub_device("p1_pump-3")
        sent = self.burst(4, ["pump-1", "pump-2", "pump-3", "pump-9"])
        n = len(self.cloud.events("reported"))
        self.cloud.resume()
        self.wait_named({(device, n) for device, n in sent if device != "pump-3"}, pump_9="another-id")
        self.assertNotIn("p1_pump-9", {device for device, _, _, _ in self.cloud.samples()})
        sync, status = self.cloud.events("reported")[n:n + 2]
        self.assertEqual((sync["type"], sync["paras"]), ("sub_device_sync_request", {"version": 3}))
        self.assertEqual(status["type"], "sub_device_update_status")

    def has_kept_version(self):
        path = os.path.join(self.gw.state, "links", "hw")
        if not os.path.exists(path):
            return False
        with open(path, "rb") as store:
            return b"list" in store.read()

    def restart_without(self, *names):
        """Kill the gateway, have an operator delete sub-devices meanwhile, and start it again."""
        wait_for(self.has_kept_version, 20, "the version of the list is on disk")
        self.gw.kill9()
        for name in names:
            self.cloud.delete_sub_device("p1_" + name)
        self.gw.start()
        self.gw.wait_log("has deleted " + names[-1])

    def test_who_was_deleted_while_the_gateway_was_dead_stays_so_until_it_is_there_again(self):
        self.begin(auto_add=True)
        self.wait_named(self.burst(4, PUMPS + ["new"]))
        self.restart_without("pump-2")
        self.burst(3, ["pump-2"])
        self.wait_named(self.burst(2, ["pump-1", "new"]))
        self.assertEqual((self.cloud.values("n", "p1_pump-2"), self.gw.quarantine()), ([0], []))
        self.assertNotIn("p1_pump-2", self.cloud.sub_devices())
        self.assertEqual(self.gw.status()["link hw"]["deleted"], 1)
        self.cloud.add_sub_device("p1_pump-2")
        self.gw.wait_log("has pump-2 again")
        self.wait_named(self.burst(1, ["pump-2"]))
        self.assertEqual((self.gw.status()["link hw"]["deleted"], self.complaints()), (0, []))

    def test_who_was_added_by_a_gateway_that_had_nobody_and_deleted_while_it_was_dead_stays_so(self):
        self.devices = []
        self.begin(auto_add=True)
        self.wait_named(self.burst(2, ["new", "newer"]))
        wait_for(lambda: self.reports("sub_device_sync_request") == 2, 20, "the list has a version")
        self.restart_without("new")
        self.burst(1, ["new"])
        self.wait_named(self.burst(1, ["newer"]))
        self.assertEqual((list(self.cloud.sub_devices()), self.complaints()), (["p1_newer"], []))

    def test_a_list_of_many_comes_in_parts_and_who_is_not_on_it_waits_for_the_last(self):
        self.devices = PUMPS + ["valve-%d" % i for i in range(120)]
        self.site, self.cloud = self.field(), self.huawei()
        self.cloud.split_lists(10)
        self.cloud.add_sub_device("another-id", node_id="a-pump")
        self.cloud.set(answer_after_s=0.3)
        self.begin_gateway(auto_add=True)
        self.wait_named(self.burst(130, self.devices + ["a-pump", "new"]), a_pump="another-id")
        self.assertEqual([d["node_id"] for paras in self.cloud.reported("add_sub_device_request")
                          for d in paras["devices"]], ["new"])
        self.assertEqual((self.cloud.duplicates(), self.cloud.disorder("n"), self.complaints()), (0, [], []))
        self.assertEqual(self.gw.quarantine(), [])

    def test_new_devices_are_added_before_they_speak(self):
        self.begin(auto_add=True)
        self.cloud.name_new("x-{node_id}")
        new = ["new-%d" % i for i in range(60)]
        sent = self.burst(240, new + PUMPS)
        self.wait_named(sent, **{name.replace("-", "_"): "x-" + name for name in new})
        self.assertEqual(set(self.cloud.statuses().values()), {"ONLINE"})
        sizes = [len(paras["devices"]) for paras in self.cloud.reported("add_sub_device_request")]
        self.assertEqual((sum(sizes), max(sizes) <= 50), (60, True))
        self.assertEqual((self.cloud.duplicates(), self.cloud.disorder("n"), self.complaints()), (0, [], []))
        self.assertEqual(self.gw.quarantine(), [])

    def test_an_answer_of_iotda_that_comes_late_and_twice_is_one(self):
        self.begin(auto_add=True)
        self.cloud.set(answer_after_s=0.3, n_answers=2)
        sent = self.burst(4, ["new", "pump-1"])
        self.wait_named(sent)
        self.assertEqual(self.reports("add_sub_device_request"), 1)
        self.assertEqual((self.cloud.duplicates(), self.complaints()), (0, []))
        self.assertEqual(self.gw.quarantine(), [])

    def test_a_session_of_iotda_that_ends_before_the_answer_asks_again(self):
        self.begin(auto_add=True)
        self.cloud.set(answers_events=False)
        sent = self.burst(2, ["new"])
        wait_for(lambda: self.reports("add_sub_device_request"), 20, "it is asked for")
        self.cloud.set(answers_events=True)
        self.cloud.kick(GATEWAY)
        self.wait_named(sent)
        self.assertEqual((self.cloud.disorder("n"), self.gw.quarantine()), ([], []))

    def test_an_answer_of_iotda_that_takes_long_is_waited_for_and_is_in_nobodys_way(self):
        self.begin(auto_add=True)
        self.cloud.set(answers_events=False)
        waiting = self.burst(1, ["new"])
        wait_for(lambda: self.reports("add_sub_device_request"), 20, "it is asked for")
        waiting |= self.burst(200, ["new"])
        self.wait_named(self.burst(40, PUMPS))
        self.assertEqual(self.gw.quarantine(), [])
        self.cloud.set(answers_events=True)
        self.cloud.kick(GATEWAY)
        self.wait_named(waiting)
        self.assertEqual((self.cloud.disorder("n"), self.gw.quarantine()), ([], []))

    def test_a_device_that_iotda_does_not_take_is_in_nobodys_way(self):
        self.begin(auto_add=True)
        self.cloud.refuse_node("new", "IOTDA.014099")
        sent = self.burst(40, ["new", "pump-1"])
        self.wait_named({(device, n) for device, n in sent if device == "pump-1"})
        self.gw.wait_log("not added sub-device \"new\" \\(IOTDA.014099\\)")
        wait_for(lambda: len(self.gw.quarantine()) == 20, 20, "what it says is in quarantine")
        self.assertIn("IOTDA.014099", self.gw.quarantine()[0][1])
        self.cloud.add_sub_device("by-hand", node_id="new")
        self.wait_named(self.burst(1, ["new"]), new="by-hand")
        retry = subprocess.run([CTL, "quarantine", "retry", "--all", "--link", "hw", "--state", self.gw.state],
                               capture_output=True, timeout=60)
        self.assertEqual(retry.returncode, 0, retry)
        self.wait_named({(device, n) for device, n in sent if device == "new"}, new="by-hand")
        self.assertEqual((self.cloud.duplicates(), self.complaints()), (0, []))

    def test_a_device_that_is_taken_out_of_service_is_deleted_in_iotda(self):
        self.site, self.cloud = self.field(), self.huawei()
        self.gw = self.gateway(self.site, clouds=[self.huawei_config(self.cloud)], start=False, mappings=[
            {"topic": "service/{device}/remove", "request": {"kind": "delete", "response": "service/{device}/removed"}},
            MAPPING])
        self.gw.start()
        self.site.wait_subscribed(self.gw.client_id())
        self.device = self.publisher(self.site)
        self.wait_named(self.burst(3, PUMPS))
        fitter = FieldDevice(self.site.port).subscribe("service/+/removed")
        self.addCleanup(fitter.close)
        fitter.publish("service/pump-2/remove", {})
        self.assertEqual(fitter.wait_for("service/pump-2/removed"), {"result": {}})
        self.assertNotIn("p1_pump-2", self.cloud.sub_devices())
        fitter.publish("service/pump-9/remove", {})
        error = fitter.wait_for("service/pump-9/removed")["error"]
        self.assertEqual((error["code"], "IOTDA.014000" in error["text"]), ("refused", True))
        self.burst(1, ["pump-2"])
        self.wait_named(self.burst(1, ["pump-1"]))
        self.assertEqual((self.cloud.values("n", "p1_pump-2"), self.complaints()), ([0], []))

    def test_what_is_deleted_in_iotda_is_mute_over_a_restart_until_it_is_added_again(self):
        self.begin()
        self.wait_named(self.burst(3, PUMPS))
        self.cloud.delete_sub_device("p1_pump-2")
        self.gw.wait_log("has deleted pump-2")
        self.burst(3, ["pump-2"])
        self.wait_named(self.burst(1, ["pump-1"]))
        self.assertEqual(self.gw.term(), 0)
        self.gw.start()
        self.burst(3, ["pump-2"])
        self.wait_named(self.burst(1, ["pump-1"]))
        self.assertEqual(self.cloud.values("n", "p1_pump-2"), [0])
        self.cloud.add_sub_device("p1_pump-2")
        self.gw.wait_log("has pump-2 again")
        self.wait_named(self.burst(1, ["pump-2"]))
        wait_for(lambda: self.cloud.statuses()["p1_pump-2"] == "ONLINE", 20, "it is online")
        self.assertEqual((self.cloud.values("n", "p1_pump-2"), self.complaints()), ([0, 7], []))
