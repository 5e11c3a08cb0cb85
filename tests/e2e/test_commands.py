"""Commands, from the cloud's caller to the device and back: each is run at most once and has one answer."""
import functools
import json
import os
import random
import signal
import threading
import time
import urllib.request

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes

from field_device import FieldDevice
from frame import BUILD, MAPPING, EndToEnd, ThingsBoard, records, takes_long, wait_for
from thingsboard.rpc import RpcError

DOWN = "cmd/{device}/{command}"
UP = "cmd/{device}/{command}/response"
BY_MEMBER = {"topic": DOWN, "payload": '{"id": {id}, "params": {params}}', "max_open": 4,
             "response": {"topic": UP, "correlate": "$.id", "result": "$.result", "error": "$.error"}}
BY_TOPIC = {"topic": DOWN + "/{id}", "max_open": 4,
            "response": {"topic": "done/{device}/{id}", "correlate": "topic"}}
BY_MQTT5 = {"topic": DOWN, "max_open": 4, "response": {"correlate": "mqtt5"}}
ALONE = {"topic": DOWN, "response": {"topic": UP}}
ONE_WAY = {"topic": DOWN}
PRESENCE = {"topic": "status/{device}", "presence": {}}

ANY_JSON = (None, True, 0, -1.50, 9007199254740993, 18446744073709551615, "", "text with \"quotes\" and \u00fc \U0001f600",
            [], [1, [2, {"a": None}]], {}, {"rpm": 900, "nested": {"deep": [1.25, "x"]}})


def rule(base, **more):
    return dict(base, **more)


class Machine(FieldDevice):
    """Carries out what comes to its topics, writes it down, and answers as @answer(topic, body) says: a value; what
    raises LookupError is not answered; None: nothing is ever answered by itself."""

    def __init__(self, port, name, answer=None, version=paho.MQTTv311):
        super().__init__(port, client_id=name, version=version)
        self.name, self.answer = name, answer
        self.runs = []  # (topic, body, properties)
        self.mqtt.on_message = self._run
        self.subscribe("cmd/%s/#" % name)

    def _run(self, _client, _user, message):
        if message.topic.endswith("/response"):
            return  # its own answer: "#" is a wide filter
        body = json.loads(message.payload)
        self.runs.append((message.topic, body, getattr(message, "properties", None)))
        if self.answer:
            try:
                self.reply(len(self.runs) - 1, self.answer(message.topic, body))
            except LookupError:
                pass

    def wait_runs(self, n=1, timeout_s=20):
        wait_for(lambda: len(self.runs) >= n, timeout_s, "run %d of %s" % (n, self.name))
        return self

    def reply(self, run, result, **more):
        """Answer the command of @run, in whichever way it can be."""
        topic, body, properties = self.runs[run]
        if getattr(properties, "ResponseTopic", None):
            answer = paho.Properties(PacketTypes.PUBLISH)
            answer.CorrelationData = properties.CorrelationData
            self.mqtt.publish(properties.ResponseTopic, json.dumps(result), 1, properties=answer)
        elif isinstance(body, dict) and "id" in body:
            self.mqtt.publish(topic + "/response", json.dumps(dict({"id": body["id"], "result": result}, **more)), 1)
        elif len(topic.split("/")) == 4:
            self.mqtt.publish("done/%s/%s" % (self.name, topic.split("/")[3]), json.dumps(result), 1)
        else:
            self.mqtt.publish(topic + "/response", json.dumps(result), 1)


