"""A small MQTT server whose reactions are Python, one call for each packet. For what a real broker cannot be
made to do: any PUBACK code, no PUBACK at all, packets that break the rules, an answer at the wrong moment.

    class Late(Script):
        def on_publish(self, c, packet):
            if packet.topic == "x":
                return c.close()
            super().on_publish(c, packet)

    server = ScriptedBroker(Late()).start()

One thread per server; a script's methods are called on it, one at a time. Packets are coded here, from MQTT
3.1.1 and 5.0, and share nothing with the clients under test.
"""
import collections
import concurrent.futures
import selectors
import socket
import ssl
import struct
import threading
import time
import traceback

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = 8, 9, 10, 11, 12, 13, 14, 15

# Types of MQTT 5's properties (2.2.2.2): b one byte, h two, i four, v variable, s text, d binary, p pair.
PROPERTY_TYPES = {
    1: "b", 2: "i", 3: "s", 8: "s", 9: "d", 11: "v", 17: "i", 18: "s", 19: "h", 21: "s", 22: "d", 23: "b",
    24: "i", 25: "b", 26: "s", 28: "s", 31: "s", 33: "h", 34: "h", 35: "h", 36: "b", 37: "b", 38: "p",
    39: "i", 40: "b", 41: "b", 42: "b",
}


def variable(n):
    """A variable byte integer (MQTT 5, 1.5.5)."""
    out = bytearray()
    while True:
        n, digit = n >> 7, n & 0x7F
        out.append(digit | (0x80 if n else 0))
        if not n:
            return bytes(out)


def field(data):
    """Text or bytes with their length in front. Bytes may be anything, well-formed or not."""
    if isinstance(data, str):
        data = data.encode()
    return struct.pack("!H", len(data)) + data


def properties(values):
    """{identifier: value} as MQTT 5 properties, length in front."""
    out = b""
    for key, value in (values or {}).items():
        kind = PROPERTY_TYPES[key]
        out += variable(key)
        if kind in "bhi":
            out += struct.pack({"b": "!B", "h": "!H", "i": "!I"}[kind], value)
        elif kind == "v":
            out += variable(value)
        elif kind == "p":
            out += field(value[0]) + field(value[1])
        else:
            out += field(value)
    return variable(len(out)) + out


def packet(kind, flags, body):
    return bytes([kind << 4 | flags]) + variable(len(body)) + body


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if self.at + n > len(self.data):
            raise ValueError("packet too short")
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, n):
        return int.from_bytes(self.take(n), "big")

    def field(self):
        return self.take(self.number(2))

    def variable(self):
        value = shift = 0
        while True:
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    def properties(self):
        end = self.variable() + self.at
        found = {}
        while self.at < end:
            key = self.variable()
            kind = PROPERTY_TYPES[key]
            if kind in "bhi":
                found[key] = self.number({"b": 1, "h": 2, "i": 4}[kind])
            elif kind == "v":
                found[key] = self.variable()
            elif kind == "p":
                found.setdefault(key, []).append((self.field(), self.field()))
            else:
                found[key] = self.field()
        return found

    def rest(self):
        return self.take(len(self.data) - self.at)


Connect = collections.namedtuple("Connect", "version clean keep_alive client_id username password properties has_will")
Publish = collections.namedtuple("Publish", "topic payload qos retain dup id properties")
Ack = collections.namedtuple("Ack", "kind id code")
Subscribe = collections.namedtuple("Subscribe", "id filters properties")


def parse(kind, flags, body, version):
    r = Reader(body)
    if kind == CONNECT:
        r.field()
        version = r.number(1)
        bits = r.number(1)
        keep_alive = r.number(2)
        props = r.properties() if version == 5 else {}
        client_id = r.field().decode()
        if bits & 4:
            if version == 5:
                r.properties()
            r.field(), r.field()
        username = r.field().decode() if bits & 0x80 else None
        password = r.field().decode() if bits & 0x40 else None
        return Connect(version, bool(bits & 2), keep_alive, client_id, username, password, props, bool(bits & 4))
    if kind == PUBLISH:
        qos = flags >> 1 & 3
        topic = r.field().decode(errors="replace")
        packet_id = r.number(2) if qos else None
        props = r.properties() if version == 5 else {}
        return Publish(topic, r.rest(), qos, flags & 1, flags >> 3 & 1, packet_id, props)
    if kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
        packet_id = r.number(2)
        return Ack(kind, packet_id, r.number(1) if len(body) > 2 else 0)
    if kind in (SUBSCRIBE, UNSUBSCRIBE):
        packet_id = r.number(2)
        props = r.properties() if version == 5 else {}
        filters = []
        while r.at < len(body):
            filters.append((r.field().decode(), r.number(1) if kind == SUBSCRIBE else 0))
        return Subscribe(packet_id, filters, props)
    return body


