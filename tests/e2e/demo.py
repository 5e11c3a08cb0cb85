#!/usr/bin/python3
"""What quickstart.sh shows: demo.py DIRECTORY. Exit status 0: everything published was delivered, and the command
answered."""
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time

import paho.mqtt.client as paho

from frame import BUILD, FieldBroker, Gateway, Publisher, SteadyLoad, ThingsBoard, plugin_directory, wait_for

N_SHELL, N_DEVICES, PER_S, OUTAGE_S, TIMEOUT_S = 300, 20, 1200, 5, 30
DEVICES = ["pump-%02d" % i for i in range(1, N_DEVICES + 1)]


def say(text):
    print("\n== " + text, flush=True)


def note(text):
    print("   " + text, flush=True)


class Plant(Publisher):
    """Twenty pumps: temperature and humidity of each."""

    def publish(self, device):
        n = self._next.get(device, 0)
        return super().publish(device, temperature=round(20 + 5 * math.sin(n / 50), 2), humidity=40 + n % 20)


class Valve:
    """Opens as far as it is told, and says so. Any client in any language could stand here."""

    def __init__(self, port):
        self._subscribed = threading.Event()
        self.mqtt = paho.Client("valve-1", protocol=paho.MQTTv311, clean_session=True)
        self.mqtt.on_subscribe = lambda *_: self._subscribed.set()
        self.mqtt.on_message = self._move
        self.mqtt.connect("127.0.0.1", port)
        self.mqtt.subscribe("cmd/valve-1/open/+", 1)
        self.mqtt.loop_start()
        assert self._subscribed.wait(10), "the valve does not get in"

    @staticmethod
    def _move(mqtt, _user, message):
        position = json.loads(message.payload)["percent"]
        mqtt.publish(message.topic + "/response", json.dumps({"position": position}), 1)

    def close(self):
        self.mqtt.disconnect()
        self.mqtt.loop_stop()


def publish_from_shell(port):
    """As a script on a device would: one line of JSON, one message."""
    now = int(time.time() * 1000)
    lines = "".join(json.dumps({"ts": now + n, "n": n, "temperature": 60 + n / 100}) + "\n" for n in range(N_SHELL))
    subprocess.run(["mosquitto_pub", "-h", "127.0.0.1", "-p", str(port), "-q", "1", "-t", "sensors/boiler/climate",
                    "-l"], input=lines.encode(), check=True, timeout=20)
    return {("boiler", n) for n in range(N_SHELL)}


def delivered(cloud):
    return {(device, value) for device, _, key, value in cloud.samples() if key == "n"}


def command(directory, field, cloud, gateway):
    """A command from ThingsBoard's REST interface to the valve, and its answer; returns the exit status."""
    account = os.path.join(directory, "account.yaml")
    with open(account, "w") as f:
        json.dump({"url": cloud.rest_url, "username": "tenant@thingsboard.org", "password": "tenant"}, f)
    valve = Valve(field.port)
    try:
        return subprocess.run([os.path.join(BUILD, "src", "fieldgatectl"), "roundtrip", "--device", "valve-1",
                               "--method", "open", "--params", '{"percent": 40}', "--account", account,
                               "--config", gateway.config_path, "--plugin-dir", plugin_directory()],
                              stdin=subprocess.DEVNULL, timeout=120, check=False).returncode
    finally:
        valve.close()


def table(rows):
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print("   %-*s  %s" % (width, name, value))


