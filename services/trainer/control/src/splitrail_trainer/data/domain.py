"""The data of a run or an evaluation, as values: a split revision and its parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from splitrail_common.errors import Reason, precondition


class Part(StrEnum):
    """A part of a split revision, as attempt tokens name it."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


@dataclass(frozen=True)
class PinnedData:
    """The data of a run, which never changes: a split revision with its version and classes."""

    project_id: str
    dataset_id: str
    dataset_name: str
    version_id: str
    version_number: int
    split_id: str
    split_reference: str
    split_digest: str
    class_names: Sequence[str]

    def may_be(self, reference: str) -> bool:
        """Whether a reference names this revision: `cells@v3#2` itself, or one of `cells`, `cells@v3` and the version's
        id, which leave more open.
        """
        return reference in (self.version_id, self.split_reference) or self.split_reference.startswith(
            (f"{reference}@", f"{reference}#")
        )


@dataclass(frozen=True)
class SplitRevision:
    """A split revision and how many images each part holds."""

    data: PinnedData
    images: Mapping[Part, int]

    def require_images(self, part: Part, field: str) -> None:
        """Raises FAILED_PRECONDITION (SPLIT_EMPTY) about `field` when the part holds none."""
        if not self.images.get(part):
            raise precondition(
                Reason.ERROR_REASON_SPLIT_EMPTY,
                f"the {part.value} part of {self.data.split_reference} holds no images",
                metadata={"part": part.value},
                field=field,
            )
