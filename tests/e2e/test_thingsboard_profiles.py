"""Device profiles of the kind protobuf: the stand-in takes nothing else from these, and decodes by itself."""
from field_device import FieldDevice
from frame import MAPPING, EndToEnd, wait_for
from thingsboard.protobuf import field, repeated

# message Reading { double t = 1; double h = 2; } message About { string serial = 2; }
# message Call { string method = 1; int32 requestId = 2; string params = 3; } message Reply { string payload = 1; }
SCHEMA = {"Reading": [("t", 1, 1), ("h", 2, 1)], "About": [("serial", 2, 9)],
          "Call": [("method", 1, 9), ("requestId", 2, 5), ("params", 3, 9)], "Reply": [("payload", 1, 9)]}


def compiled(messages):
    """What protoc --descriptor_set_out makes of it, after google/protobuf/descriptor.proto."""
    described = [field(1, name) + repeated(2, [
        field(1, member) + field(3, number) + field(4, 1) + field(5, kind) for member, number, kind in members])
        for name, members in messages.items()]
    return repeated(1, [field(1, "meter.proto") + field(2, "plant") + repeated(4, described) + field(12, "proto3")])


COMMANDS = [{"topic": "cmd/{device}/{command}", "payload": '{"id": {id}, "params": {params}}',
             "response": {"topic": "cmd/{device}/response", "correlate": "$.id", "result": "$.result"}}]
MAPPINGS = [
    {"topic": "ask/{device}", "request": {"kind": "attributes", "response": "answer/{device}"}},
    {"topic": "call/{device}", "request": {"kind": "rpc", "response": "answer/{device}"}},
    {"topic": "claim/{device}", "request": {"kind": "claim", "response": "answer/{device}"}},
    {"topic": "status/{device}", "presence": {}},
    {"topic": "about/{device}", "attributes": "all"},
    {"topic": "own/{device}", "telemetry": "all"},
    {"topic": "raw/{device}", "time": "$.ts", "telemetry": {
        "temperature": "$.temperature", "humidity": "$.humidity", "other": "$.other", "innerObject": "$.inner"}},
    MAPPING,
]


class ProtobufTest(EndToEnd):
    def begin(self, token, **options):
        self.site = self.field()
        self.cloud = self.thingsboard(devices=[
            {"name": "the gateway", "gateway": True, "protobuf": True, "token": "G"},
            {"name": "the meter", "protobuf": True, "token": "D"}])
        self.gw = self.gateway(self.site, self.cloud, start=False, mappings=MAPPINGS, clouds=[
            self.cloud_config(self.cloud, access_token=token, payload="protobuf", **options)])
        self.gw.config.update(configs=[{"topic": "config/{device}"}], commands=COMMANDS)
        self.gw.start()
        self.site.wait_subscribed(self.gw.client_id())
        wait_for(lambda: self.cloud.events("connect"), 20)
        self.device = FieldDevice(self.site.port)
        self.addCleanup(self.device.close)
        self.device.subscribe("answer/#", "config/#", "cmd/+/set")

    def answer(self, name, result):
        body = self.device.wait_for("cmd/%s/set" % name)
        self.device.publish("cmd/%s/response" % name, {"id": body["id"], "result": result})
        return body["params"]

    def publishes(self, topic):
        return [body for _, body in self.cloud.publishes(topic)]

    def assert_all_is_protobuf(self):
        self.assertEqual([e["topic"] for e in self.cloud.events("publish") if "protobuf" not in e], [])
        self.assertEqual(self.cloud.complaints(), [])


