"""Processes that need not import again what their like has imported."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from threading import Thread
from typing import Any


def processes(imported: Sequence[str]) -> Any:
    """Return how to start processes: as copies of one that has imported modules, where the system can copy one.

    They may use CUDA, which the copied one has not.

    Args:
        imported: Names of modules whose import takes long.
    """
    if sys.platform == "win32":
        return multiprocessing.get_context("spawn")
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # or a package that asks for a GPU when imported would start CUDA
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(imported))
    return context


def end_with_parent() -> None:
    """Let this process end when the one that started it has ended, also if that was killed."""

    def wait() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
            os._exit(1)

    Thread(target=wait, daemon=True).start()
