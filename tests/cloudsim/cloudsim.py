"""Stand-in clouds: a real Mosquitto with a plugin that enforces one cloud's rules, the server behind it, and what
it has taken. README.md says what they do and what they cannot.

    cloud = ThingsBoard("/tmp/x", "build")
    cloud.start()
    ...
    cloud.outage(); cloud.resume()
    cloud.samples()
    cloud.rpc("pump 4", "start", {"rpm": 900})
    cloud.stop()
"""
from mosquitto import Mosquitto, die_with_parent, free_port, is_listening, wait_for  # noqa: F401
from thingsboard import RpcError, ThingsBoard  # noqa: F401
