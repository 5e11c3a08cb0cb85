"""Huawei Cloud IoTDA: what it is told of sub-devices that come and go."""
from cloudsim import GATEWAY
from field_device import FieldDevice
from frame import wait_for
from test_huawei_gateway import PUMPS, HuaweiTest, in_iotda


class Status(HuaweiTest):
    def begin(self, **options):
        super().begin(**options)
        self.device.burst(10, PUMPS)
        self.wait_delivered(self.cloud, in_iotda(self.device.sent))
        return self

    def wait_statuses(self, **wanted):
        wanted = {"p1_" + name.replace("_", "-"): status for name, status in wanted.items()}
        wait_for(lambda: self.cloud.statuses() == wanted, 20, "the statuses are %s" % wanted)

    def test_iotda_is_told_which_sub_devices_are_there(self):
        self.begin()
        self.wait_statuses(pump_1="ONLINE", pump_2="ONLINE", pump_3="ONLINE")
        pump = FieldDevice(self.site.port)
        self.addCleanup(pump.close)
        pump.publish("status/pump-2", "offline")
        self.wait_statuses(pump_1="ONLINE", pump_2="OFFLINE", pump_3="ONLINE")
        n = len(self.cloud.reported("sub_device_update_status"))
        self.cloud.kick(GATEWAY)
        wait_for(lambda: len(self.cloud.reported("sub_device_update_status")) > n, 20, "all are told again")
        again = self.cloud.reported("sub_device_update_status")[n]["device_statuses"]
        self.assertEqual({e["device_id"]: e["status"] for e in again}, self.cloud.statuses())
        self.device.burst(10, PUMPS)
        self.wait_delivered(self.cloud, in_iotda(self.device.sent))
        self.wait_statuses(pump_1="ONLINE", pump_2="ONLINE", pump_3="ONLINE")
        self.assertEqual((self.cloud.disorder("n"), self.complaints()), ([], []))

    def test_who_is_silent_after_a_restart_is_not_there_any_more(self):
        self.begin(offline_after="1s")
        self.assertEqual(self.gw.term(), 0)
        before = len(self.cloud.reported("sub_device_update_status"))
        self.gw.start()
        wait_for(lambda: self.gw.is_up() and len(self.cloud.events("connect")) == 2, 20, "the gateway is back")
        self.device.burst(1, ["pump-1"])
        self.wait_statuses(pump_1="ONLINE", pump_2="OFFLINE", pump_3="OFFLINE")
        told = [(e["device_id"], e["status"]) for paras in self.cloud.reported("sub_device_update_status")[before:]
                for e in paras["device_statuses"]]
        self.assertEqual(sorted(told), [("p1_pump-1", "ONLINE"), ("p1_pump-2", "OFFLINE"), ("p1_pump-3", "OFFLINE")])
        self.device.burst(3, PUMPS)
        self.wait_statuses(pump_1="ONLINE", pump_2="ONLINE", pump_3="ONLINE")
        self.assertEqual((self.cloud.disorder("n"), self.complaints()), ([], []))