class CommandTest(EndToEnd):
    def begin(self, *rules, machines=("pump-1",), answer=None, version=paho.MQTTv311, cloud=None, gateway=None,
              start=True, **options):
        """A site with @machines, which have said something, so that the cloud knows them."""
        self.site, self.cloud = self.field(), cloud or self.thingsboard()
        self.gw = self.gateway(self.site, self.cloud, start=False, gateway=gateway, mappings=[PRESENCE, MAPPING],
                               clouds=[self.cloud_config(self.cloud, **options)])
        self.gw.config["commands"] = list(rules)
        if start:
            self.gw.start()
            self.site.wait_subscribed(self.gw.client_id())
            wait_for(lambda: self.gw.is_up() and self.cloud.events("connect"), 20, "the cloud sees a login")
        self.machines = [self.machine(name, answer, version) for name in machines]
        return self.machines[0] if self.machines else None

    def machine(self, name, answer=None, version=paho.MQTTv311):
        machine = Machine(self.site.port, name, answer, version)
        self.addCleanup(machine.close)
        machine.publish("sensors/%s/climate" % name, {"n": 1, "ts": 1718000000001})
        wait_for(lambda: name in {d for d, *_ in self.cloud.samples()}, 20, name + " is known to the cloud")
        return machine

    def restart(self, **how):
        self.gw.kill9()
        self.gw.start(**how)

    def error_of(self, rpc):
        """The code of the gateway's own answer."""
        reply = rpc.wait()
        self.assertIsInstance(reply, dict, reply)
        return reply.get("code")

    def verdicts(self):
        return sorted(e["verdict"] for e in self.cloud.replies())

    def wait_lane_quiet(self):
        """Until nothing is open and nothing is on its way to the cloud."""
        wait_for(lambda: self.gw.status()["link tb"].get("alarm_backlog", 0) == 0, 20)


class Correlation(CommandTest):
    def crossing(self, base, version=paho.MQTTv311):
        """Three commands at one device, answered in the opposite order, each with its own answer."""
        machine = self.begin(base, version=version)
        rpcs = [self.cloud.rpc_begin("pump-1", "set", {"n": n}) for n in range(3)]
        machine.wait_runs(3)
        for run in (2, 0, 1):
            machine.reply(run, "done %d" % run)
        self.assertEqual([rpc.wait() for rpc in rpcs], ["done 0", "done 1", "done 2"])
        self.assertEqual((self.verdicts(), self.cloud.complaints()), (["answered"] * 3, []))
        return machine

    def test_a_member_of_the_payload_tells_answers_apart(self):
        self.crossing(BY_MEMBER)

    def test_a_level_of_the_topic_tells_answers_apart(self):
        self.crossing(BY_TOPIC)

    def test_correlation_data_tells_answers_apart(self):
        machine = self.crossing(BY_MQTT5, paho.MQTTv5)
        topics = {properties.ResponseTopic for _, _, properties in machine.runs}
        self.assertTrue(all(t.startswith("fieldgate/gw/response/") for t in topics), topics)

    def test_without_anything_one_command_is_out_at_a_time(self):
        machine = self.begin(ALONE)
        rpcs = [self.cloud.rpc_begin("pump-1", "set", n) for n in range(3)]
        for n in range(3):
            machine.wait_runs(n + 1)
            self.assertEqual(len(machine.runs), n + 1)
            machine.reply(n, "done %d" % n)
            self.assertEqual(rpcs[n].wait(), "done %d" % n)

    def test_parameters_and_results_of_any_json_go_through_unchanged(self):
        machine = self.begin(BY_MEMBER, answer=lambda _, body: body["params"])
        for n, value in enumerate(ANY_JSON):
            with self.subTest(value=value):
                self.assertEqual(self.cloud.rpc("pump-1", "set", value), value)
                self.assertEqual(machine.runs[n][1]["params"], value)
        replies = [r["data"] for r in self.cloud.replies()]
        self.assertEqual(replies[ANY_JSON.index(9007199254740993)], "9007199254740993")

    def test_a_device_may_say_no(self):
        machine = self.begin(BY_MEMBER)
        rpc = self.cloud.rpc_begin("pump-1", "set", 1)
        machine.wait_runs().reply(0, None, error="the lid is open")
        self.assertEqual(rpc.wait(), {"error": "the lid is open", "code": "refused", "result": None})

    def test_a_rule_without_response_answers_when_the_broker_has_it(self):
        machine = self.begin(ONE_WAY)
        self.assertIsNone(self.cloud.rpc("pump-1", "reboot", {"delay": 1}))
        machine.wait_runs()
        self.assertEqual(machine.runs[0][:2], ("cmd/pump-1/reboot", {"delay": 1}))

    def test_a_command_without_reply_is_run_too(self):
        machine = self.begin(BY_MEMBER, answer=lambda *_: 1)
        self.cloud.rpc("pump-1", "reboot", 1, oneway=True)
        machine.wait_runs()

    def test_a_device_with_a_login_of_its_own_gets_commands(self):
        cloud = self.thingsboard(devices=[{"name": "pump-1", "token": ThingsBoard.TOKEN}])
        self.begin(BY_MEMBER, machines=(), cloud=cloud, mode="device", device="pump-1")
        machine = Machine(self.site.port, "pump-1", lambda _, body: body["params"]["n"] + 1)
        self.addCleanup(machine.close)
        wait_for(lambda: cloud.is_subscribed("pump-1", "v1/devices/me/rpc/request/+"), 20)
        self.assertEqual(cloud.rpc("pump-1", "set", {"n": 1}), 2)
        cloud.rpc("pump-1", "set", {"n": 2}, oneway=True)
        machine.wait_runs(2)
        machine.answer = None
        rpc = cloud.rpc_begin("pump-1", "set", {"n": 3})
        machine.wait_runs(3)
        self.restart()
        self.site.wait_subscribed(self.gw.client_id())
        machine.reply(2, "after the restart")
        self.assertEqual(rpc.wait(), "after the restart")
        self.assertEqual((len(machine.runs), cloud.complaints()), (3, []))


