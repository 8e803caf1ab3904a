"""What unit and integration tests share."""

import os
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def bccd() -> Path:
    """The folder of the BCCD dataset (Pascal VOC, 364 images of blood cells): real data that not every machine has."""
    folder = Path(os.environ.get("SPLITRAIL_BCCD") or CHECKOUT.parent / "shared" / "data" / "bccd")
    if not (folder / "Annotations").is_dir():
        pytest.skip(f"the BCCD dataset is not in {folder}: name its folder in SPLITRAIL_BCCD")
    return folder
