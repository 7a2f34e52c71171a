"""Where the images of a data set lie, found but not yet decoded."""

from __future__ import annotations

from typing import Protocol

from triptych.data.dataset import Dataset


class Source(Protocol):
    """Images of one format in one place: what each format's file makes of a path that is its own."""

    @property
    def name(self) -> str:
        """What the data set is called in the record; a well-known name is given to checked content alone."""
        ...

    def key(self) -> str:
        """Return a hex digest that changes whenever `decode` would return other images."""
        ...

    def decode(self) -> Dataset:
        """Return all images, decoded.

        Raises:
            UserError: a file is missing, damaged, or holds what it should not.
        """
        ...