class Rest(CommandTest):
    """As an application sends commands: over ThingsBoard's REST side."""

    def call(self, path, body=None, token=None):
        request = urllib.request.Request(
            self.cloud.rest_url + path, None if body is None else json.dumps(body).encode(),
            {"X-Authorization": "Bearer " + token} if token else {})
        with urllib.request.urlopen(request, timeout=30) as response:
            text = response.read()
            return json.loads(text) if text else None

    def test_an_application_gets_the_answer_of_its_device(self):
        machine = self.begin(BY_MEMBER, answer=lambda _, body: {"was": body["params"]})
        token = self.call("/api/auth/login", {"username": "tenant@thingsboard.org", "password": "tenant"})["token"]
        device = self.call("/api/tenant/devices?deviceName=pump-1", token=token)["id"]["id"]
        command = {"method": "set", "params": {"rpm": 900}, "timeout": 8000}
        self.assertEqual(self.call("/api/rpc/twoway/" + device, command, token), {"was": {"rpm": 900}})
        self.call("/api/rpc/oneway/" + device, command, token)
        machine.wait_runs(2)
        id_ = self.call("/api/rpc/twoway/" + device, dict(command, persistent=True), token)["rpcId"]
        wait_for(lambda: self.call("/api/rpc/persistent/" + id_, token=token)["status"] == "SUCCESSFUL", 20)
        self.assertEqual(self.call("/api/rpc/persistent/" + id_, token=token)["response"], {"was": {"rpm": 900}})
        self.assertEqual(len(machine.runs), 3)


