"""The stand-in for Huawei Cloud IoTDA: cloud.py is what tests use, and bootstrap.py."""
from .bootstrap import Bootstrap  # noqa: F401
from .cloud import GATEWAY, SECRET, Huawei  # noqa: F401
from .downlink import CommandError  # noqa: F401
