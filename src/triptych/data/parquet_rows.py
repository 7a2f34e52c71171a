"""What stands in the rows of a parquet file: pictures, classes, and the names of the classes.

Everything here needs pyarrow, an extra, which is imported when the first file is opened.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from triptych.data.dataset import check_class_names
from triptych.data.parallel_decoding import Picture
from triptych.errors import UserError

if TYPE_CHECKING:
    from pyarrow import Field, Schema
    from pyarrow.parquet import ParquetFile

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "labels", "fine_label")
"""Names that are taken first where several columns would do."""
ROWS_AT_A_TIME = 16
"""Each may hold a file of megabytes."""


@dataclass(frozen=True)
class Shard:
    """One parquet file.

    Attributes:
        path: of the file.
        image: name of the column with the pictures.
        label: name of the column with the classes.
        class_names: in label order; empty where the file does not say.
    """

    path: Path
    image: str
    label: str
    class_names: tuple[str, ...]

    def labels(self) -> np.ndarray:
        """Return the class of every row: int64 [N].

        Raises:
            UserError: the file is damaged, or a row has no class.
        """
        with _opened(self.path) as file:
            column = file.read(columns=[self.label]).column(0)
            if column.null_count:
                row = column.is_null().to_numpy().argmax()
                raise UserError(
                    f"row {row} of {self.path}", f"{self.label} is null", "give every row a class"
                )
            return column.to_numpy().astype(np.int64)

    def pictures(self) -> Iterator[Picture]:
        """Yield the picture of every row, in order, holding a few at a time.

        Raises:
            UserError: the file is damaged, or a row has no picture.
        """
        row = 0
        with _opened(self.path) as file:
            for batch in file.iter_batches(ROWS_AT_A_TIME, columns=[f"{self.image}.bytes"]):
                (stored,) = batch.column(0).flatten()
                for data in stored:
                    name = f"row {row} of {self.path}"
                    if not data.is_valid:
                        raise UserError(
                            name, f"{self.image} holds no bytes", "store the pictures in the file itself"
                        )
                    yield Picture(name, data.as_py())
                    row += 1


def open_shard(path: Path) -> Shard:
    """Return the file at `path`, with its columns found.

    Raises:
        UserError: pyarrow is not installed, the file is damaged, or has no such columns or names of classes.
    """
    with _opened(path) as file:
        schema = file.schema_arrow
        features = _features(schema)
        image = _choose(path, "image", "struct<bytes, path>", IMAGE_COLUMNS, filter(_is_image, schema))
        named = [field for field in schema if features.get(field.name, {}).get("_type") == "ClassLabel"]
        label = _choose(path, "class", "integers", LABEL_COLUMNS, filter(_is_integer, named or schema))
        names = features.get(label, {}).get("names")
        return Shard(path, image, label, () if names is None else check_class_names(names, str(path)))


@contextmanager
def _opened(path: Path) -> Iterator[ParquetFile]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UserError(
            f"--data.path {path}",
            "reading parquet needs pyarrow",
            'in a clone: pip install -c constraints.txt -e ".[parquet]"',
        ) from error
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            yield file
    except (pa.ArrowException, OSError, EOFError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(str(path), f"cannot be read as parquet ({reason})", "fetch it anew") from error


def _features(schema: Schema) -> dict[str, Any]:
    """Return what the hub's metadata say of each column; empty where there are none."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, TypeError, AttributeError, ValueError):
        return {}


def _is_image(field: Field) -> bool:
    from pyarrow import types

    if not types.is_struct(field.type) or field.type.get_field_index("bytes") < 0:
        return False
    stored = field.type.field("bytes").type
    return types.is_binary(stored) or types.is_large_binary(stored)


def _is_integer(field: Field) -> bool:
    from pyarrow import types

    return types.is_integer(field.type)


def _choose(path: Path, role: str, kind: str, preferred: tuple[str, ...], fields: Iterator[Field]) -> str:
    names = [field.name for field in fields]
    for name in (*preferred, *names[: len(names) == 1]):
        if name in names:
            return name
    found = f"several {role} columns ({', '.join(names)})" if names else f"no {role} column ({kind})"
    raise UserError(str(path), found, f"call the one that is meant {preferred[0]!r}")