class GatewayProfile(ProtobufTest):
    def begin(self, **options):
        super().begin("G", **options)

    def test_a_protobuf_gateway_sends_everything_and_loses_nothing(self):
        self.begin()
        publisher = self.publisher(self.site)
        publisher.burst(300, ("pump-1", "pump-2"))
        self.cloud.outage()
        publisher.burst(3000, ("pump-1", "pump-2", "pump-3"))
        publisher.wait_acked()
        self.cloud.resume()
        self.wait_delivered(self.cloud, publisher.sent)
        self.assertEqual((self.cloud.duplicates(), self.cloud.disorder("n")), (0, []))
        self.assert_all_is_protobuf()

    def test_a_protobuf_gateway_keeps_types_and_attributes(self):
        self.begin()
        self.device.publish("raw/pump-1", '{"temperature":-1e-20,"humidity":"0012","other":-9223372036854775808,'
                                          '"inner":{"a":[1,true]},"ts":1718000000123}')
        self.device.publish("about/pump-1", {"serial": "X-9", "hall": 2, "spare": False})
        wait_for(lambda: self.cloud.client_attributes("pump-1") == {"serial": "X-9", "hall": 2, "spare": False}, 20)
        wait_for(lambda: self.publishes("v1/gateway/telemetry"), 20)
        self.assertEqual(self.publishes("v1/gateway/telemetry")[0], {"pump-1": [{"ts": 1718000000123, "values": {
            "temperature": -1e-20, "humidity": "0012", "other": -9223372036854775808,
            "innerObject": {"a": [1, True]}}}]})
        self.device.publish("status/pump-1", "offline")
        wait_for(lambda: self.publishes("v1/gateway/disconnect") == [{"device": "pump-1"}], 20)

    def test_a_protobuf_gateway_takes_commands_and_attributes_down(self):
        self.begin(shared_attributes="interval")
        self.device.publish("sensors/pump-1/climate", {"n": 1})
        wait_for(lambda: self.cloud.is_connected("pump-1"), 20)
        rpc = self.cloud.rpc_begin("pump-1", "set", {"rpm": 900})
        self.assertEqual(self.answer("pump-1", {"ok": True}), {"rpm": 900})
        self.assertEqual(rpc.wait(), {"ok": True})
        self.cloud.set_shared("pump-1", {"interval": 15, "factor": 1.5, "on": True, "name": "x"})
        self.device.wait_last("config/pump-1", {"interval": 15, "factor": 1.5, "on": True, "name": "x"})
        self.cloud.delete_shared("pump-1", "factor", "on")
        self.device.wait_last("config/pump-1", {"interval": 15, "name": "x"})
        self.device.publish("ask/pump-1", {"shared": ["interval", "none"]})
        self.assertEqual(self.device.wait_for("answer/pump-1"),
                         {"result": {"client": {}, "shared": {"interval": 15}}})
        self.device.publish("claim/pump-1", {"secretKey": "s", "durationMs": 60000})
        wait_for(lambda: [c["duration_ms"] for c in self.cloud.claims()] == [60000], 20)
        self.cloud.rpc("pump-1", "set", 3, oneway=True)
        self.assertEqual(self.device.wait_for("cmd/pump-1/set", 2)["params"], 3)
        self.assert_all_is_protobuf()

    def test_a_protobuf_gateway_follows_a_rename(self):
        self.begin()
        self.device.publish("sensors/pump-1/climate", {"n": 1})
        wait_for(lambda: self.cloud.is_connected("pump-1"), 20)
        self.cloud.rename("pump-1", "north pump")
        self.gw.wait_log("calls pump-1 now north pump")
        self.device.publish("sensors/pump-1/climate", {"n": 2})
        wait_for(lambda: 2 in self.cloud.values("n", "north pump"), 20)
        self.assert_all_is_protobuf()


