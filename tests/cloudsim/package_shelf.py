"""Packages served by HTTP or HTTPS, with faults."""
import re
import threading
import time

from web import Web


class PackageShelf:
    """Packages under /NUMBER/NAME. Knows Range (RFC 9110, 14) and If-Range, unless the fault "no_range".

    A package has `data`, `version` and `fault`. It may have refusal(request), which returns a status for who may not
    have it, or None; and sent(is_complete), told of each answer."""

    def __init__(self, tls=None):
        """@tls: {"certificate", "key"}: paths."""
        self._packages = {}
        self._lock = threading.Lock()
        self.requests = []  # (path without query, Range header or None, status)
        self._web = Web(self._handle, tls)

    def put(self, package):
        """Returns its URL."""
        with self._lock:
            number = str(len(self._packages) + 1)
            self._packages[number] = package
        return "%s/%s/package.bin" % (self._web.url, number)

    def stop(self):
        self._web.stop()

    def _handle(self, request):
        package = self._packages.get(request.path.split("/")[1])
        wanted = request.headers.get("Range")
        refusal = package.refusal(request) if hasattr(package, "refusal") else None
        status, headers, data = (refusal, {}, b"no\n") if refusal else self._answer(package, request)
        with self._lock:
            self.requests.append((request.path.partition("?")[0], wanted, status))
        fault = package.fault if package else {}
        delay_s = fault.get("delay_s", 0)
        if isinstance(delay_s, list):  # of one request after the other
            delay_s = delay_s.pop(0) if delay_s else 0
        time.sleep(delay_s)
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        length = len(data)
        if status < 300:
            length = fault.get("length", length)
        request.send_header("Content-Length", str(length))
        request.end_headers()
        if request.command == "HEAD":
            return
        if status < 300 and "cut_at" in fault:
            data = data[:fault.pop("cut_at")]  # once: whoever goes on from there gets the rest
            request.close_connection = True
        if len(data) != length:
            request.close_connection = True
        request.wfile.write(data[:length] if status < 300 else data)
        if status < 300 and hasattr(package, "sent"):
            package.sent(len(data) == length)

    @staticmethod
    def _answer(package, request):
        """(status, headers, body)"""
        if not package:
            return 404, {}, b""
        fault = package.fault
        if "status" in fault:
            return fault["status"], {}, b"no\n"
        data, tag = package.data, '"%s-%s"' % (package.version, len(package.data))
        if "corrupt_at" in fault:
            at = fault["corrupt_at"]
            data = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1:]
        headers = {"Content-Type": "application/octet-stream", "ETag": tag}
        if fault.get("no_range"):
            return 200, headers, data
        headers["Accept-Ranges"] = "bytes"
        found = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range") or "")
        if not found or found[0] == "bytes=-" or request.headers.get("If-Range", tag) != tag:
            return 200, headers, data
        if not found[1]:
            first, last = max(0, len(data) - int(found[2])), len(data) - 1
        else:
            first, last = int(found[1]), min(int(found[2] or len(data) - 1), len(data) - 1)
        if first >= len(data) or first > last:
            return 416, {"Content-Range": "bytes */%d" % len(data)}, b""
        headers["Content-Range"] = "bytes %d-%d/%d" % (first, last, len(data))
        return 206, headers, data[first:last + 1]
