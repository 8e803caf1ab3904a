"""The environment of the training process: offline, without credentials, with Ultralytics' files in a private folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_KEPT = {"PATH", "HOME", "USER", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV"}
_KEPT_PREFIXES = (
    "LC_",
    "PYTHON",
    "CUDA_",
    "NVIDIA_",
    "NCCL_",
    "OMP_",
    "MKL_",
    "OPENBLAS_",
    "TORCH_",
    "PYTORCH_",
    "CUBLAS_",
)


def scrubbed(environment: Mapping[str, str], cache_directory: Path) -> dict[str, str]:
    """The environment for the training process: what interpreters, locales and accelerators need, and Ultralytics'
    switches; no tokens, no endpoints.

    The supervisor starts the process with it; the process applies it to itself again, so that neither relies on the
    other.
    """
    kept = {name: value for name, value in environment.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}
    return kept | {
        "YOLO_OFFLINE": "1",  # no connectivity probe, version check, analytics, crash reports
        "ULTRALYTICS_SAFE_LOAD": "1",  # checkpoints through the restricted unpickler, model YAMLs without eval
        "YOLO_AUTOINSTALL": "0",  # never runs pip
        "YOLO_VERBOSE": "False",  # no progress bars
        "YOLO_CONFIG_DIR": str(cache_directory),
        "MPLCONFIGDIR": str(cache_directory / "matplotlib"),
        "MPLBACKEND": "Agg",
    }
