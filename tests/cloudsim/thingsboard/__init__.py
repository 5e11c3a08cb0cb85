"""The stand-in for ThingsBoard: cloud.py is what tests use, the C files are the broker's side, the rest is the
server behind it."""
from .cloud import ThingsBoard  # noqa: F401
from .rpc import RpcError  # noqa: F401