# A handshake is done by the first recv(). What it writes finds room in the socket's buffer.
WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Connection:
    """One client, as a script sees it. @peer_certificate: the one it has shown, in DER, or None."""

    def __init__(self, server, sock, number):
        self.server, self.sock, self.number = server, sock, number
        self.peer_certificate = None
        self.version = 4
        self.connect = None
        self.is_open, self._is_lingering = True, False
        self._in = bytearray()
        self._out = bytearray()
        self._next_id = 0

    def send(self, data):
        """Raw bytes; may be anything."""
        if self.is_open:
            self._out += data
            self._flush()

    def connack(self, code=0, session_present=False, props=None):
        body = bytes([int(session_present), code]) + (properties(props) if self.version == 5 else b"")
        self.send(packet(CONNACK, 0, body))

    def puback(self, packet_id, code=0, props=None):
        body = struct.pack("!H", packet_id)
        if self.version == 5 and (code or props):
            body += bytes([code]) + (properties(props) if props else b"")
        self.send(packet(PUBACK, 0, body))

    def suback(self, packet_id, codes):
        body = struct.pack("!H", packet_id) + (b"\0" if self.version == 5 else b"") + bytes(codes)
        self.send(packet(SUBACK, 0, body))

    def unsuback(self, packet_id, n_filters):
        body = struct.pack("!H", packet_id) + (b"\0" + bytes(n_filters) if self.version == 5 else b"")
        self.send(packet(UNSUBACK, 0, body))

    def publish(self, topic, payload, qos=1, packet_id=None, dup=False, retain=False, props=None):
        """Returns the packet id. @topic may be bytes that are no text."""
        if qos and packet_id is None:
            self._next_id = self._next_id % 65535 + 1
            packet_id = self._next_id
        body = field(topic) + (struct.pack("!H", packet_id) if qos else b"")
        body += properties(props) if self.version == 5 else b""
        payload = payload.encode() if isinstance(payload, str) else payload
        self.send(packet(PUBLISH, dup << 3 | qos << 1 | retain, body + payload))
        return packet_id

    def disconnect(self, code):
        """The server's DISCONNECT of MQTT 5, then the end."""
        if self.version == 5:
            self.send(packet(DISCONNECT, 0, bytes([code])))
        self.close()

    def close(self, abort=False):
        """End the connection once all is sent; with @abort by a reset."""
        if not self.is_open:
            return
        self.is_open = False
        if abort:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.server._forget(self)

    def _flush(self):
        try:
            while self._out and not self.server.is_frozen:
                del self._out[:self.sock.send(self._out[:1 << 18])]
        except WOULD_BLOCK:
            pass
        except OSError:
            return self.close()
        self.server._watch(self)

    def _linger(self):
        """Say no more, and swallow what comes until the client has gone: a reset would overtake the alert."""
        self._is_lingering = True
        try:
            self.sock.shutdown(socket.SHUT_WR)  # from here on the socket is a plain one
        except OSError:
            self.close()

    def _swallow(self):
        try:
            if self.sock.recv(1 << 18):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self.close()

    def _read(self):
        if self._is_lingering:
            return self._swallow()
        try:
            data = self.sock.recv(1 << 18)
            while self.server.tls and self.sock.pending():
                data += self.sock.recv(1 << 18)
        except WOULD_BLOCK:
            return
        except ssl.SSLError as error:
            self.server.script.on_tls_error(self, error.reason or str(error))
            self.server.script.on_closed(self)
            return self._linger()
        except OSError:
            data = b""
        if not data:
            self.server.script.on_closed(self)
            return self.close()
        if self.server.tls and not self.peer_certificate:
            self.peer_certificate = self.sock.getpeercert(binary_form=True)
        self._in += data
        while self.is_open:
            size = shift = 0
            at = 1
            while True:
                if at >= len(self._in):
                    return
                byte = self._in[at]
                size |= (byte & 0x7F) << shift
                shift += 7
                at += 1
                if not byte & 0x80:
                    break
            if len(self._in) < at + size:
                return
            first, body = self._in[0], bytes(self._in[at:at + size])
            del self._in[:at + size]
            self.server._packet(self, first >> 4, first & 15, body)


class Script:
    """What a friendly broker does. Override what shall be different."""

    def on_connect(self, c, connect):
        c.connack()

    def on_publish(self, c, publish):
        if publish.qos == 1:
            c.puback(publish.id)

    def on_subscribe(self, c, subscribe):
        c.suback(subscribe.id, [min(options & 3, 1) for _, options in subscribe.filters])

    def on_unsubscribe(self, c, unsubscribe):
        c.unsuback(unsubscribe.id, len(unsubscribe.filters))

    def on_ack(self, c, ack):
        """A PUBACK for what we have sent."""

    def on_ping(self, c):
        c.send(packet(PINGRESP, 0, b""))

    def on_disconnect(self, c, body):
        c.close()

    def on_closed(self, c):
        """The client has gone without a word."""

    def on_tls_error(self, c, why):
        """TLS has failed, mostly in the handshake; @why: OpenSSL's word for it. on_closed() follows."""

    def on_tick(self, server):
        """About every 10 ms."""


