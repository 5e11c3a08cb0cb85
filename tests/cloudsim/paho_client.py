"""A gateway or device made of paho, for the tests of the stand-ins."""
import json
import os
import tempfile
import unittest

import paho.mqtt.client as paho

from cloudsim import ThingsBoard, wait_for

BUILD = os.environ.get("FIELDGATE_BUILD", "build")


class Client:
    """A gateway made of paho. Remembers what came back."""

    def __init__(self, port, username=ThingsBoard.TOKEN, password=None, version=paho.MQTTv311, client_id="gw",
                 keep_alive=60, clean=True, ca=None, certificate=None, key=None):
        self.connack = self.gone = None
        self.raw = False  # keep payloads as bytes, whatever they look like
        self.acks, self.granted, self.received = {}, {}, []
        arguments = {} if version == paho.MQTTv5 else {"clean_session": clean}
        self.mqtt = paho.Client(client_id, protocol=version, reconnect_on_failure=False, **arguments)
        if username is not None:
            self.mqtt.username_pw_set(username, password)
        if ca:
            self.mqtt.tls_set(ca, certificate, key)
        self.mqtt.on_connect = lambda c, u, f, code, *p: setattr(self, "connack", getattr(code, "value", code))
        self.mqtt.on_disconnect = self._closed
        self.mqtt.on_publish = lambda c, u, mid: self.acks.__setitem__(mid, True)
        self.mqtt.on_subscribe = lambda c, u, mid, codes, *p: self.granted.__setitem__(
            mid, [getattr(code, "value", code) for code in codes])
        self.mqtt.on_message = self._message
        self.mqtt.connect("127.0.0.1", port, keep_alive)
        self.mqtt.loop_start()
        wait_for(lambda: self.connack is not None or self.gone is not None, 5, "an answer to CONNECT")

    def _message(self, _client, _user, message):
        try:
            body = message.payload if self.raw else json.loads(message.payload)
        except ValueError:
            body = message.payload
        self.received.append((message.topic, body))
        self.on_message(message.topic, body)

    def on_message(self, topic, body):
        """Overwritten by who wants to react. The message is acknowledged when it returns."""

    def wait_received(self, n, timeout_s=5):
        """Until @n messages have come; returns all."""
        wait_for(lambda: len(self.received) >= n, timeout_s, "%d messages, not %s" % (n, self.received))
        return list(self.received)

    def wait_gone(self, timeout_s=5):
        wait_for(lambda: self.gone is not None, timeout_s, "the connection closed")

    def answer_commands(self, answer):
        """Reply to each command with @answer(method, params)."""
        def react(topic, body):
            if topic == "v1/gateway/rpc":
                call = body["data"]
                self.publish(topic, {"device": body["device"], "id": call["id"],
                                     "data": answer(call["method"], call["params"])})
            elif "/req" in topic:
                self.publish(topic.replace("request", "response").replace("/req/", "/res/"),
                             answer(body["method"], body["params"]))
        self.on_message = react
        return self

    def connect_device(self, name, kind="default"):
        """Announce a sub-device, and wait until that is acknowledged."""
        assert self.is_acked(self.publish("v1/gateway/connect", {"device": name, "type": kind}))

    def _closed(self, _client, _user, code, *_properties):
        if self.gone is None:
            self.gone = getattr(code, "value", code)

    def publish(self, topic, payload, qos=1, retain=False):
        if not isinstance(payload, (str, bytes)):
            payload = json.dumps(payload)
        return self.mqtt.publish(topic, payload, qos, retain).mid

    def subscribe(self, topic):
        _, mid = self.mqtt.subscribe(topic, 1)
        return wait_for(lambda: self.granted.get(mid), 5, "SUBACK")[0]

    def is_acked(self, mid, timeout_s=5):
        """True: acknowledged; False: the connection closed instead."""
        wait_for(lambda: mid in self.acks or self.gone is not None, timeout_s, "an answer to PUBLISH")
        return mid in self.acks

    def close(self):
        self.mqtt.disconnect()
        self.mqtt.loop_stop()


class StandInTest(unittest.TestCase):
    """One cloud and its clients, in a directory of their own."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.cloud = self.begin()

    def begin(self, **how):
        cloud = ThingsBoard(self.directory, BUILD, **how)
        self.addCleanup(cloud.stop)
        return cloud.start()

    def client(self, **how):
        client = Client(how.pop("port", self.cloud.port), **how)
        self.addCleanup(client.close)
        return client
