"""A real Mosquitto as a child process, and what every stand-in needs around it."""
import ctypes
import os
import signal
import socket
import subprocess
import time

MOSQUITTO = "/usr/sbin/mosquitto"


def wait_for(fact, timeout_s=20.0, what="", every_s=0.01):
    """Poll @fact until it is true, and return it; AssertionError after @timeout_s."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = fact()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("after %g s still not: %s" % (timeout_s, what or fact))
        time.sleep(every_s)


def free_port():
    """A loopback port nobody uses now. The kernel chooses."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def die_with_parent():
    """In a child: do not outlive a test that was killed."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def is_listening(port):
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


class Mosquitto:
    """One broker process on a loopback port. Its port stays its own while the process is down."""

    def __init__(self, directory, name, config, tls=None):
        """@config: lines after the listener. @tls: {"ca", "certificate", "key", "require": bool}."""
        self.directory, self.name, self.config, self.tls = directory, name, config, tls
        self.port = None
        self.process = None
        self._placeholder = None

    def start(self):
        for _ in range(20):
            port = self.port or free_port()
            if self._launch(port):
                self.port = port
                return self
        raise AssertionError("%s does not start, see %s" % (self.name, self.log_path))

    @property
    def log_path(self):
        return os.path.join(self.directory, self.name + ".log")

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def _launch(self, port):
        path = os.path.join(self.directory, self.name + ".conf")
        lines = ["user root", "listener %d 127.0.0.1" % port]
        if self.tls:
            lines += ["certfile " + self.tls["certificate"], "keyfile " + self.tls["key"]]
            if self.tls.get("require"):
                lines += ["cafile " + self.tls["ca"], "require_certificate true"]
        with open(path, "w") as f:
            f.write("\n".join(lines + self.config) + "\n")
        self._release()
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen([MOSQUITTO, "-c", path], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, preexec_fn=die_with_parent)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                self.process = None
                return False
            if is_listening(port):
                return True
            time.sleep(0.01)
        self.kill()
        return False

    def _release(self):
        if self._placeholder:
            self._placeholder.close()
            self._placeholder = None

    def kill(self, how=signal.SIGKILL):
        """End the process. Connections to its port are refused from now on."""
        if not self.process:
            return
        self.process.send_signal(how)
        self.process.send_signal(signal.SIGCONT)
        self.process.wait()
        self.process = None
        # Bound but not listening: nobody else gets the port, and a client that keeps trying cannot end
        # up connected to itself, as it can on a free port of the range the kernel takes from.
        self._placeholder = socket.socket()
        self._placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._placeholder.bind(("127.0.0.1", self.port or 0))
        except OSError:
            self._release()

    def freeze(self):
        """Stop answering, but keep every connection: a network that swallows all packets."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        """End it in good order (a persistent broker saves its state)."""
        self.kill(signal.SIGTERM)
        self._release()
