#!/usr/bin/python3
"""The stand-in for Huawei Cloud IoTDA has an application's side: IAM's tokens, devices, shadows, commands."""
import json
import sys
import unittest
import urllib.error
import urllib.request

from huawei import GATEWAY
from huawei.cloud import PROJECT_ID
from huawei.iam import DOMAIN, PASSWORD, USER
from test_huawei import PUMP, REPORT, SUB_REPORT, VALVE, HuaweiTest, services


def ask(url, body=None, headers=None):
    """(status, parsed body, headers)"""
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), headers or {})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error), error.headers


class IamTest(HuaweiTest):
    def log_in(self, user=USER, password=PASSWORD, domain=DOMAIN, project=PROJECT_ID, **more):
        """(status, token or None)"""
        auth = {"identity": {"methods": ["password"], "password": {"user": {
            "name": user, "password": password, "domain": {"name": domain}}}}, "scope": {"project": {"id": project}}}
        status, _, headers = ask(self.cloud.iam_url + "/v3/auth/tokens?nocatalog=true", dict({"auth": auth}, **more),
                                 {"Content-Type": "application/json;charset=utf8"})
        return status, headers["X-Subject-Token"]

    def look(self, token):
        return ask("%s/v5/iot/%s/devices/%s" % (self.cloud.rest_url, PROJECT_ID, PUMP), None,
                   {"X-Auth-Token": token})[0]

    def test_a_user_gets_a_token_for_the_project(self):
        status, token = self.log_in()
        self.assertEqual((status, self.look(token)), (201, 200))
        self.assertEqual(self.look(token + "x"), 401)

    def test_others_get_none(self):
        for status, how in ((401, {"user": "x"}), (401, {"password": "x"}), (401, {"domain": "x"}),
                            (400, {"project": "x"}), (400, {"auth": {}}), (400, {"auth": 1})):
            self.assertEqual(self.log_in(**how), (status, None), how)
        self.assertEqual(ask(self.cloud.iam_url + "/v3/auth/others", {})[0], 404)
        self.assertEqual(ask(self.cloud.iam_url + "/v3/auth/tokens")[0], 405)

    def test_a_token_is_good_for_a_day(self):
        now_s = [1773568800]
        self.cloud = self.begin(sub_devices=[PUMP], now=lambda: now_s[0])
        token = self.log_in()[1]
        now_s[0] += 24 * 3600 - 1
        self.assertEqual(self.look(token), 200)
        now_s[0] += 1
        self.assertEqual(self.look(token), 401)


class DeviceTest(HuaweiTest):
    def look(self, device, what="", **headers):
        status, body, _ = ask("%s/v5/iot/%s/devices/%s%s" % (self.cloud.rest_url, PROJECT_ID, device, what), None,
                              dict({"X-Auth-Token": self.cloud.rest_token}, **headers))
        return status, body

    def test_a_device_is_shown_with_its_status(self):
        self.assertEqual(self.look(PUMP)[1]["status"], "INACTIVE")
        self.assertEqual(self.look(GATEWAY)[1]["status"], "OFFLINE")
        self.client()
        status, body = self.look(GATEWAY)
        self.assertEqual((status, body["device_id"], body["status"]), (200, GATEWAY, "ONLINE"))
        status, body = self.look("p1_nobody")
        self.assertEqual((status, body["error_code"]), (404, "IOTDA.014000"))

    def test_a_shadow_shows_what_was_reported_last(self):
        client = self.client()
        self.assertEqual(self.look(PUMP, "/shadow"), (200, {"device_id": PUMP, "shadow": []}))
        self.accept(client, REPORT, {"services": services(n=1)})
        self.accept(client, SUB_REPORT, {"devices": [
            {"device_id": PUMP, "services": services(n=1, t=21.5)},
            {"device_id": VALVE, "services": services(n=7)}]})
        self.accept(client, SUB_REPORT, {"devices": [{"device_id": PUMP, "services": [
            {"service_id": "env", "properties": {"n": 2}, "event_time": "2026-03-15T09:26:54.250Z"},
            {"service_id": "pump", "properties": {"on": True}, "event_time": "20260315T092655Z"}]}]})
        env, pump = self.look(PUMP, "/shadow")[1]["shadow"]
        self.assertEqual((env["service_id"], env["reported"]),
                         ("env", {"properties": {"n": 2, "t": 21.5}, "event_time": "20260315T092654Z"}))
        self.assertEqual((pump["service_id"], pump["reported"]),
                         ("pump", {"properties": {"on": True}, "event_time": "20260315T092655Z"}))
        self.assertEqual(self.look("p1_nobody", "/shadow")[0], 404)

    def test_it_can_be_told_to_break(self):
        self.cloud.break_rest(429)
        self.assertEqual(self.look(PUMP)[0], 429)
        self.cloud.break_rest(500)
        self.assertEqual(self.look(PUMP)[1]["error_code"], "IOTDA.000001")
        self.cloud.break_rest(None)
        self.assertEqual(self.look(PUMP)[0], 200)


class CommandTest(HuaweiTest):
    def test_a_command_is_answered_with_what_the_device_says(self):
        response = {"result_code": 0, "response_name": "COMMAND_RESPONSE", "paras": {"result": "success"}}
        client = self.answer_commands(self.client(), lambda body: response)
        status, body = self.post(PUMP, {"service_id": "reboot", "command_name": "ON_OFF", "paras": {"value": "ON"}})
        self.assertEqual((status, body["response"]), (200, response))
        self.assertTrue(client.received[0][0].endswith(body["command_id"]))
        self.assertEqual(client.received[0][1], {"object_device_id": PUMP, "service_id": "reboot",
                                                 "command_name": "ON_OFF", "paras": {"value": "ON"}})

    def test_what_cannot_be_delivered_has_a_code(self):
        good = {"paras": {}}
        self.assertEqual(self.post(PUMP, good)[1]["error_code"], "IOTDA.014016")
        self.client()
        self.cloud.set(command_timeout_s=0.2)
        status, body = self.post(PUMP, good)
        self.assertEqual((status, body["error_code"]), (200, "IOTDA.014111"))
        self.assertIn("command_id", body)
        for status, how in (
                (401, {"headers": {"X-Auth-Token": "x"}}),
                (403, {"project": "another"}),
                (404, {"device": "p1_x"}),
                (404, {"path": "/v5/iot/%s/devices/%s/nothing"}),
                (400, {"device": "p1 x".replace(" ", "%20")}),
                (400, {"body": {}}),
                (400, {"body": []}),
                (400, {"body": {"paras": "text"}}),
                (400, {"body": {"paras": {}, "service_id": "x" * 65}}),
                (400, {"body": {"paras": {}, "command_name": "x" * 129}})):
            found, body = self.post(**dict({"device": PUMP, "body": good}, **how))
            self.assertEqual((found, body["error_code"][:6]), (status, "IOTDA."), how)

    def test_an_instance_is_named_where_there_is_one(self):
        self.cloud = self.begin(sub_devices=[PUMP], instance_id="i-1")
        self.answer_commands(self.client(), lambda body: {"result_code": 0})
        self.assertEqual(self.post(PUMP, {"paras": {}})[0], 403)
        self.assertEqual(self.post(PUMP, {"paras": {}}, {"Instance-Id": "i-1"})[0], 200)


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    unittest.main(verbosity=2)
