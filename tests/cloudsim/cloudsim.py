#!/usr/bin/python3
"""Stand-in clouds: a real Mosquitto with a plugin that enforces one cloud's rules, the server behind it, and what
it has taken. README.md says what they do and what they cannot.

    cloud = ThingsBoard("/tmp/x", "build")
    cloud.start()
    ...
    cloud.outage(); cloud.resume()
    cloud.samples()
    cloud.rpc("pump 4", "start", {"rpm": 900})
    cloud.stop()

From a shell: cloudsim.py thingsboard [--build DIRECTORY]
"""
import argparse
import signal
import sys
import tempfile

from mosquitto import Mosquitto, die_with_parent, free_port, is_listening, wait_for  # noqa: F401
from thingsboard import RpcError, ThingsBoard  # noqa: F401


def main():
    parser = argparse.ArgumentParser(description="Run a stand-in for a cloud on this machine until interrupted.")
    parser.add_argument("cloud", choices=["thingsboard"])
    parser.add_argument("--build", default="build", help="the build directory (build)")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as directory:
        cloud = ThingsBoard(directory, chosen.build)
        try:
            cloud.start()
            print("MQTT   mqtt://127.0.0.1:%d, username %s" % (cloud.port, cloud.TOKEN))
            print("REST   %s, user tenant@thingsboard.org, password tenant" % cloud.rest_url)
            print("record %s" % cloud.record_path, flush=True)
            signal.pause()
        except KeyboardInterrupt:
            pass
        finally:
            cloud.stop()


if __name__ == "__main__":
    main()