class Refusal(CommandTest):
    def test_a_device_that_has_gone_is_refused_at_once(self):
        machine = self.begin(BY_MEMBER, answer=lambda *_: 1)
        machine.publish("status/pump-1", "offline")
        wait_for(lambda: self.has_presence("down"), 20)
        self.cloud.push("v1/gateway/rpc", json.dumps({"device": "pump-1", "data": {
            "id": 900, "method": "set", "params": 1}}), "the gateway")
        reply = wait_for(lambda: self.cloud.replies(), 20)[0]
        self.assertEqual((reply["id"], json.loads(reply["data"])["code"]), (900, "offline"))
        self.assertEqual(machine.runs, [])

    def has_presence(self, word):
        """The journal has a coming or going, as its kind 3 record says."""
        return any(kind == 3 and word.encode() in body for kind, body in records(self.gw.state, "main"))

    def test_a_command_may_wait_for_its_device(self):
        machine = self.begin(rule(BY_MEMBER, offline="wait"), answer=lambda *_: "here")
        machine.publish("status/pump-1", "offline")
        wait_for(lambda: self.has_presence("down"), 20)
        self.cloud.push("v1/gateway/rpc", json.dumps({"device": "pump-1", "data": {
            "id": 900, "method": "set", "params": 1}}), "the gateway")
        wait_for(lambda: self.gw.log(), 20)
        time.sleep(0.3)  # nothing must happen, so there is no fact to wait for
        self.assertEqual((machine.runs, self.cloud.replies()), ([], []))
        machine.publish("status/pump-1", "online")
        self.assertEqual(wait_for(lambda: self.cloud.replies(), 20)[0]["data"], '"here"')
        self.assertEqual(len(machine.runs), 1)

    def test_a_device_that_does_not_answer_is_given_up_before_the_caller_is(self):
        machine = self.begin(BY_MEMBER, rpc_timeout="4s")
        rpc = self.cloud.rpc_begin("pump-1", "set", 1, timeout_s=4)
        machine.wait_runs()
        self.assertEqual(self.error_of(rpc), "unknown_outcome")
        # Late: neither this command's answer nor the next one's.
        machine.reply(0, "late")
        rpc = self.cloud.rpc_begin("pump-1", "set", 2, timeout_s=4)
        machine.wait_runs(2).reply(1, "in time")
        self.assertEqual(rpc.wait(), "in time")
        self.assertEqual(self.verdicts(), ["answered", "answered"])

    def test_a_late_answer_is_not_the_next_ones_where_nothing_tells_them_apart(self):
        machine = self.begin(rule(ALONE, timeout="2s"))
        first = self.cloud.rpc_begin("pump-1", "set", 1)
        machine.wait_runs()
        self.assertEqual(self.error_of(first), "unknown_outcome")
        second = self.cloud.rpc_begin("pump-1", "set", 2)
        machine.reply(0, "late")
        machine.wait_runs(2).reply(1, "in time")
        self.assertEqual(second.wait(), "in time")

    def test_what_no_rule_is_for_is_answered_at_once(self):
        machine = self.begin(rule(BY_MEMBER, devices=["pump-*"], commands=["set*"]),
                             machines=("pump-1", "lamp-1"))
        self.assertEqual(self.error_of(self.cloud.rpc_begin("pump-1", "explode")), "unknown_command")
        self.assertEqual(self.error_of(self.cloud.rpc_begin("lamp-1", "set")), "unknown_device")
        self.assertEqual(machine.runs, [])

    def test_a_name_that_does_not_fit_a_topic_is_refused(self):
        machine = self.begin(BY_MEMBER)
        for method in ("a/b", "#", "+", "a\u0000b"):
            with self.subTest(method=method):
                self.assertEqual(self.error_of(self.cloud.rpc_begin("pump-1", method)), "unknown_command")
        self.assertEqual(machine.runs, [])


