"""What the platform has of each device, and what an application wants of it."""
import time

from .downlink import SET


def stamp(ms):
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(ms / 1000))


class Shadow:
    def __init__(self, broker):
        self._broker = broker
        self._reported, self._desired = {}, {}  # device: {service: {property: value}}
        self._versions = {}                     # (device, service): rises with each change
        self._times = {}                        # (device, service): event_time of the last report

    def reported(self, readings):
        """A report has come: what is desired of its devices and is not so yet is sent to them again."""
        for reading in readings:
            self._reported.setdefault(reading.device, {}).setdefault(reading.service, {}).update(reading.properties)
            self._times[reading.device, reading.service] = stamp(
                1000 * self._broker.now() if reading.ms is None else reading.ms)
            self._changed(reading.device, reading.service)
        for device in {reading.device for reading in readings}:
            self.send(device)

    def desire(self, device, services):
        for service, properties in services.items():
            self._desired.setdefault(device, {}).setdefault(service, {}).update(properties)
            self._changed(device, service)
        self.send(device)

    def _changed(self, device, service):
        self._versions[device, service] = self._versions.get((device, service), 0) + 1

    def missing(self, device):
        """{service: {property: value}} of what is desired and not reported so."""
        reported = self._reported.get(device, {})
        missing = {service: {k: v for k, v in wanted.items() if reported.get(service, {}).get(k) != v}
                   for service, wanted in self._desired.get(device, {}).items()}
        return {service: properties for service, properties in missing.items() if properties}

    def send(self, device):
        missing = self.missing(device)
        if missing and self._broker.registry.login_of(device) in self._broker.sessions:
            body = {"services": [{"service_id": id_, "properties": p} for id_, p in missing.items()]}
            self._broker.downlink.begin(SET, device, body, self._broker.settings.command_timeout_s)

    def describe(self, device, service=None):
        reported, desired = self._reported.get(device, {}), self._desired.get(device, {})
        return [{"service_id": id_, "desired": {"properties": desired.get(id_), "event_time": None},
                 "reported": {"properties": reported.get(id_), "event_time": self._times.get((device, id_))},
                 "version": self._versions[device, id_]}
                for id_ in sorted(set(reported) | set(desired)) if service in (None, id_)]
