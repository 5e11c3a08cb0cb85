"""fieldgatectl roundtrip between the real daemon, a real field broker and the simulated ThingsBoard's REST interface."""
import json
import os
import socket
import subprocess
import threading

import paho.mqtt.client as paho

from frame import BUILD, MAPPING, Certificates, EndToEnd, free_port, plugin_directory, wait_for

CTL = os.path.join(BUILD, "src", "fieldgatectl")
PASSWORD = "tenant"
ALL_MEMBERS = {"topic": "sensors/{device}/climate", "payload": "json"}
COMMANDS = [{"topic": "cmd/{device}/{command}/{id}", "payload": '{"params": {params}}', "timeout": "3s",
             "response": {"topic": "cmd/{device}/{command}/{id}/response", "correlate": "topic"}}]
UP = ["gateway", "login", "broker", "publish", "on_disk", "in_cloud"]
DOWN = ["command", "answer", "rest_answer"]


class Device:
    """Answers every command on its topic."""

    def __init__(self, port, name="pump-1", answer='{"rpm": 900}'):
        self.commands, self._answer = [], answer
        self.mqtt = paho.Client("device-" + name, protocol=paho.MQTTv311, clean_session=True)
        self._subscribed = threading.Event()
        self.mqtt.on_subscribe = lambda *_: self._subscribed.set()
        self.mqtt.on_message = self._arrived
        self.mqtt.connect("127.0.0.1", port)
        self.mqtt.subscribe("cmd/%s/+/+" % name, 1)
        self.mqtt.loop_start()
        assert self._subscribed.wait(10)

    def _arrived(self, mqtt, _user, message):
        self.commands.append((message.topic, message.payload))
        mqtt.publish(message.topic + "/response", self._answer, 1)

    def close(self):
        self.mqtt.disconnect()
        self.mqtt.loop_stop()