class Disorder(CommandTest):
    def test_answers_that_nobody_asked_for_and_second_ones_go_nowhere(self):
        machine = self.begin(BY_MEMBER)
        machine.publish("cmd/pump-1/set/response", {"id": "123456789", "result": "made up"})
        machine.publish("cmd/pump-1/set/response", "no JSON at all")
        rpc = self.cloud.rpc_begin("pump-1", "set", 1)
        machine.wait_runs()
        machine.reply(0, "first")
        machine.reply(0, "second")
        self.assertEqual(rpc.wait(), "first")
        self.assertEqual(self.cloud.rpc_begin("pump-1", "set", 2).is_done, False)
        machine.wait_runs(2).reply(1, "third")
        wait_for(lambda: len(self.cloud.replies()) == 2, 20)
        self.assertEqual(self.verdicts(), ["answered", "answered"])

    def test_an_answer_that_is_too_large_is_an_unknown_outcome(self):
        machine = self.begin(BY_MEMBER, gateway={"max_message_size": "4KiB"})
        rpc = self.cloud.rpc_begin("pump-1", "set", 1)
        machine.wait_runs().reply(0, "x" * 5000)
        self.assertEqual(self.error_of(rpc), "unknown_outcome")
        rpc = self.cloud.rpc_begin("pump-1", "set", 2)
        machine.wait_runs(2).reply(1, "x" * 3000)
        self.assertEqual(rpc.wait(), "x" * 3000)

    def test_what_makes_no_sense_from_the_cloud_harms_nobody(self):
        machine = self.begin(BY_MEMBER, answer=lambda *_: "well")
        for body in ("", "{", "[]", "null", "1e999", '{"device":"pump-1"}', '{"device":"pump-1","data":[]}',
                     '{"device":"pump-1","data":{"id":-1,"method":"set"}}',
                     '{"device":"pump-1","data":{"id":1.5,"method":"set"}}',
                     '{"device":"pump-1","data":{"id":"1","method":"set"}}',
                     '{"device":"","data":{"id":5,"method":"set"}}',
                     '{"device":"pump-1","data":{"id":5,"params":1}}',
                     '{"device":"pump-1","data":{"id":6,"method":7}}',
                     '{"device":"pump-1","data":{"id":7,"method":"%s"}}' % ("m" * 300),
                     '{"data":{"id":8,"method":"set"}}', b"\xff\xfe\x00", "[" * 2000):
            self.cloud.push("v1/gateway/rpc", body, "the gateway")
        self.assertEqual(self.cloud.rpc("pump-1", "set", 1), "well")
        self.assertEqual(len(machine.runs), 1)
        self.assertTrue(self.gw.is_up())

    def test_ids_that_begin_again_are_new_commands(self):
        machine = self.begin(BY_MEMBER, answer=lambda _, body: body["params"])
        self.assertEqual(self.cloud.rpc("pump-1", "set", "before"), "before")
        self.cloud.restart_actor("pump-1")
        rpc = self.cloud.rpc_begin("pump-1", "set", "after")
        self.assertEqual((rpc.request_id, rpc.wait()), (0, "after"))
        self.assertEqual(len(machine.runs), 2)

    def test_a_command_that_comes_twice_is_run_once(self):
        machine = self.begin(BY_MEMBER)
        body = json.dumps({"device": "pump-1", "data": {"id": 40, "method": "set", "params": 1}})
        self.cloud.push("v1/gateway/rpc", body, "the gateway")
        machine.wait_runs()
        self.cloud.push("v1/gateway/rpc", body, "the gateway")
        machine.reply(0, "once")
        wait_for(lambda: len(self.cloud.replies()) == 1, 20)
        self.cloud.push("v1/gateway/rpc", body, "the gateway")
        wait_for(lambda: len(self.cloud.replies()) == 2, 20)
        self.assertEqual([r["data"] for r in self.cloud.replies()], ['"once"'] * 2)
        self.assertEqual(len(machine.runs), 1)

    def test_a_cloud_that_floods_gets_an_answer_to_everything(self):
        machine = self.begin(BY_MEMBER, answer=lambda *_: "done", gateway={"max_commands": 20})
        for n in range(400):
            self.cloud.push("v1/gateway/rpc", json.dumps({"device": "pump-1", "data": {
                "id": n, "method": "set", "params": n}}), "the gateway")
        wait_for(lambda: len({r["id"] for r in self.cloud.replies()}) == 400, 60, "all are answered")
        replies = [json.loads(r["data"]) for r in self.cloud.replies()]
        self.assertEqual(len(replies), 400)
        self.assertEqual({r if isinstance(r, str) else r["code"] for r in replies}, {"done", "busy"})
        self.assertEqual(len(machine.runs), replies.count("done"))
        self.assertEqual(len({body["params"] for _, body, _ in machine.runs}), len(machine.runs))

    def test_a_slow_device_holds_nobody_else(self):
        slow = self.begin(rule(BY_MEMBER, max_open=1), machines=("pump-1", "pump-2"))
        self.machines[1].answer = lambda *_: "quick"
        waiting = [self.cloud.rpc_begin("pump-1", "set", n) for n in range(3)]
        slow.wait_runs()
        for n in range(5):
            self.assertEqual(self.cloud.rpc("pump-2", "set", n, timeout_s=20), "quick")
        self.assertEqual((len(slow.runs), [rpc.is_done for rpc in waiting]), (1, [False] * 3))

    def test_a_device_gets_no_more_commands_at_once_than_it_takes(self):
        machine = self.begin(rule(BY_MEMBER, max_open=2))
        rpcs = [self.cloud.rpc_begin("pump-1", "set", n) for n in range(5)]
        for n in range(5):
            machine.wait_runs(min(n + 2, 5))
            self.assertLessEqual(len(machine.runs), n + 2)
            machine.reply(n, n)
            self.assertEqual(rpcs[n].wait(), n)
        self.assertEqual([body["params"] for _, body, _ in machine.runs], list(range(5)))


