"""The server's connection to its own broker: one MQTT client on a Unix socket. core.c is the other end."""
import heapq
import json
import os
import selectors
import socket
import struct
import sys
import threading
import time
import traceback

from mosquitto import wait_for
from scripted_broker import CONNECT, PUBLISH, Reader, field, packet

TOPIC = "core"


class Link:
    """Calls @on_message(header, body) for all the broker tells, and @on_lost() when it is gone; both on one
    thread, which also runs timers. send() may be called from any thread. What goes wrong in these calls is
    printed and kept in errors; the thread goes on."""

    def __init__(self, path, client_id, lock, on_message, on_lost):
        self._path, self._client_id, self._lock = path, client_id, lock
        self._on_message, self._on_lost = on_message, on_lost
        self._socket = None
        self._in, self._out = bytearray(), bytearray()
        self._timers, self._n_timers = [], 0  # a heap of [deadline, number, call or None]
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        self._thread = None
        self._is_ending = False
        self.errors = []

    # ---- from any thread

    def attach(self, timeout_s=20):
        """Log in to a broker that has just been started."""
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(timeout_s)
        # The port for devices is open a moment before this one.
        wait_for(lambda: s.connect_ex(self._path) == 0, timeout_s, "the broker listens for its core")
        s.sendall(packet(CONNECT, 0, field("MQTT") + bytes([4, 2]) + struct.pack("!H", 0) + field(self._client_id)))
        connack = b""
        while len(connack) < 4:
            part = s.recv(4 - len(connack))
            if not part:
                raise ConnectionError("the broker does not let its core in")
            connack += part
        if connack[3] != 0:
            raise ConnectionError("the broker refuses its core: %d" % connack[3])
        s.setblocking(False)
        with self._lock:
            self._in.clear()
            self._out.clear()
            self._socket = s
        if not self._thread:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        self._wake()

    def send(self, header, body=b""):
        """Tell the broker. What it is told while it is down is lost."""
        text = json.dumps(header).encode()
        frame = packet(PUBLISH, 0, field(TOPIC) + struct.pack("<I", len(text)) + text + body)
        with self._lock:
            if not self._socket:
                return False
            self._out += frame
            self._flush()
            if self._out:
                self._wake()
        return True

    def after(self, seconds, call):
        """Have @call() made in @seconds. Returns what cancel() takes."""
        with self._lock:
            self._n_timers += 1
            timer = [time.monotonic() + seconds, self._n_timers, call]
            heapq.heappush(self._timers, timer)
            is_next = self._timers[0] is timer
        if is_next:
            self._wake()
        return timer

    @staticmethod
    def cancel(timer):
        """It will not be called; None is none."""
        if timer:
            timer[2] = None

    def close(self):
        self._is_ending = True
        self._wake()
        if self._thread:
            self._thread.join()
            self._thread = None
        with self._lock:
            if self._socket:
                self._socket.close()
                self._socket = None
        for end in (self._wake_in, self._wake_out):
            os.close(end)

    # ---- its own thread

    def _guarded(self, call, *arguments):
        try:
            call(*arguments)
        except Exception:  # whatever it is, the test that caused it has to see it
            self.errors.append(traceback.format_exc())
            print(self.errors[-1], file=sys.stderr)

    def _wake(self):
        try:
            os.write(self._wake_out, b"w")
        except BlockingIOError:
            pass

    def _flush(self):
        try:
            while self._out:
                del self._out[:self._socket.send(self._out)]
        except BlockingIOError:
            pass
        except OSError:
            self._out.clear()

    def _run(self):
        while not self._is_ending:
            with self._lock:
                s, has_more = self._socket, bool(self._out)
                due = self._timers[0][0] if self._timers else None
            with selectors.DefaultSelector() as selector:
                selector.register(self._wake_in, selectors.EVENT_READ)
                if s:
                    selector.register(s, selectors.EVENT_READ | (selectors.EVENT_WRITE if has_more else 0))
                ready = selector.select(None if due is None else max(0, due - time.monotonic()))
            for key, events in ready:
                if key.fd == self._wake_in:
                    os.read(self._wake_in, 4096)
                else:
                    self._serve(s, events)
            self._run_timers()

    def _run_timers(self):
        with self._lock:
            while self._timers and self._timers[0][0] <= time.monotonic():
                call = heapq.heappop(self._timers)[2]
                if call:
                    self._guarded(call)

    def _serve(self, s, events):
        with self._lock:
            if events & selectors.EVENT_WRITE:
                self._flush()
            if not events & selectors.EVENT_READ:
                return
            try:
                data = s.recv(1 << 20)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            self._in += data
            for body in self._packets():
                reader = Reader(body)
                reader.field()
                header = json.loads(reader.take(int.from_bytes(reader.take(4), "little")))
                self._guarded(self._on_message, header, reader.rest())
            if not data and self._socket is s:
                s.close()
                self._socket = None
                self._guarded(self._on_lost)

    def _packets(self):
        """The bodies of whole PUBLISH packets, taken out of what has come."""
        at = 0
        while True:
            size = shift = 0
            i = at + 1
            while i < len(self._in):
                size |= (self._in[i] & 0x7F) << shift
                shift += 7
                i += 1
                if not self._in[i - 1] & 0x80:
                    break
            else:
                break
            if i + size > len(self._in):
                break
            if self._in[at] >> 4 == PUBLISH:
                yield bytes(self._in[i:i + size])
            at = i + size
        del self._in[:at]