class Trips(EndToEnd):
    """fieldgatectl roundtrip, and what it says."""
    SECRETS = ("Bearer", PASSWORD + '"', "wrong-secret")

    def trip(self, gateway, account, *words, device="pump-1", env=None):
        """(exit status, standard output, standard error)"""
        done = subprocess.run(
            [CTL, "roundtrip", "--config", gateway.config_path, "--plugin-dir", plugin_directory(), "--account", account,
             "--device", device, "--timeout", "8", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, timeout=120, env=dict(os.environ, **(env or {})))
        out, err = done.stdout.decode(), done.stderr.decode()
        for secret in self.SECRETS:
            self.assertNotIn(secret, out + err)
        return done.returncode, out, err

    def hops(self, gateway, account, *words, **how):
        """(exit status, {hop: object}, result)"""
        status, out, err = self.trip(gateway, account, "--json", *words, **how)
        objects = [json.loads(line) for line in out.splitlines()]
        self.assertTrue(objects, err)
        self.assertEqual([o["type"] for o in objects], ["hop"] * (len(objects) - 1) + ["result"])
        return status, {o["hop"]: o for o in objects[:-1]}, objects[-1]

    def states(self, hops):
        return {name: hop["state"] for name, hop in hops.items()}

    def fails_at(self, hops, result, name, *later):
        """Everything before @name is in order, @name says what to do, @later and nothing else is not tried."""
        states = self.states(hops)
        self.assertEqual(states.pop(name), "failed", hops[name])
        self.assertGreater(len(hops[name]["advice"]), 20)
        self.assertEqual({hop for hop, state in states.items() if state == "not_tried"}, set(later), states)
        self.assertEqual((result["is_ok"], result["failed"]), (False, name))


class RoundTrip(Trips):
    def account(self, cloud=None, name="account.yaml", **changed):
        account = {"url": cloud.rest_url if cloud else "", "username": "tenant@thingsboard.org",
                   "password": {"file": self.path("password")}}
        account.update(changed)
        with open(self.path("password"), "w") as f:
            f.write(PASSWORD)
        with open(self.path(name), "w") as f:
            json.dump(account, f)
        return self.path(name)

    def installation(self, mappings=(ALL_MEMBERS,), commands=tuple(COMMANDS), **how):
        field, cloud = self.field(), self.thingsboard()
        gateway = self.gateway(field, cloud, start=False, mappings=list(mappings), **how)
        gateway.config["commands"] = list(commands)
        gateway.start()
        field.wait_subscribed(gateway.client_id())
        return field, cloud, gateway

    # ---- in order

    def test_a_reading_and_a_command_make_the_round_trip_with_a_real_device(self):
        field, cloud, gateway = self.installation()
        device = Device(field.port)
        self.addCleanup(device.close)
        status, out, err = self.trip(gateway, self.account(cloud), "--method", "start", "--params", '{"rpm": 900}')
        self.assertEqual((status, err), (0, ""), out)
        lines = out.splitlines()
        self.assertEqual([line.split()[0] for line in lines if line.startswith("  ")], ["ok"] * 9, out)
        self.assertRegex(lines[-1], r"^in order: up in \d+ ms, down and back in \d+ ms$")
        self.assertRegex(out, r'sensors/pump-1/climate \{"fieldgate_roundtrip":\d+\}, acknowledged by the broker')
        self.assertRegex(out, r"record \d+ of lane main is synced")
        self.assertIn('{"rpm": 900}', out)
        self.assertEqual([json.loads(payload) for _, payload in device.commands], [{"params": {"rpm": 900}}])
        self.assertEqual(cloud.complaints(), [])

    def test_the_output_for_programs_names_every_hop_and_its_latency(self):
        _, cloud, gateway = self.installation()
        status, hops, result = self.hops(gateway, self.account(cloud), "--method", "start", "--answer")
        self.assertEqual(status, 0, hops)
        self.assertEqual(list(hops), UP + DOWN)
        for name, hop in hops.items():
            self.assertEqual(set(hop), {"type", "leg", "hop", "state", "took_us", "text"}, hop)
            self.assertEqual(hop["leg"], "start" if name in UP[:3] else "up" if name in UP else "down")
            self.assertIsInstance(hop["took_us"], int)
            self.assertLess(hop["took_us"], 8000000)
        self.assertEqual(set(result), {"type", "is_ok", "up_us", "down_us"})
        self.assertEqual(result["up_us"], sum(hops[name]["took_us"] for name in UP[3:]))
        self.assertEqual(result["down_us"], sum(hops[name]["took_us"] for name in DOWN))
        self.assertIs(result["is_ok"], True)

    def test_each_way_of_correlation_can_be_answered_in_the_devices_place(self):
        rules = [
            {"devices": ["d-mqtt5"], "topic": "a/{device}/{command}", "response": {"correlate": "mqtt5"}},
            {"devices": ["d-payload"], "topic": "b/{device}", "payload": '{"h": {"id": {id}}, "do": {command}}',
             "response": {"topic": "b/{device}/r", "correlate": "$.id", "result": "$.out"}},
            {"devices": ["d-none"], "topic": "c/{device}/{command}", "response": {"topic": "c/{device}/+/r"}},
            {"devices": ["d-oneway"], "topic": "d/{device}/{command}"},
        ]
        _, cloud, gateway = self.installation(commands=rules)
        account = self.account(cloud)
        for device in ("d-mqtt5", "d-payload", "d-none"):
            status, hops, _ = self.hops(gateway, account, "--method", "ping", "--answer", device=device)
            self.assertEqual((status, set(self.states(hops).values())), (0, {"ok"}), hops)
        status, hops, _ = self.hops(gateway, account, "--method", "ping", device="d-oneway")
        self.assertEqual((status, hops["answer"]["state"], hops["rest_answer"]["state"]), (0, "unseen", "ok"), hops)

    def test_selected_members_want_a_value_and_their_own_time_is_found_in_the_cloud(self):
        _, cloud, gateway = self.installation(mappings=[MAPPING])
        account = self.account(cloud)
        status, out, err = self.trip(gateway, account)
        self.assertEqual((status, out), (2, ""))
        self.assertIn("--value", err)
        self.assertEqual(cloud.samples(), [])
        status, hops, result = self.hops(gateway, account, "--value", "21.50")
        self.assertEqual((status, list(hops)), (0, UP), hops)
        self.assertNotIn("down_us", result)
        self.assertEqual([(d, k, v) for d, _, k, v in cloud.samples()], [("pump-1", "n", 21.5)])
        status, hops, _ = self.hops(gateway, account, "--payload", '{"n": {marker}}', "--topic", "sensors/pump-9/climate",
                                    device="pump-9")
        self.assertEqual(status, 0, hops)

    def test_an_alarm_is_found_in_its_own_lane(self):
        _, cloud, gateway = self.installation(mappings=[dict(ALL_MEMBERS, lane="alarm")])
        status, hops, _ = self.hops(gateway, self.account(cloud))
        self.assertEqual(status, 0, hops)
        self.assertRegex(hops["on_disk"]["text"], "lane alarm is synced")

    def test_the_cloud_is_asked_under_its_own_name_of_the_device(self):
        field, cloud = self.field(), self.thingsboard()
        gateway = self.gateway(field, clouds=[self.cloud_config(cloud, devices={
            "include": ["pump-*"], "rename": {"pump-1": "Pump 1/ä"}})], mappings=[ALL_MEMBERS])
        field.wait_subscribed(gateway.client_id())
        status, hops, _ = self.hops(gateway, self.account(cloud))
        self.assertEqual(status, 0, hops)
        self.assertIn("Pump 1/ä", hops["in_cloud"]["text"])
        status, out, err = self.trip(gateway, self.account(cloud), device="valve-1")
        self.assertEqual((status, out), (1, ""))
        self.assertIn('link tb gets nothing of device "valve-1"', err)

    # ---- out of order

    def test_a_wrong_password_is_told_and_not_shown(self):
        _, cloud, gateway = self.installation()
        account = self.account(cloud, password={"env": "ROUNDTRIP_SECRET"})
        status, hops, result = self.hops(gateway, account, "--method", "start", env={"ROUNDTRIP_SECRET": "wrong-secret"})
        self.assertEqual(status, 1)
        self.fails_at(hops, result, "login", *UP[2:], *DOWN)
        self.assertIn("does not accept", hops["login"]["text"])
        self.assertEqual(cloud.samples(), [])

    def test_a_device_the_cloud_does_not_know_is_told(self):
        _, cloud, gateway = self.installation()
        status, hops, result = self.hops(gateway, self.account(cloud), "--cloud-device", "nobody", "--timeout", "2")
        self.assertEqual(status, 1)
        self.fails_at(hops, result, "in_cloud")
        self.assertIn("no device of that name", hops["in_cloud"]["text"])

    def test_a_device_that_no_rule_takes_is_told_before_anything_is_sent(self):
        _, cloud, gateway = self.installation(mappings=[{"topic": "sensors/climate", "device": "only-one"}],
                                              commands=[dict(COMMANDS[0], commands=["start"])])
        status, out, err = self.trip(gateway, self.account(cloud))
        self.assertEqual((status, out), (1, ""))
        self.assertIn('no reading of device "pump-1"', err)
        status, out, err = self.trip(gateway, self.account(cloud), "--method", "stop", device="only-one")
        self.assertEqual((status, out), (1, ""))
        self.assertIn('no rule of commands takes the command "stop"', err)

    def test_a_silent_device_is_told_from_one_that_never_got_the_command(self):
        _, cloud, gateway = self.installation()
        status, hops, result = self.hops(gateway, self.account(cloud), "--method", "start")
        self.assertEqual(status, 1)
        self.fails_at({k: v for k, v in hops.items() if k != "rest_answer"}, result, "answer")
        self.assertEqual(hops["command"]["state"], "ok")
        self.assertEqual(hops["rest_answer"]["state"], "failed")
        self.assertIn("error", hops["rest_answer"]["text"])

    def test_an_error_of_the_device_is_no_answer_in_order(self):
        rule = json.loads(json.dumps(COMMANDS[0]))
        rule["response"]["error"] = "$.fault"
        field, cloud, gateway = self.installation(commands=[rule])
        device = Device(field.port, answer='{"fault": "valve stuck"}')
        self.addCleanup(device.close)
        status, hops, result = self.hops(gateway, self.account(cloud), "--method", "start")
        self.assertEqual(status, 1)
        self.fails_at(hops, result, "rest_answer")
        self.assertIn("valve stuck", hops["rest_answer"]["text"])

    def test_a_gateway_that_does_not_run_is_told(self):
        _, cloud, gateway = self.installation()
        gateway.term()
        status, hops, result = self.hops(gateway, self.account(cloud), "--method", "start")
        self.assertEqual(status, 1)
        self.fails_at(hops, result, "gateway", *UP[1:], *DOWN)
        self.assertIn("no fieldgate runs", hops["gateway"]["text"])

    def test_a_link_that_is_not_online_is_told(self):
        field, cloud = self.field(), self.thingsboard()
        gateway = self.gateway(field, clouds=[self.cloud_config(cloud, access_token="another")], mappings=[ALL_MEMBERS])
        field.wait_subscribed(gateway.client_id())
        status, hops, result = self.hops(gateway, self.account(cloud), "--timeout", "2")
        self.assertEqual(status, 1)
        self.fails_at(hops, result, "gateway", *UP[1:])
        self.assertRegex(hops["gateway"]["text"], "link tb is (backing off|connecting): refused: not authori[sz]ed")

    def test_a_rest_interface_that_is_down_or_silent_is_told(self):
        _, cloud, gateway = self.installation()
        status, hops, result = self.hops(gateway, self.account(url="http://127.0.0.1:%d" % free_port()))
        self.assertEqual(status, 1)
        self.fails_at(hops, result, "login", *UP[2:])
        with socket.create_server(("127.0.0.1", 0)) as silent:
            account = self.account(url="http://127.0.0.1:%d" % silent.getsockname()[1])
            status, hops, result = self.hops(gateway, account, "--timeout", "1")
        self.assertEqual(status, 1)
        self.fails_at(hops, result, "login", *UP[2:])

    def test_a_certificate_of_nobody_we_know_ends_it(self):
        _, cloud, gateway = self.installation()
        certificates = Certificates(self.directory)
        files = certificates.issue("server")
        other = Certificates(self.directory, "other")
        port = free_port()
        server = subprocess.Popen(["openssl", "s_server", "-accept", "127.0.0.1:%d" % port, "-cert", files["certificate"],
                                   "-key", files["key"], "-www"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, 10, "a server that listens")
        url = "https://localhost:%d" % port
        for more in ({}, {"ca": other.ca}):
            status, hops, result = self.hops(gateway, self.account(url=url, **more))
            self.assertEqual(status, 1)
            self.fails_at(hops, result, "login", *UP[2:])
            self.assertRegex(hops["login"]["text"].lower(), "certificate")
        # With its authority it is let in; it is another thing that it is no ThingsBoard.
        _, hops, _ = self.hops(gateway, self.account(url=url, ca=files["ca"]), "--timeout", "2")
        self.assertNotRegex(hops["login"]["text"].lower(), "certificate")
        self.assertEqual(hops["login"]["state"], "failed")

    def test_a_field_broker_that_refuses_is_told(self):
        _, cloud, gateway = self.installation()
        gateway.config["local"]["brokers"][0]["url"] = "mqtt://127.0.0.1:%d" % free_port()
        gateway.write()
        status, hops, result = self.hops(gateway, self.account(cloud))
        self.assertEqual(status, 1)
        self.fails_at(hops, result, "broker", *UP[3:])

    def test_wrong_arguments_are_told_from_what_is_out_of_order(self):
        _, cloud, gateway = self.installation()
        account = self.account(cloud)
        for words, said in ((("--method", ""), "--method"), (("--params", "{}"), "--params goes with --method"),
                            (("--method", "a", "--params", "{"), "--params: expected JSON"),
                            (("--answer",), "--answer goes with --method"), (("--timeout", "0"), "--timeout"),
                            (("--link", "other"), 'no cloud is called "other"'), (("--nonsense",), "wrong option"),
                            (("--topic", "a"), "--topic wants --payload"), (("--broker", "x"), 'called "x"'),
                            (("more",), 'what is "more"')):
            status, out, err = self.trip(gateway, account, *words)
            self.assertEqual((status, out), (2, ""), err)
            self.assertIn(said, err)
        with open(account, "w") as f:
            f.write("url: https://user:wrong-secret@h\nusername: [a]\npasword: wrong-secret\n")
        status, _, err = self.trip(gateway, account)
        self.assertEqual(status, 1)
        self.assertRegex(err, r"account.yaml:1:6: url: an URL here has no user name")
        self.assertRegex(err, r"account.yaml:3:1: pasword: unknown key \(did you mean \"password\"\?\)")
