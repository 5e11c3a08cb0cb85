"""fieldgatectl roundtrip between the real daemon, a real field broker and the stand-in for IoTDA's application API."""
import json

from cloudsim import GATEWAY, SECRET, Huawei
from huawei.cloud import PROJECT_ID
from huawei.iam import DOMAIN, PASSWORD, USER
from test_roundtrip import ALL_MEMBERS, COMMANDS, DOWN, UP, Device, Trips

PUMP = "p1_pump-1"


class HuaweiRoundTrip(Trips):
    SECRETS = (PASSWORD, SECRET, "wrong-secret", "MII", "X-Auth-Token")

    def begin(self, device_answers=True, model=None, instance_id=None, commands=tuple(COMMANDS), sub_device=PUMP,
              **options):
        self.site = self.field()
        self.cloud = Huawei(sub_devices=[sub_device], model=model, instance_id=instance_id).start()
        self.addCleanup(self.cloud.stop)
        link = dict({"name": "hw", "plugin": "huawei", "url": "mqtt://127.0.0.1:%d" % self.cloud.port,
                     "device_id": GATEWAY, "secret": SECRET, "product_id": "p1"}, **options)
        self.gw = self.gateway(self.site, clouds=[{k: v for k, v in link.items() if v is not None}],
                               mappings=[ALL_MEMBERS], start=False)
        self.gw.config["commands"] = list(commands)
        self.gw.start()
        self.site.wait_subscribed(self.gw.client_id())
        if device_answers:
            self.device = Device(self.site.port)
            self.addCleanup(self.device.close)

    def account(self, **changed):
        """A file with what @changed leaves of it; what is None is not there."""
        account = {"url": self.cloud.rest_url, "iam_url": self.cloud.iam_url, "project_id": PROJECT_ID,
                   "domain": DOMAIN, "username": USER, "password": {"file": self.path("password")}}
        account.update(changed)
        with open(self.path("password"), "w") as f:
            f.write(PASSWORD)
        with open(self.path("account.yaml"), "w") as f:
            json.dump({key: value for key, value in account.items() if value is not None}, f)
        return self.path("account.yaml")

    def token_account(self, **changed):
        with open(self.path("token"), "w") as f:
            f.write(self.cloud.rest_token)
        return self.account(iam_url=None, domain=None, username=None, password=None, token={"file": self.path("token")},
                            **changed)

    # ---- in order

    def test_a_reading_and_a_command_make_the_round_trip_through_iotda(self):
        self.begin()
        status, out, err = self.trip(self.gw, self.account(), "--method", "START", "--params", '{"rpm": 900}')
        self.assertEqual((status, err), (0, ""), out)
        lines = out.splitlines()
        self.assertEqual([line.split()[0] for line in lines if line.startswith("  ")], ["ok"] * 9, out)
        self.assertRegex(lines[-1], r"^in order: up in \d+ ms, down and back in \d+ ms$")
        self.assertEqual([json.loads(payload) for _, payload in self.device.commands], [{"params": {"rpm": 900}}])
        [(device, _, key, value)] = self.cloud.samples()
        self.assertEqual((device, key), (PUMP, "fieldgate_roundtrip"))
        self.assertIn("fieldgate_roundtrip = %d, stamped 20" % value, out)
        self.assertIn('{"rpm": 900}', out)

    def test_the_gateway_itself_makes_it_with_a_token_that_is_given(self):
        self.begin(device_answers=False, instance_id="i-1", devices={"rename": {"gw": GATEWAY}})
        status, hops, _ = self.hops(self.gw, self.token_account(instance_id="i-1"), "--method", "reboot", "--answer",
                                    device="gw")
        self.assertEqual((status, set(self.states(hops).values())), (0, {"ok"}), hops)
        self.assertEqual({d for d, _, _, _ in self.cloud.samples()}, {GATEWAY})

    def test_a_device_with_a_connection_of_its_own_makes_it_under_its_name_here(self):
        self.begin(mode="device", product_id=None, device="pump-1", event_time="milliseconds")
        status, hops, _ = self.hops(self.gw, self.token_account(), "--method", "START")
        self.assertEqual((status, set(self.states(hops).values())), (0, {"ok"}), hops)
        self.assertEqual({d for d, _, _, _ in self.cloud.samples()}, {GATEWAY})

    def test_a_device_that_iotda_calls_otherwise_makes_it_under_the_id_that_is_given(self):
        self.begin(sub_device="odd_pump-1")
        status, hops, _ = self.hops(self.gw, self.token_account(), "--cloud-device", "odd_pump-1", "--method", "START")
        self.assertEqual((status, set(self.states(hops).values())), (0, {"ok"}), hops)
        self.assertEqual({d for d, _, _, _ in self.cloud.samples()}, {"odd_pump-1"})

    def test_a_command_that_is_called_by_its_service_is_one_of_that_service(self):
        self.begin(command_names="service")
        status, hops, _ = self.hops(self.gw, self.token_account(), "--method", "pump.START")
        self.assertEqual(status, 0, hops)
        [down] = [json.loads(e["payload"]) for e in self.cloud.events("down") if "/commands/" in e["topic"]]
        self.assertEqual((down["service_id"], down["command_name"]), ("pump", "START"))

    # ---- out of order

    def test_a_user_that_iam_does_not_know_is_told_and_the_password_is_not_shown(self):
        self.begin(device_answers=False)
        for changed, said in (({"password": {"env": "ROUNDTRIP_SECRET"}}, "user name and password"),
                              ({"project_id": "another"}, "project_id")):
            status, hops, result = self.hops(self.gw, self.account(**changed), env={"ROUNDTRIP_SECRET": "wrong-secret"})
            self.assertEqual(status, 1)
            self.fails_at(hops, result, "login", *UP[2:])
            self.assertIn(said, hops["login"]["text"])
        self.assertEqual(self.cloud.samples(), [])

    def test_an_instance_that_is_not_named_is_told(self):
        self.begin(device_answers=False, instance_id="i-1")
        status, hops, result = self.hops(self.gw, self.token_account())
        self.assertEqual(status, 1)
        self.fails_at(hops, result, "in_cloud")
        self.assertIn("instance_id", hops["in_cloud"]["text"])

    def test_a_property_that_the_product_does_not_have_is_told(self):
        self.begin(device_answers=False, model={"default": {"n": "int"}})
        status, hops, result = self.hops(self.gw, self.token_account(), "--timeout", "1")
        self.assertEqual(status, 1)
        self.fails_at(hops, result, "in_cloud")
        self.assertIn('property "fieldgate_roundtrip"', hops["in_cloud"]["text"])

    def test_a_device_that_iotda_does_not_know_is_told_with_the_ids_it_could_have(self):
        self.begin(device_answers=False)
        status, hops, result = self.hops(self.gw, self.token_account(), "--timeout", "1", device="pump-9")
        self.assertEqual(status, 1)
        self.fails_at(hops, result, "in_cloud")
        self.assertIn("neither p1_pump-9 nor pump-9", hops["in_cloud"]["text"])

    def test_a_device_that_is_silent_is_told_by_the_gateway(self):
        self.begin(device_answers=False, commands=[dict(COMMANDS[0], timeout="1s")])
        status, hops, result = self.hops(self.gw, self.token_account(), "--method", "START")
        self.assertEqual(status, 1)
        self.fails_at({k: v for k, v in hops.items() if k != "rest_answer"}, result, "answer")
        self.assertEqual([hops[name]["state"] for name in DOWN], ["ok", "failed", "failed"])
        self.assertIn("result_code 8", hops["rest_answer"]["text"])

    def test_who_waits_for_less_than_the_device_may_take_is_not_sent_to_look_at_the_account(self):
        self.begin(device_answers=False, commands=[dict(COMMANDS[0], timeout="30s")])
        status, hops, result = self.hops(self.gw, self.token_account(), "--method", "START", "--timeout", "1")
        self.assertEqual((status, result["failed"]), (1, "answer"))
        self.assertIn("--timeout", hops["rest_answer"]["advice"])

    def test_an_answer_that_does_not_come_in_time_for_iotda_is_told(self):
        self.begin(device_answers=False)
        self.cloud.set(command_timeout_s=0.2)
        status, hops, result = self.hops(self.gw, self.token_account(), "--method", "START")
        self.assertEqual((status, result["failed"]), (1, "answer"))
        self.assertIn("IOTDA.014111", hops["rest_answer"]["text"])

    def fault(self, status, said):
        self.begin(device_answers=False)
        account = self.token_account()
        self.cloud.break_rest(status)
        status, hops, result = self.hops(self.gw, account, "--timeout", "1")
        self.assertEqual(status, 1)
        self.fails_at(hops, result, "in_cloud")
        self.assertIn(said, hops["in_cloud"]["text"])

    def test_an_interface_of_iotda_that_is_overloaded_is_told(self):
        self.fault(429, "more often")

    def test_an_interface_of_iotda_that_is_broken_is_told(self):
        self.fault(500, "HTTP status 500")

    def test_an_account_that_says_too_little_is_refused_before_anything_is_sent(self):
        self.begin(device_answers=False)
        for changed, said in (({"domain": None}, "domain"), ({"project_id": None}, "project_id"),
                              ({"tokn": "x"}, "did you mean")):
            status, out, err = self.trip(self.gw, self.account(**changed))
            self.assertEqual((status, out), (1, ""))
            self.assertIn(said, err)
        self.assertEqual(self.cloud.samples(), [])
