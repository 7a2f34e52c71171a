"""Whether two runs draw the same kind of images, so that they can be shown side by side."""

from __future__ import annotations

from triptych.errors import UserError
from triptych.record.events import DataSummary, Imported, Started


def check_alike(a: Started | Imported, b: Started | Imported, asked: str, *, classless: bool) -> None:
    """Raise `UserError` where two runs draw other images: of another size, or learnt from other ones.

    Args:
        a: how the one began.
        b: how the other did.
        asked: what for, for messages.
        classless: whether no image is to have a class; else both have to be told one, of the same ones.
    """
    sizes = [f"{data.channels} x {data.image_size} x {data.image_size}" for data in (a.data, b.data)]
    if sizes[0] != sizes[1]:
        found = f"the one draws images of {sizes[0]}, the other of {sizes[1]}"
        raise UserError(asked, found, "draw from them one by one")
    if not same_images(a.data, b.data):
        found = f"the one was trained on {images_of(a)}, the other on {images_of(b)}"
        raise UserError(asked, found, remedy_for(a, b))
    if classless:
        return
    if a.conditional != b.conditional:
        found = "one of them is told a class, the other is not"
        raise UserError(asked, found, "add --guidance 0, at which neither is")
    if a.conditional and a.data.class_names != b.data.class_names:
        found = f"the classes of {a.data.name} are not those of {b.data.name}"
        raise UserError(asked, found, "draw from them one by one, or add --guidance 0")


def same_images(a: DataSummary, b: DataSummary) -> bool:
    """Whether two runs learnt to draw the same kind of image.

    Versions of one data set, of which the one may have grown out of the other, are of one kind: they share a
    name and classes. Of a model that was trained elsewhere the name is all that is known.
    """
    if not (a.digest and b.digest):
        return a.name == b.name
    return a.digest == b.digest or (a.name, a.class_names) == (b.name, b.class_names)


def images_of(origin: Started | Imported) -> str:
    """Return which images a run was trained on, as far as its record tells."""
    data = origin.data
    if isinstance(origin, Imported):
        return f"{data.name} (as it was {'guessed' if origin.data_guessed else 'said'} at its import)"
    return f"{data.name} ({data.train_images:,} images, sha256 {data.digest[:12]})"


def remedy_for(a: Started | Imported, b: Started | Imported) -> str:
    """Return what to do about two runs of unlike images."""
    for imported, other in ((a, b), (b, a)):
        if isinstance(imported, Imported):
            again = f"import {imported.source} again with --data.name {other.data.name} and another --name"
            return f"draw from them one by one, or, if it draws such images, {again}"
    return "draw from them one by one"
