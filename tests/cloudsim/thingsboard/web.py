"""A small HTTP server on a loopback port, and packages served from it, with faults."""
import http.server
import re
import socketserver
import threading
import time


class Web:
    """Calls @handle(request) for each request, on a thread of the request's own; request is a
    BaseHTTPRequestHandler with .body."""

    def __init__(self, handle):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self):
                self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                handle(self)

            do_GET = do_HEAD = do_POST = do_DELETE = do_PUT = do

            def log_message(self, *_):
                pass

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # a client that has gone

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d" % self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


def respond(request, status, body=b"", content_type="application/json", headers=()):
    request.send_response(status)
    request.send_header("Content-Type", content_type)
    request.send_header("Content-Length", str(len(body)))
    for name, value in headers:
        request.send_header(name, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)


class PackageShelf:
    """Packages under /NUMBER/NAME. Knows Range (RFC 9110, 14) and If-Range, unless the fault "no_range"."""

    def __init__(self):
        self._packages = {}
        self._lock = threading.Lock()
        self.requests = []  # (path, Range header or None, status)
        self._web = Web(self._handle)

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
        status, headers, data = self._answer(package, request)
        with self._lock:
            self.requests.append((request.path, wanted, status))
        fault = package.fault if package else {}
        if "delay_s" in fault:
            time.sleep(fault["delay_s"])
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