def run(directory, field, cloud, gateway):
    say("starting a field broker, a simulated ThingsBoard and the gateway between them")
    field.start()
    cloud.start()
    gateway.config["local"]["brokers"] = [{"name": "field", "url": "mqtt://127.0.0.1:%d" % field.port}]
    gateway.config["clouds"] = [{"name": "thingsboard", "plugin": "thingsboard", "access_token": cloud.TOKEN,
                                 "url": "mqtt://127.0.0.1:%d" % cloud.port}]
    gateway.start(level="info")
    field.wait_subscribed(gateway.client_id())
    wait_for(lambda: gateway.is_up() and cloud.events("connect"), 20, "the cloud sees a login")
    note("field broker 127.0.0.1:%d  ->  fieldgate, pid %d  ->  ThingsBoard 127.0.0.1:%d"
         % (field.port, gateway.process.pid, cloud.port))

    say("publishing %d messages with mosquitto_pub" % N_SHELL)
    published = publish_from_shell(field.port)

    say("%d devices publish %d messages/s with QoS 1" % (N_DEVICES, PER_S))
    plant = Plant(field.port)
    load = SteadyLoad(plant, PER_S, DEVICES)
    wait_for(lambda: len(plant.acked) > 1 * PER_S, 20, "a second's worth of messages")
    n_delivered = len(delivered(cloud))  # first: it grows meanwhile
    note("uplink is up: %d published, %d delivered" % (len(published) + len(plant.sent), n_delivered))

    say("taking the uplink away for %d seconds, the devices go on" % OUTAGE_S)
    cloud.outage()
    before, published_before = len(delivered(cloud)), len(plant.acked)
    wait_for(lambda: len(plant.acked) > published_before + OUTAGE_S * PER_S, 30, "the devices publish on")
    note("uplink is down: %d more published, %d delivered, they wait in the journal"
         % (len(plant.acked) - published_before, len(delivered(cloud)) - before))

    say("giving the uplink back")
    load.stop()
    plant.wait_acked()
    published |= set(plant.sent)
    begin = time.monotonic()
    cloud.resume()
    try:
        wait_for(lambda: gateway.is_up() and published <= delivered(cloud), TIMEOUT_S, "everything delivered", 0.1)
    except AssertionError as error:
        note(str(error))
    drain_s = time.monotonic() - begin
    lost = published - delivered(cloud)
    plant.close()
    rows = [("published, acknowledged by the field broker", len(published)),
            ("journalled by the gateway", gateway.journalled()),
            ("delivered to the cloud", len(delivered(cloud) & published)),
            ("duplicates", len(cloud.values("n")) - len(delivered(cloud))),
            ("lost", len(lost)),
            ("from uplink back to all delivered", "%.1f s" % drain_s)]

    say("ThingsBoard opens a valve: fieldgatectl roundtrip --device valve-1 --method open ...")
    has_answered = gateway.process and command(directory, field, cloud, gateway) == 0
    status = gateway.process and gateway.term()

    say("result")
    table(rows + [("command to the valve", "answered" if has_answered else "NOT answered")])
    if cloud.complaints():
        note("ThingsBoard would have complained %d times, first: %s" % (len(cloud.complaints()),
                                                                       cloud.complaints()[0]))
    if lost or status != 0 or not has_answered:
        print("\nquickstart: FAILED, exit status of the gateway %s; its last words:" % status)
        print("".join("   %s\n" % line for line in gateway.log().splitlines()[-20:]))
        return 1
    print("\nquickstart: everything that was published has been delivered, and the command was answered.")
    return 0


def main(directory):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(143))
    field, cloud = FieldBroker(directory), ThingsBoard(directory, BUILD)
    gateway = Gateway(directory, mappings=[{
        "topic": "sensors/{device}/climate", "payload": "json", "time": "$.ts",
        "telemetry": {"temperature": "$.temperature", "humidity": "$.humidity", "n": "$.n"}},
        {"topic": "valves/{device}/state", "payload": "json"}])
    gateway.config["commands"] = [{"topic": "cmd/{device}/{command}/{id}", "response": {
        "topic": "cmd/{device}/{command}/{id}/response", "correlate": "topic"}}]
    try:
        return run(directory, field, cloud, gateway)
    except KeyboardInterrupt:
        return 130
    finally:
        gateway.stop()
        field.stop()
        cloud.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