class Kill(CommandTest):
    """The daemon is killed at each step of a command's way."""

    def push(self, n=7, **data):
        self.cloud.push("v1/gateway/rpc", json.dumps({"device": "pump-1", "data": dict(
            {"id": n, "method": "set", "params": n}, **data)}), "the gateway")

    def one_answer(self, timeout_s=30):
        """The data of the only answer there is. A second one would overtake the sample that follows."""
        wait_for(lambda: self.cloud.replies(), timeout_s, "an answer")
        n = 1000 + len(self.cloud.samples())
        self.machines[0].publish("sensors/pump-1/climate", {"n": n, "ts": 1718000000000 + n})
        wait_for(lambda: n in self.cloud.values("n"), 20)
        datas = {r["data"] for r in self.cloud.replies()}
        self.assertEqual(len(datas), 1, datas)
        return json.loads(datas.pop())

    def records_in(self, *words):
        """Does the alarm lane hold all of @words?"""
        text = b"\n".join(body for _, body in records(self.gw.state, "alarm"))
        return all(word.encode() in text for word in words)

    def test_killed_while_the_command_waits_for_its_device(self):
        machine = self.begin(rule(BY_MEMBER, offline="wait"), answer=lambda *_: "done")
        machine.publish("status/pump-1", "offline")
        wait_for(lambda: self.gw.status(), 10)
        self.push()
        wait_for(lambda: self.records_in('"set"'), 20, "the command is on disk")
        self.restart()
        machine.publish("status/pump-1", "online")
        self.assertEqual(self.one_answer(), "done")
        self.assertEqual(len(machine.runs), 1)

    def test_killed_while_the_device_has_the_command(self):
        machine = self.begin(BY_MEMBER)
        self.push()
        machine.wait_runs()
        self.restart()
        self.site.wait_subscribed(self.gw.client_id())
        machine.reply(0, "done")
        self.assertEqual(self.one_answer(), "done")
        self.assertEqual(len(machine.runs), 1)

    def test_killed_and_the_device_answers_meanwhile(self):
        machine = self.begin(BY_MEMBER)
        self.push()
        machine.wait_runs()
        self.gw.kill9()
        machine.reply(0, "done")
        self.gw.start()
        self.assertEqual(self.one_answer(), "done")
        self.assertEqual(len(machine.runs), 1)

    def test_killed_and_the_device_never_answers(self):
        machine = self.begin(BY_MEMBER, rpc_timeout="5s")
        self.push()
        machine.wait_runs()
        self.restart()
        self.assertEqual(self.one_answer()["code"], "unknown_outcome")
        self.assertEqual(len(machine.runs), 1)

    def test_killed_with_the_answer_on_disk(self):
        machine = self.begin(BY_MEMBER)
        self.push()
        machine.wait_runs()
        self.cloud.outage()
        machine.reply(0, "done")
        wait_for(lambda: self.records_in('"done"'), 20, "the answer is on disk")
        self.restart()
        self.cloud.resume()
        self.assertEqual(self.one_answer(60), "done")
        self.assertEqual(len(machine.runs), 1)

    def slow_disk(self):
        """The environment that makes each fdatasync() take @delay milliseconds, and how to set that."""
        directory = self.path("slow_sync")
        os.makedirs(directory, exist_ok=True)

        def delay(ms):
            with open(os.path.join(directory, "delay"), "w") as f:
                f.write(str(ms))
        return {"LD_PRELOAD": os.path.join(BUILD, "tests/e2e/slow_sync.so"), "SLOW_SYNC": directory}, delay

    def test_killed_while_the_command_is_being_written(self):
        env, delay = self.slow_disk()
        delay(0)
        machine = self.begin(BY_MEMBER, answer=lambda *_: "done", start=False, machines=())
        self.gw.start(env=env)
        self.site.wait_subscribed(self.gw.client_id())
        self.machines = [self.machine("pump-1", lambda *_: "done")]
        machine = self.machines[0]
        delay(1500)
        self.push()
        wait_for(lambda: self.records_in('"set"'), 20, "it is written, though not synced")
        self.assertEqual(machine.runs, [], "it must not go out before the commit")
        delay(0)
        self.restart(env=env)
        # What the kernel had is there: it was going out, so nobody can tell.
        self.assertIn(self.one_answer(40), ("done", {"code": "unknown_outcome", "error": self.ANY}))
        self.assertLessEqual(len(machine.runs), 1)

    class _Any:
        def __eq__(self, _):
            return True
    ANY = _Any()

    def test_killed_while_the_answer_is_being_written(self):
        env, delay = self.slow_disk()
        delay(0)
        self.begin(BY_MEMBER, start=False, machines=())
        self.gw.start(env=env)
        self.site.wait_subscribed(self.gw.client_id())
        self.machines = [self.machine("pump-1")]
        machine = self.machines[0]
        self.push()
        machine.wait_runs()
        delay(1500)
        machine.reply(0, "done")
        wait_for(lambda: self.records_in('"done"'), 20, "it is written, though not synced")
        self.assertEqual(self.cloud.replies(), [], "it must not go up before the commit")
        delay(0)
        self.restart(env=env)
        self.assertEqual(self.one_answer(), "done")
        self.assertEqual(len(machine.runs), 1)

    def test_a_command_that_may_be_repeated_is_published_again(self):
        machine = self.begin(rule(BY_MEMBER, repeat=True))
        self.push()
        machine.wait_runs()
        self.restart()
        machine.wait_runs(2)
        self.assertEqual(machine.runs[0][1], machine.runs[1][1])
        machine.reply(0, "done")
        machine.reply(1, "done")
        self.assertEqual(self.one_answer(), "done")

    @takes_long
    def test_killed_again_and_again_at_any_moment(self):
        seed = random.randrange(1 << 32)
        print("        seed %d" % seed)
        chance = random.Random(seed)
        machine = self.begin(BY_MEMBER, answer=lambda _, body: body["params"], rpc_timeout="8s")
        rpcs, stop = [], threading.Event()

        def kill():
            while not stop.wait(chance.uniform(0.05, 1.5)):
                self.restart()
        killer = threading.Thread(target=kill)
        killer.start()
        try:
            for n in range(150):
                rpcs.append(self.cloud.rpc_begin("pump-1", "set", n, timeout_s=8))
                time.sleep(chance.uniform(0, 0.2))
        finally:
            stop.set()
            killer.join()
        for n, rpc in enumerate(rpcs):
            try:
                reply = rpc.wait(30)
            except RpcError:
                continue  # nobody listened in all of its time, or the answer was late
            self.assertTrue(reply == n or reply["code"] in ("unknown_outcome", "timeout", "offline", "busy"), reply)
        params = [body["params"] for _, body, _ in machine.runs]
        self.assertGreater(len(params), 30, "hardly any command got through")
        self.assertEqual(len(params), len(set(params)), "run twice")
        self.assertNotIn("unknown", self.verdicts())


