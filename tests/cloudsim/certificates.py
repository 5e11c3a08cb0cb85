"""Certificates for tests, made by openssl."""
import os
import subprocess


class Certificates:
    """A CA of the test's own, and what it signs."""

    def __init__(self, directory, name="ca"):
        self.directory, self.name = directory, name
        self.ca = self._path(name + ".pem")
        self._run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                  "-subj", "/CN=%s of the test" % name, "-keyout", self._path(name + ".key"), "-out", self.ca)

    def _path(self, name):
        return os.path.join(self.directory, name)

    def _run(self, *words):
        return subprocess.run(("openssl",) + words, cwd=self.directory, check=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout.decode()

    def issue(self, name, alt="DNS:localhost,IP:127.0.0.1", password=None, days=2):
        """{"ca", "certificate", "key"}: paths."""
        key, certificate = self._path(name + ".key"), self._path(name + ".pem")
        request, extra = self._path(name + ".csr"), self._path(name + ".ext")
        with open(extra, "w") as f:
            f.write("subjectAltName=%s\n" % alt)
        self._run("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                  "-subj", "/CN=" + name, "-keyout", key, "-out", request)
        self._run("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self._path(self.name + ".key"),
                  "-CAcreateserial", "-days", str(days), "-extfile", extra, "-out", certificate)
        if password:
            self._run("ec", "-in", key, "-aes256", "-passout", "pass:" + password, "-out", key + ".enc")
            key += ".enc"
        return {"ca": self.ca, "certificate": certificate, "key": key}

    def sha256(self, certificate):
        line = self._run("x509", "-in", certificate, "-noout", "-fingerprint", "-sha256")
        return line.split("=")[1].strip().replace(":", "").lower()
