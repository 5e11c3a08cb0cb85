"""A field device made of paho that also listens: what a site has at the other end of a downlink."""
import json
import threading
import uuid

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes

from frame import wait_for


class FieldDevice:
    """Publishes what it is told to, and keeps what comes to the topics it has subscribed to."""

    def __init__(self, port, client_id=None, version=paho.MQTTv311):
        """@client_id: one of its own unless given. Two of one name throw each other out."""
        client_id = client_id or "device-" + uuid.uuid4().hex
        arguments = {} if version == paho.MQTTv5 else {"clean_session": True}
        self.mqtt = paho.Client(client_id, protocol=version, **arguments)
        self.received = []  # (topic, body) in order; a body that is JSON is parsed
        self.properties = []
        self._granted, self._acked = set(), set()
        connected = threading.Event()
        self.mqtt.on_connect = lambda *_: connected.set()
        self.mqtt.on_subscribe = lambda _c, _u, mid, *_: self._granted.add(mid)
        self.mqtt.on_publish = lambda _c, _u, mid: self._acked.add(mid)
        self.mqtt.on_message = self._message
        self.mqtt.connect("127.0.0.1", port)
        self.mqtt.loop_start()
        assert connected.wait(20), "the field device does not get in"

    def _message(self, _client, _user, message):
        try:
            body = json.loads(message.payload)
        except ValueError:
            body = message.payload
        self.properties.append(getattr(message, "properties", None))
        self.received.append((message.topic, body))

    def subscribe(self, *filters):
        for topic in filters:
            _, mid = self.mqtt.subscribe(topic, 1)
            wait_for(lambda: mid in self._granted, 10, "SUBACK of " + topic)
        return self

    def publish(self, topic, body, correlation=None, response_topic=None):
        """@body: JSON, or text as it is. Returns when the broker has acknowledged it."""
        more = {}
        if response_topic:
            more["properties"] = paho.Properties(PacketTypes.PUBLISH)
            more["properties"].ResponseTopic = response_topic
            more["properties"].CorrelationData = correlation
        text = body if isinstance(body, (str, bytes)) else json.dumps(body)
        mid = self.mqtt.publish(topic, text, 1, **more).mid
        wait_for(lambda: mid in self._acked, 10, "PUBACK of the field broker")
        return self

    def bodies(self, topic):
        return [body for t, body in self.received if t == topic]

    def wait_for(self, topic, n=1, timeout_s=20):
        """Until @n messages have come on @topic; returns the n-th one's body."""
        wait_for(lambda: len(self.bodies(topic)) >= n, timeout_s,
                 "message %d on %s" % (n, topic))
        return self.bodies(topic)[n - 1]

    def wait_last(self, topic, body, timeout_s=20):
        """Until the newest message on @topic is @body."""
        wait_for(lambda: self.bodies(topic)[-1:] == [body], timeout_s, "%s on %s" % (body, topic))

    def close(self):
        self.mqtt.disconnect()
        self.mqtt.loop_stop()