class Echo(CommandTest):
    """A mapping that matches the topics of commands, too."""

    EVERYTHING = {"topic": "{device}/{key}", "payload": "text"}
    RULE = {"topic": "{device}/set", "response": {"topic": "done/{device}"}}

    def test_over_mqtt_5_the_gateway_does_not_hear_itself(self):
        self.begin(self.RULE, machines=(), start=False)
        self.gw.config["mappings"].append(self.EVERYTHING)
        self.gw.start()
        self.site.wait_subscribed(self.gw.client_id())
        device = FieldDevice(self.site.port).subscribe("pump-1/set")
        self.addCleanup(device.close)
        device.publish("pump-1/level", "5")
        wait_for(lambda: self.cloud.is_connected("pump-1"), 20)
        rpc = self.cloud.rpc_begin("pump-1", "set", 7)
        self.assertEqual(device.wait_for("pump-1/set"), 7)
        device.publish("done/pump-1", "8")
        self.assertEqual(rpc.wait(), 8)
        device.publish("pump-1/level", "6")
        wait_for(lambda: 6 in self.cloud.values("level"), 20)
        self.assertEqual(self.cloud.values("set"), [])

    def test_over_3_1_1_such_a_rule_is_refused(self):
        self.begin(self.RULE, machines=(), start=False)
        self.gw.config["mappings"].append(self.EVERYTHING)
        self.gw.config["local"]["brokers"][0]["mqtt_version"] = "3.1.1"
        status, said = self.gw.check()
        self.assertNotEqual(status, 0)
        self.assertRegex(said, r'commands\[0\].topic: "{device}/set": the mapping rule for "{device}/{key}" matches it')


