"""Telemetry, attributes and logins: what works on a good day."""
import json
import os

import paho.mqtt.client as paho

from frame import Certificates, EndToEnd, FIRST_TS, MAPPING, wait_for


class Flow(EndToEnd):
    def flow(self, broker_more=None, cloud_more=None, field=None, cloud=None, publisher=None, **how):
        """Ten samples of two devices arrive, once, in order, with the device's time."""
        field, cloud = field or self.field(), cloud or self.thingsboard()
        gateway = self.running(field, cloud, brokers=[self.broker_config(field, **(broker_more or {}))],
                               clouds=[self.cloud_config(cloud, **(cloud_more or {}))], **how)
        publisher = self.publisher(field, **(publisher or {}))
        publisher.burst(10, ("pump-1", "pump-2"))
        self.wait_delivered(cloud, publisher.sent)
        self.assertEqual(sorted((d, ts - FIRST_TS, v) for d, ts, k, v in cloud.samples() if k == "n"),
                         [(d, n, n) for d in ("pump-1", "pump-2") for n in range(5)])
        self.assertEqual((cloud.disorder("n"), cloud.complaints()), ([], []))
        return gateway, cloud, field

    def test_telemetry_arrives_over_3_1_1(self):
        _, cloud, field = self.flow({"mqtt_version": "3.1.1"}, {"mqtt_version": "3.1.1"})
        self.assertEqual(cloud.events("connect")[0]["version"], 4)
        self.assertRegex(field.log(), r"as fieldgate-gw-field \(p2, c0")

    def test_telemetry_arrives_over_5(self):
        _, cloud, field = self.flow({"mqtt_version": "5"}, {"mqtt_version": "5"})
        self.assertEqual(cloud.events("connect")[0]["version"], 5)
        self.assertRegex(field.log(), r"as fieldgate-gw-field \(p5, c0")

    def test_telemetry_arrives_from_5_to_3_1_1(self):
        self.flow({"mqtt_version": "5"}, {"mqtt_version": "3.1.1"})

    def test_without_a_version_5_is_spoken(self):
        _, cloud, field = self.flow(publisher={"version": paho.MQTTv5})
        self.assertEqual(cloud.events("connect")[0]["version"], 5)
        self.assertRegex(field.log(), r"as fieldgate-gw-field \(p5, c0")

    def test_user_and_password_on_both_sides(self):
        field = self.field(start=False).use_passwords(gateway="s3cret", device="other")
        field.start()
        with open(self.path("field.pw"), "w") as f:
            f.write("s3cret\n")
        cloud = self.thingsboard(devices=[{"name": "g", "gateway": True, "basic": {
            "username": "cloud-user", "password": "cl0ud"}}])
        gateway, _, _ = self.flow(
            {"username": "gateway", "password": {"file": self.path("field.pw")}},
            {"access_token": None, "username": "cloud-user", "password": {"file": self.write("cl0ud")}},
            field=field, cloud=cloud, publisher={"username": "device", "password": "other"})
        self.assertNotIn("s3cret", gateway.log())
        self.assertNotIn("cl0ud", gateway.log())

    def write(self, text, name="secret"):
        path = self.path(name)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, 0o600)
        return path

    def test_tls_on_both_sides(self):
        site, world = Certificates(self.directory, "site"), Certificates(self.directory, "world")
        field = self.field(tls=site.issue("field-broker"))
        cloud = self.thingsboard(tls=world.issue("thingsboard.example"))
        self.flow({"url": "mqtts://localhost:%d" % field.port, "tls": {"ca": site.ca}},
                  {"url": "mqtts://127.0.0.1:%d" % cloud.port, "tls": {"ca": world.ca}},
                  field=field, cloud=cloud, publisher={"ca": site.ca})

    def test_a_client_certificate_is_the_login(self):
        world = Certificates(self.directory, "world")
        server = dict(world.issue("server"), require=True)
        mine = world.issue("gateway-7", password="the key's")
        cloud = self.thingsboard(tls=server, devices=[
            {"name": "g", "gateway": True, "certificate_sha256": world.sha256(mine["certificate"])}])
        self.flow({}, {"url": "mqtts://localhost:%d" % cloud.port, "access_token": None,
                       "tls": {"ca": world.ca, "certificate": mine["certificate"], "key": mine["key"],
                               "key_password": {"file": self.write("the key's")}}}, cloud=cloud)

    def test_a_device_is_announced_before_its_data(self):
        _, cloud, _ = self.flow()
        order = [(e["topic"], json.loads(e["payload"])) for e in cloud.events("publish")]
        for device in ("pump-1", "pump-2"):
            connect = next(i for i, (t, b) in enumerate(order)
                           if t == "v1/gateway/connect" and b["device"] == device)
            data = next(i for i, (t, b) in enumerate(order) if t == "v1/gateway/telemetry" and device in b)
            self.assertLess(connect, data)
        self.assertEqual([e["implicit"] for e in cloud.events("device")], [False, False])

    def test_attributes_arrive_as_attributes(self):
        field, cloud = self.field(), self.thingsboard()
        self.running(field, cloud, mappings=[
            {"topic": "sensors/{device}/about", "payload": "json",
             "attributes": {"serial": "$.serial", "place": {"from": "$.where.hall"}}}, MAPPING])
        publisher = self.publisher(field)
        publisher.raw("sensors/pump-1/about", '{"serial":"X-9","where":{"hall":2},"other":1}')
        publisher.burst(1)
        self.wait_delivered(cloud, publisher.sent)
        wait_for(lambda: cloud.attributes() == {"pump-1": {"serial": "X-9", "place": 2}}, 10, "attributes")
        self.assertEqual(cloud.complaints(), [])

    def test_numbers_keep_their_text(self):
        field, cloud = self.field(), self.thingsboard()
        self.running(field, cloud, mappings=[{"topic": "raw/{device}", "payload": "json"}])
        publisher = self.publisher(field)
        publisher.raw("raw/a", '{"big":9223372036854775807,"odd":9007199254740993,"price":21.50,"on":true}')
        wait_for(lambda: cloud.events("publish") and "big" in cloud.events("publish")[-1]["payload"], 20)
        payload = cloud.events("publish")[-1]["payload"]
        for text in ('"big":9223372036854775807', '"odd":9007199254740993', '"price":21.5', '"on":true'):
            self.assertIn(text, payload.replace(" ", ""))
        self.assertEqual(cloud.complaints(), [])

    def test_devices_are_chosen_and_renamed(self):
        field, cloud = self.field(), self.thingsboard()
        self.running(field, cloud, clouds=[self.cloud_config(cloud, devices={
            "include": ["pump-*"], "exclude": ["pump-3"], "rename": {"pump-1": "North pump"}})])
        publisher = self.publisher(field)
        publisher.burst(40, ("pump-1", "pump-2", "pump-3", "fan-1"))
        self.wait_delivered(cloud, [("North pump", n) for n in range(10)] + [("pump-2", n) for n in range(10)])
        self.assertEqual(sorted(cloud.devices()), ["North pump", "pump-2"])

    def test_two_clouds_both_get_everything(self):
        field = self.field()
        one, two = self.thingsboard(name="one"), self.thingsboard(name="two")
        self.running(field, one, clouds=[self.cloud_config(one, "one"), self.cloud_config(two, "two")])
        wait_for(lambda: two.events("connect"), 20)
        publisher = self.publisher(field)
        publisher.burst(1000, ("pump-1", "pump-2"))
        for cloud in (one, two):
            self.wait_delivered(cloud, publisher.sent)
            self.assertEqual((cloud.duplicates(), cloud.disorder("n"), cloud.complaints()), (0, [], []))

    def test_two_field_brokers_feed_one_cloud(self):
        left, right, cloud = self.field(name="left"), self.field(name="right"), self.thingsboard()
        gateway = self.gateway(brokers=[self.broker_config(left, "left"), self.broker_config(right, "right")],
                               clouds=[self.cloud_config(cloud)])
        left.wait_subscribed(gateway.client_id("left"))
        right.wait_subscribed(gateway.client_id("right"))
        publishers = [self.publisher(left), self.publisher(right)]
        publishers[0].burst(100, ("pump-1",))
        publishers[1].burst(100, ("pump-2",))
        self.wait_delivered(cloud, publishers[0].sent + publishers[1].sent)
        self.assertEqual((cloud.duplicates(), cloud.complaints()), (0, []))

    def test_no_packet_exceeds_the_clouds_limit(self):
        field, cloud = self.field(), self.thingsboard()
        gateway = self.running(field, cloud, mappings=[
            dict(MAPPING, telemetry={"n": "$.n", "text": "$.text"})])
        publisher = self.publisher(field)
        cloud.outage()
        for i in range(200):
            publisher.publish(text="x" * (i * 100))
        publisher.wait_acked()
        cloud.resume()
        self.wait_delivered(cloud, publisher.sent)
        self.assertEqual(cloud.complaints(), [])
        self.assertEqual(gateway.quarantine(), [])
