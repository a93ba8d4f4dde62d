"""Whether torch would find a CUDA card, asked without torch: its import takes seconds."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

_DRIVER: Final = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
_CUDA: Final = re.compile(r"^cuda\b.*= *(\S+)", re.MULTILINE)


@cache
def has_card() -> bool:
    """Return whether there is a card that the installed torch can compute on."""
    return _is_built_for_cards() and _visible() and _count() > 0


def _is_built_for_cards() -> bool:
    """Return what torch's file of versions says."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    path = Path(spec.origin).with_name("version.py")
    found = _CUDA.search(path.read_text(encoding="utf-8")) if path.is_file() else None
    return found is not None and found.group(1) != "None"


def _visible() -> bool:
    """Return whether the environment hides no cards, or leaves the first to be seen."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return listed is None or listed.split(",")[0].strip() not in {"", "-1"}


def _count() -> int:
    """Return how many cards the driver knows: 0 without a driver."""
    try:
        driver = ctypes.CDLL(_DRIVER)
        if driver.nvmlInit_v2() != 0:
            return 0
        count = ctypes.c_uint(0)
        failed = driver.nvmlDeviceGetCount_v2(ctypes.byref(count))
        driver.nvmlShutdown()
    except (OSError, AttributeError):
        return 0
    return 0 if failed else count.value
