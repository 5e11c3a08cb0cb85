"""ThingsBoard's device API, topic by topic: one device with a token of its own. In both spellings of the topics."""
import paho.mqtt.client as paho

from field_device import FieldDevice
from frame import MAPPING, EndToEnd, wait_for

TOKEN = "DEVICE-TOKEN"
MAPPINGS = [
    {"topic": "ask/{device}/attributes", "request": {"kind": "attributes", "response": "answer/{device}"}},
    {"topic": "call/{device}", "request": {"kind": "rpc", "response": "answer/{device}", "timeout": "15s"}},
    {"topic": "claim/{device}", "request": {"kind": "claim", "response": "answer/{device}"}},
    {"topic": "modern/{device}/call", "request": {"kind": "rpc"}},
    {"topic": "about/{device}", "attributes": "all"},
    MAPPING,
]
LONG = {"t": "v1/devices/me/telemetry", "a": "v1/devices/me/attributes", "ask": "v1/devices/me/attributes/request/",
        "call": "v1/devices/me/rpc/request/"}
SHORT = {"t": "v2/t", "a": "v2/a", "ask": "v2/a/req/", "call": "v2/r/req/"}


class DeviceTest(EndToEnd):
    topics = LONG
    options = {}

    def begin(self, device="meter-1", **options):
        self.site = self.field()
        self.cloud = self.thingsboard(devices=[{"name": "the meter", "gateway": False, "token": TOKEN}])
        self.gw = self.gateway(self.site, self.cloud, start=False, mappings=MAPPINGS, clouds=[self.cloud_config(
            self.cloud, mode="device", access_token=TOKEN, device=device, **dict(self.options, **options))])
        self.gw.config["configs"] = [{"topic": "config/{device}"}]
        self.gw.config["commands"] = [{"topic": "cmd/{device}/{command}", "response": {"topic": "cmd/{device}/answer"}}]
        self.gw.start()
        self.site.wait_subscribed(self.gw.client_id())
        wait_for(lambda: self.cloud.is_subscribed("the meter", self.topics["a"]), 20, "the cloud sees a subscription")
        self.device = FieldDevice(self.site.port)
        self.addCleanup(self.device.close)
        self.device.subscribe("answer/#", "config/#", "cmd/+/set")

    def bodies(self, topic):
        return [body for _, body in self.cloud.publishes(topic)]


class LongTopics(DeviceTest):
    def test_a_devices_telemetry_and_attributes_arrive(self):
        self.begin()
        self.device.publish("sensors/meter-1/climate", {"n": 1, "ts": 1718000000001})
        self.device.publish("sensors/another/climate", {"n": 9, "ts": 1718000000009})
        self.device.publish("about/meter-1", {"serial": "X-9"})
        wait_for(lambda: self.cloud.client_attributes("the meter") == {"serial": "X-9"}, 20)
        self.assertEqual(self.bodies(self.topics["t"]), [{"ts": 1718000000001, "values": {"n": 1}}])
        self.assertEqual(self.bodies(self.topics["a"]), [{"serial": "X-9"}])
        self.assertEqual(self.cloud.complaints(), [])

    def test_a_devices_backlog_goes_out_in_arrays(self):
        self.begin()
        self.cloud.outage()
        for n in range(50):
            self.device.publish("sensors/meter-1/climate", {"n": n, "ts": 1718000000000 + n})
        self.cloud.resume()
        wait_for(lambda: self.cloud.values("n") == list(range(50)), 60, "all arrive in order")
        self.assertTrue(any(isinstance(body, list) and len(body) > 10 for body in self.bodies(self.topics["t"])))

    def test_a_devices_shared_attributes_are_fetched_updated_and_deleted(self):
        self.begin()
        self.cloud.set_shared("the meter", {"interval": 15, "mode": "eco"})
        self.device.wait_last("config/meter-1", {"interval": 15, "mode": "eco"})
        self.cloud.delete_shared("the meter", "mode")
        self.device.wait_last("config/meter-1", {"interval": 15})
        self.cloud.outage()
        self.cloud.set_shared("the meter", {"interval": 60})
        self.cloud.resume()
        self.device.wait_last("config/meter-1", {"interval": 60}, 60)
        self.assertEqual(self.cloud.complaints(), [])

    def test_a_device_asks_for_attributes_with_its_own_token(self):
        self.begin()
        self.device.publish("about/meter-1", {"serial": "X-9"})
        wait_for(lambda: self.cloud.client_attributes("the meter"), 20)
        self.cloud.set(shared={"the meter": {"interval": 15}})
        self.device.publish("ask/meter-1/attributes", {"client": ["serial", "none"], "shared": ["interval"]})
        self.assertEqual(self.device.wait_for("answer/meter-1"),
                         {"result": {"client": {"serial": "X-9"}, "shared": {"interval": 15}}})
        asked = [t for t, _ in self.cloud.publishes() if t.startswith(self.topics["ask"])]
        self.assertEqual([self.bodies(topic) for topic in asked],  # the gateway fetches all by itself, first
                         [[{}], [{"clientKeys": "serial,none", "sharedKeys": "interval"}]])

    def test_a_device_calls_the_rule_chain_and_gets_its_answer(self):
        self.begin()
        self.cloud.answer_client_rpc("getTime", lambda device, params: {"for": device, "got": params})
        self.device.publish("call/meter-1", {"method": "getTime", "params": {"zone": "UTC"}})
        self.assertEqual(self.device.wait_for("answer/meter-1"),
                         {"result": {"for": "the meter", "got": {"zone": "UTC"}}})
        self.assertEqual(self.cloud.complaints(), [])

    def test_a_call_nobody_answers_ends_in_an_error(self):
        self.begin()
        self.cloud.answer_client_rpc("other", {}, timeout_s=2)
        self.device.publish("call/meter-1", {"method": "getTime", "params": {}})
        self.assertIn("error", self.device.wait_for("answer/meter-1"))

    def test_a_command_of_a_device_is_answered_with_its_own_token(self):
        self.begin()
        rpc = self.cloud.rpc_begin("the meter", "set", {"valve": "open"})
        self.assertEqual(self.device.wait_for("cmd/meter-1/set"), {"valve": "open"})
        self.device.publish("cmd/meter-1/answer", {"done": True})
        self.assertEqual(rpc.wait(), {"done": True})
        self.assertEqual(self.cloud.complaints(), [])

    def test_a_device_is_claimed(self):
        self.begin()
        self.device.publish("claim/meter-1", {"secretKey": "s3", "durationMs": 60000})
        wait_for(lambda: self.cloud.claims(), 20, "the claim")
        self.assertEqual([(c["device"], c["secret"], c["duration_ms"]) for c in self.cloud.claims()],
                         [("the meter", "s3", 60000)])
        self.assertIn("result", self.device.wait_for("answer/meter-1"))


