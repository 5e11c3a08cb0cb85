#!/usr/bin/python3
"""Stand-in clouds: a broker that enforces one cloud's rules, the server behind it, and what it has taken. README.md
says what they do and what they cannot.

    cloud = ThingsBoard("/tmp/x", "build")
    cloud.start()
    ...
    cloud.outage(); cloud.resume()
    cloud.samples()
    cloud.rpc("pump 4", "start", {"rpm": 900})
    cloud.stop()

From a shell: cloudsim.py thingsboard|huawei [--build DIRECTORY]
"""
import argparse
import signal
import sys
import tempfile

from huawei import Bootstrap, GATEWAY, SECRET, CommandError, Huawei  # noqa: F401
from huawei.cloud import PROJECT_ID
from huawei.iam import DOMAIN, PASSWORD, USER
from mosquitto import Mosquitto, die_with_parent, free_port, is_listening, wait_for  # noqa: F401
from thingsboard import RpcError, ThingsBoard  # noqa: F401


def run_thingsboard(cloud):
    print("MQTT   mqtt://127.0.0.1:%d, username %s" % (cloud.port, cloud.TOKEN))
    print("REST   %s, user tenant@thingsboard.org, password tenant" % cloud.rest_url)
    print("record %s" % cloud.record_path, flush=True)
    signal.pause()


def run_huawei(cloud):
    print("MQTT   mqtt://127.0.0.1:%d, device %s, secret %s" % (cloud.port, GATEWAY, SECRET))
    print("REST   %s/v5/iot/%s/devices/…/shadow and …/commands" % (cloud.rest_url, PROJECT_ID))
    print("IAM    %s, domain %s, user %s, password %s" % (cloud.iam_url, DOMAIN, USER, PASSWORD), flush=True)
    signal.pause()


def main():
    parser = argparse.ArgumentParser(description="Run a stand-in for a cloud on this machine until interrupted.")
    parser.add_argument("cloud", choices=["thingsboard", "huawei"])
    parser.add_argument("--build", default="build", help="the build directory (build)")
    parser.add_argument("--sub-device", action="append", default=[], help="of huawei: an id behind its gateway")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as directory:
        if chosen.cloud == "huawei":
            cloud, run = Huawei(sub_devices=chosen.sub_device), run_huawei
        else:
            cloud, run = ThingsBoard(directory, chosen.build), run_thingsboard
        try:
            cloud.start()
            run(cloud)
        except KeyboardInterrupt:
            pass
        finally:
            cloud.stop()


if __name__ == "__main__":
    main()