class DeviceProfile(ProtobufTest):
    def begin(self, **options):
        super().begin("D", mode="device", device="meter-1", **options)

    def test_a_protobuf_device_sends_what_its_profile_has_fields_for(self):
        self.begin()
        self.device.publish("raw/meter-1", {"temperature": 21.5, "humidity": 40, "other": 1,
                                            "inner": {"key1": "a", "key2": True, "key3": 2.5, "key4": -7}})
        self.device.publish("about/meter-1", {"serialNumber": "X-9", "stranger": 1})
        wait_for(lambda: self.cloud.client_attributes("the meter") == {"serialNumber": "X-9"}, 20)
        self.assertEqual(self.publishes("v1/devices/me/telemetry"), [{
            "temperature": 21.5, "humidity": 40.0,
            "innerObject": {"key1": "a", "key2": True, "key3": 2.5, "key4": -7}}])
        self.gw.wait_log("no field for")
        self.assert_all_is_protobuf()

    def test_a_protobuf_device_takes_commands_attributes_and_answers(self):
        self.begin()
        wait_for(lambda: self.cloud.is_subscribed("the meter", "v1/devices/me/rpc/request/+"), 20)
        self.device.publish("about/meter-1", {"serialNumber": "X-9"})
        wait_for(lambda: self.cloud.client_attributes("the meter"), 20)
        rpc = self.cloud.rpc_begin("the meter", "set", {"valve": "open"})
        self.assertEqual(self.answer("meter-1", {"done": 1}), {"valve": "open"})
        self.assertEqual(rpc.wait(), {"done": 1})
        self.cloud.set_shared("the meter", {"interval": 15})
        self.device.wait_last("config/meter-1", {"interval": 15})
        self.device.publish("ask/meter-1", {"client": ["serialNumber"], "shared": ["interval"]})
        self.assertEqual(self.device.wait_for("answer/meter-1"),
                         {"result": {"client": {"serialNumber": "X-9"}, "shared": {"interval": 15}}})
        self.cloud.answer_client_rpc("getTime", {"time": 1})
        self.device.publish("call/meter-1", {"method": "getTime", "params": {"zone": 1}})
        self.assertEqual(self.device.wait_for("answer/meter-1", 2), {"result": {"time": 1}})
        self.assert_all_is_protobuf()

    def test_a_profile_with_messages_of_its_own_is_spoken_from_its_schema(self):
        with open(self.path("meter.desc"), "wb") as f:
            f.write(compiled(SCHEMA))
        self.begin(schema=self.path("meter.desc"), telemetry_message="plant.Reading", attributes_message="About",
                   rpc_request_message="Call", rpc_response_message="Reply")
        wait_for(lambda: self.cloud.is_subscribed("the meter", "v1/devices/me/rpc/request/+"), 20)
        self.device.publish("own/meter-1", {"t": 21.5, "h": 40, "temperature": 1})
        self.device.publish("about/meter-1", {"serial": "X-9"})
        # The stand-in has the messages of a new profile: it calls the same numbers by other names.
        wait_for(lambda: self.cloud.client_attributes("the meter") == {"serialNumber": "X-9"}, 20)
        self.assertEqual(self.publishes("v1/devices/me/telemetry"), [{"temperature": 21.5, "humidity": 40.0}])
        rpc = self.cloud.rpc_begin("the meter", "set", {"valve": "open"})
        self.assertEqual(self.answer("meter-1", {"done": 1}), {"valve": "open"})
        self.assertEqual(rpc.wait(), {"done": 1})
        self.assert_all_is_protobuf()

    def test_a_schema_that_is_not_compiled_is_refused_at_the_start(self):
        with open(self.path("meter.proto"), "w") as f:
            f.write('syntax = "proto3"; message Reading { double t = 1; }')
        gateway = self.gateway(start=False, brokers=[{"name": "field", "url": "mqtt://127.0.0.1:1"}], clouds=[{
            "name": "tb", "plugin": "thingsboard", "url": "mqtt://127.0.0.1:1", "access_token": "D", "mode": "device",
            "payload": "protobuf", "schema": self.path("meter.proto")}])
        status, text = gateway.check()
        self.assertNotEqual(status, 0)
        self.assertIn("protoc --descriptor_set_out", text)