class ScriptedBroker:
    """Serve @script on a loopback port, over TLS with an ssl.SSLContext as @tls. `log` keeps (monotonic time,
    connection number, packet) of all packets received, in order."""

    def __init__(self, script=None, port=0, tls=None):
        self.script, self.tls = script or Script(), tls
        self._listener = self._bound(port)
        self.port = self._listener.getsockname()[1]
        self.log = []
        self.connections = []
        self.errors = []
        self.is_frozen = False  # set: answer nobody, but keep every connection
        self._n = 0
        self._calls = collections.deque()
        self._stop = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @staticmethod
    def _bound(port):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        return listener

    def _listen(self):
        self._listener.listen(100)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, None)

    def start(self):
        self._listen()
        self._thread.start()
        return self

    def refuse(self):
        """Break all connections and refuse new ones. The port stays this broker's: bound, but not listening."""
        def run():
            self._selector.unregister(self._listener)
            self._listener.close()
            for c in list(self.connections):
                c.close(abort=True)
            self._listener = self._bound(self.port)
        self.call(run)

    def accept(self):
        """Take connections again, after refuse()."""
        self.call(self._listen)

    def stop(self):
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        for c in list(self.connections):
            c.close()
        self._listener.close()
        self._selector.close()

    def call(self, what):
        """Have what() called on the server's thread; returns what it returned, raises what it raised."""
        call = concurrent.futures.Future()
        self._calls.append((call, what))
        deadline = time.monotonic() + 20
        while self._thread.is_alive() and time.monotonic() < deadline:
            try:
                return call.result(0.5)
            except concurrent.futures.TimeoutError:
                pass
        raise AssertionError("the scripted broker does not answer: %s" % self.errors)

    def packets(self, of):
        """All packets of the class @of, in order."""
        return [p for _, _, p in list(self.log) if isinstance(p, of)]

    def _watch(self, c):
        if c.is_open:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if c._out else 0)
            self._selector.modify(c.sock, events, c)

    def _forget(self, c):
        if c in self.connections:
            self.connections.remove(c)
            self._selector.unregister(c.sock)
            if c._out:
                c.sock.setblocking(True)
                c.sock.settimeout(1)
                try:
                    c.sock.sendall(c._out)
                except OSError:
                    pass
        c.sock.close()

    def _packet(self, c, kind, flags, body):
        try:
            parsed = parse(kind, flags, body, c.version)
        except (ValueError, KeyError, UnicodeDecodeError) as error:
            self.errors.append("packet type %d: %r" % (kind, error))
            return c.close()
        self.log.append((time.monotonic(), c.number, parsed))
        if kind == CONNECT:
            c.version, c.connect = parsed.version, parsed
            self.script.on_connect(c, parsed)
        elif kind == PUBLISH:
            self.script.on_publish(c, parsed)
        elif kind == SUBSCRIBE:
            self.script.on_subscribe(c, parsed)
        elif kind == UNSUBSCRIBE:
            self.script.on_unsubscribe(c, parsed)
        elif kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
            self.script.on_ack(c, parsed)
        elif kind == PINGREQ:
            self.script.on_ping(c)
        elif kind == DISCONNECT:
            self.script.on_disconnect(c, parsed)

    def _run(self):
        try:
            self._serve()
        except Exception:
            self.errors.append(traceback.format_exc())
            raise

    @staticmethod
    def _answer(call, what):
        try:
            call.set_result(what())
        except Exception as error:
            call.set_exception(error)

    def _serve(self):
        while not self._stop.is_set():
            if self.is_frozen:
                time.sleep(0.01)
            for key, events in () if self.is_frozen else self._selector.select(0.01):
                if key.data is None:
                    try:
                        sock, _ = self._listener.accept()
                        sock.setblocking(False)
                        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        if self.tls:
                            sock = self.tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
                    except OSError:
                        continue
                    self._n += 1
                    c = Connection(self, sock, self._n)
                    self.connections.append(c)
                    self._selector.register(sock, selectors.EVENT_READ, c)
                    continue
                c = key.data
                if c.is_open and events & selectors.EVENT_WRITE:
                    c._flush()
                if c.is_open and events & selectors.EVENT_READ:
                    c._read()
            while self._calls:
                self._answer(*self._calls.popleft())
            if not self.is_frozen:
                self.script.on_tick(self)