class ShortTopics(DeviceTest):
    """The same with topics: v2, and with MQTT 5 at the device."""
    topics = SHORT
    options = {"topics": "v2"}

    test_short_topics_carry_telemetry_and_attributes = LongTopics.test_a_devices_telemetry_and_attributes_arrive
    test_short_topics_carry_shared_attributes = \
        LongTopics.test_a_devices_shared_attributes_are_fetched_updated_and_deleted
    test_short_topics_carry_questions = LongTopics.test_a_device_asks_for_attributes_with_its_own_token
    test_short_topics_carry_commands = LongTopics.test_a_command_of_a_device_is_answered_with_its_own_token
    test_short_topics_carry_calls = LongTopics.test_a_device_calls_the_rule_chain_and_gets_its_answer

    def test_an_answer_goes_to_the_response_topic_with_its_correlation_data(self):
        self.begin()
        self.cloud.answer_client_rpc("getTime", 12)
        modern = FieldDevice(self.site.port, "modern", paho.MQTTv5).subscribe("back/here")
        self.addCleanup(modern.close)
        modern.publish("modern/meter-1/call", {"method": "getTime"}, b"\x00c-7", "back/here")
        self.assertEqual(modern.wait_for("back/here"), {"result": 12})
        self.assertEqual(modern.properties[-1].CorrelationData, b"\x00c-7")
        self.assertTrue([t for t, _ in self.cloud.publishes() if t.startswith("v2/r/req/")])


class Limits(DeviceTest):
    def test_a_session_limit_of_a_device_is_kept(self):
        self.site = self.field()
        self.cloud = self.thingsboard(devices=[{"name": "the meter", "gateway": False, "token": TOKEN}])
        self.cloud.set(limits={"maxPayloadSize": 65536, "maxInflightMessages": 100, "rateLimits": {
            "messages": "20:1", "telemetryMessages": "10:1", "telemetryDataPoints": "20:1"}}, enforce_limits=True)
        self.gw = self.gateway(self.site, self.cloud, clouds=[self.cloud_config(
            self.cloud, mode="device", access_token=TOKEN)])
        self.site.wait_subscribed(self.gw.client_id())
        device = FieldDevice(self.site.port)
        self.addCleanup(device.close)
        for n in range(100):
            device.publish("sensors/meter-1/climate", {"n": n, "ts": 1718000000000 + n})
        wait_for(lambda: self.cloud.values("n") == list(range(100)), 60, "all arrive in order")
        self.assertEqual((len(self.cloud.events("connect")), self.cloud.complaints()), (1, []))
