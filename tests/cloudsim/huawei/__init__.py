"""The stand-in for Huawei Cloud IoTDA: cloud.py is what tests use."""
from .cloud import GATEWAY, SECRET, Huawei  # noqa: F401
from .downlink import CommandError  # noqa: F401
