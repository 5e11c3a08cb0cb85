"""A small HTTP server on a loopback port."""
import http.server
import socketserver
import ssl
import threading


class Web:
    """Calls @handle(request) for each request, on a thread of the request's own; request is a
    BaseHTTPRequestHandler with .body."""

    def __init__(self, handle, tls=None):
        """@tls: {"certificate", "key"}: paths, for localhost; None: no TLS."""
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
        self.url = "%s:%d" % ("https://localhost" if tls else "http://127.0.0.1", self._server.server_address[1])
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls["certificate"], tls["key"])
            # The handshake is on the request's thread: a client that does not trust us holds nobody up.
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True,
                                                      do_handshake_on_connect=False)
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
