"""Programs that wheels put beside the interpreter."""

import sysconfig
from pathlib import Path

from splitrail_local.errors import StackError


def script(name: str, distribution: str) -> Path:
    """The path of a program that `distribution` installs."""
    path = Path(sysconfig.get_path("scripts")) / name
    if not path.exists():
        raise StackError(
            f"The program {name} is not in {path.parent}: the package {distribution} carries it, run `make install`."
        )
    return path
