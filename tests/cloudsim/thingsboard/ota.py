"""Firmware and software packages: assigned by shared attributes, fetched in chunks over MQTT or by HTTP."""
import re
import time

from .checksums import checksum

REQUEST = re.compile(r"v2/(fw|sw)/request/(\d+)/chunk/(\d+)$")
MAX_CHUNK = 65536
KEYS = ("title", "version", "ts", "state", "size", "checksum", "checksum_algorithm", "url", "tag")
FAULTS = ("checksum", "size", "cut_at_chunk", "corrupt_chunk", "silent_at_chunk", "error_at_chunk",
          "cut_at", "length", "status", "delay_s", "no_range", "corrupt_at")


class Package:
    """@fault: see ThingsBoard.assign_firmware()."""

    def __init__(self, kind, title, version, data, algorithm, tag, fault):
        self.kind, self.title, self.version, self.data = kind, title, version, data
        self.algorithm, self.tag, self.url = algorithm, tag, None
        self.fault = dict(fault or {})
        unknown = set(self.fault) - set(FAULTS)
        if unknown:
            raise ValueError("no such fault of a package: %s" % ", ".join(sorted(unknown)))
        self.n_chunks_sent = 0

    def attributes(self):
        """(to set, to delete) under their full names."""
        digest = checksum(self.algorithm, self.data)
        if self.fault.get("checksum"):
            digest = ("0" if digest[0] != "0" else "1") + digest[1:]
        values = {"title": self.title, "version": self.version, "size": self.fault.get("size", len(self.data)),
                  "checksum_algorithm": self.algorithm, "checksum": digest}
        if self.tag:
            values["tag"] = self.tag
        if self.url:
            values["url"] = self.url
        unused = [key for key in ("url", "tag") if key not in values]
        return ({"%s_%s" % (self.kind, key): value for key, value in values.items()},
                ["%s_%s" % (self.kind, key) for key in unused])


class Ota:
    def __init__(self, server):
        self._server = server

    # ---- from tests

    def assign(self, device, package):
        """The keys it does not use are deleted first, whether they were there or not."""
        device.packages[package.kind] = package
        now = int(time.time() * 1000)
        device.written += [(now, package.kind + "_state", "QUEUED"), (now + 1, package.kind + "_state", "INITIATED")]
        values, unused = package.attributes()
        if unused:
            self._server.attributes.delete_shared(device, unused, is_told_anyway=True)
        self._server.attributes.set_shared(device, values)

    def unassign(self, device, kind):
        device.packages.pop(kind, None)
        self._server.attributes.delete_shared(device, ["%s_%s" % (kind, key) for key in KEYS], is_told_anyway=True)

    # ---- from devices

    def on_message(self, session, topic, body):
        request = REQUEST.match(topic)
        if not request:
            return False
        kind, number, chunk = request[1], request[2], int(request[3])
        if body and int(body) > 0:
            session.chunk_sizes[number] = int(body)
        size = session.chunk_sizes.get(number, 0)
        if size > MAX_CHUNK:
            self._fail(session, "PAYLOAD_TOO_LARGE")
            return True
        package = session.ota_requests.get(number)
        if not package:
            package = session.device.packages.get(kind)
            if not package:
                self._fail(session, "NOT_FOUND")
                return True
            if package.url:
                self._fail(session, "FAILURE")
                return True
            session.ota_requests[number] = package
        self._send(session, package, topic.replace("/request/", "/response/"), kind, size, chunk)
        return True

    def _send(self, session, package, topic, kind, size, chunk):
        fault = package.fault
        if fault.get("cut_at_chunk") == chunk:
            del fault["cut_at_chunk"]  # once; a download that begins again gets through
            self._server.kick(session)
            return
        if fault.get("error_at_chunk") == chunk:
            del fault["error_at_chunk"]
            self._fail(session, "FAILURE")
            return
        if fault.get("silent_at_chunk") == chunk:
            del fault["silent_at_chunk"]
            return
        data = package.data[chunk * size:(chunk + 1) * size] if size else package.data if chunk == 0 else b""
        if fault.get("corrupt_chunk") == chunk and data:
            data = bytes([data[0] ^ 0xFF]) + data[1:]
        package.n_chunks_sent += 1
        self._server.publish(session, topic, data, matching="v2/%s/response/+/chunk/+" % kind)

    def _fail(self, session, text):
        """Software's errors come on the same topic. Then the connection is closed."""
        self._server.publish(session, "v2/fw/error", text.encode())
        self._server.kick(session, ticks=3)