class Outage(CommandTest):
    def test_answers_survive_an_outage_and_come_before_what_has_piled_up(self):
        machine = self.begin(rule(BY_MEMBER, timeout="1min"), rpc_timeout="5min",
                             limits={"points": "500/s"})
        self.cloud.push("v1/gateway/rpc", json.dumps({"device": "pump-1", "data": {
            "id": 7, "method": "set", "params": 1}}), "the gateway")
        machine.wait_runs()
        self.cloud.outage()
        publisher = self.publisher(self.site)
        publisher.burst(2000)
        publisher.wait_acked()
        machine.reply(0, "done")
        wait_for(lambda: self.gw.journalled() > 2000, 30, "all is in the journal")
        n_before = len(self.cloud.samples())
        self.cloud.resume()
        wait_for(lambda: self.cloud.replies(), 60, "the answer")
        self.assertLess(len(self.cloud.samples()) - n_before, 1000, "it waited behind the backlog")
        self.assertEqual([r["data"] for r in self.cloud.replies()], ['"done"'])

    def freeze_site(self):
        """Its connections stand, and it answers nobody, until the function that is returned is called."""
        self.site.process.send_signal(signal.SIGSTOP)
        thaw = functools.partial(self.site.process.send_signal, signal.SIGCONT)
        self.addCleanup(thaw)
        return thaw

    def test_a_command_that_comes_before_the_field_brokers_session_waits_for_it_and_runs_once(self):
        machine = self.begin(BY_MEMBER, answer=lambda _, body: body["params"])
        self.gw.kill9()
        thaw = self.freeze_site()
        self.gw.start()
        wait_for(lambda: len(self.cloud.events("connect")) == 2, 20, "the cloud sees the login after the restart")
        for n in range(3):
            self.cloud.push("v1/gateway/rpc", json.dumps({"device": "pump-1", "data": {
                "id": n, "method": "set", "params": n}}), "the gateway")
        wait_for(lambda: sum(kind == 192 for kind, _ in records(self.gw.state, "alarm")) == 3, 20, "all are on disk")
        self.assertEqual((machine.runs, self.cloud.replies()), ([], []))
        thaw()
        wait_for(lambda: len(self.cloud.replies()) == 3, 20, "all are answered")
        self.assertEqual([r["data"] for r in self.cloud.replies()], ["0", "1", "2"])
        self.assertEqual([body["params"] for _, body, _ in machine.runs], [0, 1, 2])

    def test_a_command_is_offline_when_the_field_broker_does_not_come_in_time(self):
        self.begin(BY_MEMBER, rpc_timeout="3s").close()  # another with its name comes later
        self.site.kill()
        self.gw.wait_log("broker field: .*reconnecting")
        reply = self.cloud.rpc_begin("pump-1", "set", 1, timeout_s=20).wait()
        self.assertEqual(reply, {"code": "offline",
                                 "error": "the gateway had no session with the device's broker in time"})
        self.site.start()
        machine = self.machine("pump-1", lambda _, body: body["params"])
        wait_for(lambda: self.gw.status()["broker field"]["state"] == "online", 20, "the gateway is back there")
        self.assertEqual(self.cloud.rpc_begin("pump-1", "set", 2, timeout_s=20).wait(), 2)
        self.assertEqual([body["params"] for _, body, _ in machine.runs], [2])

    def test_a_rule_that_names_a_broker_asks_for_that_one_alone(self):
        self.begin(rule(BY_MEMBER, broker="other"), machines=(), start=False, rpc_timeout="3s")
        other = self.field(name="other")
        self.gw.config["local"]["brokers"].append(self.broker_config(other, "other"))
        self.gw.start()
        for broker in ("field", "other"):
            (self.site if broker == "field" else other).wait_subscribed(self.gw.client_id(broker))
        heard = self.machine("pump-1")  # at the first broker
        machine = Machine(other.port, "pump-1", lambda _, body: body["params"])
        self.addCleanup(machine.close)
        self.site.kill()
        self.gw.wait_log("broker field: .*reconnecting")
        self.assertEqual(self.cloud.rpc_begin("pump-1", "set", 1).wait(), 1)
        other.kill()
        self.gw.wait_log("broker other: .*reconnecting")
        self.assertEqual(self.error_of(self.cloud.rpc_begin("pump-1", "set", 2, timeout_s=20)), "offline")
        self.assertEqual((len(heard.runs), len(machine.runs)), (0, 1))

    def test_a_persistent_command_outlives_an_outage_of_the_cloud(self):
        self.begin(BY_MEMBER, answer=lambda _, body: body["params"])
        self.cloud.outage()
        id_ = self.cloud.rpc("pump-1", "set", 5, timeout_s=60, persistent=True)
        self.cloud.resume()
        wait_for(lambda: self.cloud.rpc_state(id_) == "SUCCESSFUL", 60)
        self.assertEqual(self.cloud.rpc_find(id_).reply, 5)
