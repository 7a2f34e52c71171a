"""A few files out of a tar archive, read in one pass in memory; nothing is ever extracted to the disk.

An archive is somebody's word: where its members claim to lie, how large they are and what they are is
checked before a byte of them is kept. The gzip stream is read to its very end, since its checksum, which
comes last, is what tells a damaged archive from a whole one.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from triptych.errors import UserError

LARGEST_MEMBER = 64 * 2**20
"""Bytes of one file, unpacked."""
LARGEST_ARCHIVE = 8 * LARGEST_MEMBER
"""Bytes of all that is in an archive, unpacked: what comes after that is not looked at."""

GZIP = b"\x1f\x8b"
TAR, TAR_AT = b"ustar", 257

UNREADABLE = (tarfile.TarError, EOFError, zlib.error, OSError, ValueError, ArithmeticError, RecursionError)
"""What reading a truncated or damaged archive may raise."""


def is_archive(path: Path) -> bool:
    """Whether `path` is a gzip or tar file, told by its first bytes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(TAR_AT + len(TAR))
    return head.startswith(GZIP) or head[TAR_AT:] == TAR


def read_members(path: Path, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of the wanted files in the order in which they lie in the archive.

    Args:
        path: a tar file, gzipped or not.
        wanted: names of files, without folders.

    Raises:
        UserError: the archive is truncated or damaged, or holds what an archive of images should not:
            a path out of its own folder, a link, a device, a file of enormous size, a name twice. Since
            the checksum comes last, this may be raised after all members have been yielded.
    """
    seen: set[str] = set()
    try:
        with path.open("rb") as raw, _unzipped(raw) as stream:
            bounded = _Bounded(stream, path)
            with tarfile.open(fileobj=bounded, mode="r|") as tar:  # ty: ignore[no-matching-overload]
                for member in tar:
                    _check(member, path)
                    name = PurePosixPath(member.name).name
                    if member.isdir() or name not in wanted:
                        continue
                    if name in seen:
                        raise _refused(path, f"{name} is in it twice")
                    seen.add(name)
                    yield name, _content(tar, member)
            while bounded.read(2**20):  # to the end, where gzip keeps its checksum
                pass
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        found = f"the archive is truncated or damaged ({reason})"
        raise UserError(str(path), found, "delete it and get it anew") from error


class _Bounded:
    """A stream that ends with an error where an archive unpacks to more than any of images would."""

    def __init__(self, stream: BinaryIO, path: Path):
        self.stream, self.path, self.left = stream, path, LARGEST_ARCHIVE

    def read(self, size: int) -> bytes:
        content = self.stream.read(size)
        self.left -= len(content)
        if self.left < 0:
            raise _refused(self.path, f"it unpacks to more than {LARGEST_ARCHIVE // 2**20} MiB")
        return content


def _unzipped(raw: BinaryIO) -> BinaryIO:
    zipped = raw.read(len(GZIP)) == GZIP
    raw.seek(0)
    return gzip.GzipFile(fileobj=raw) if zipped else raw  # ty: ignore[invalid-explicit-return]


def _check(member: tarfile.TarInfo, path: Path) -> None:
    """Raise where a member is not a plain file or folder inside the archive's own folder."""
    place = PurePosixPath(member.name)
    called = f"its member {member.name[:80]!r}"
    if place.is_absolute() or ".." in place.parts or "\\" in member.name or ":" in member.name:
        raise _refused(path, f"{called} lies outside of the archive's folder")
    plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
    if not (plain or member.isdir()):
        raise _refused(path, f"{called} is neither a plain file nor a folder")
    if member.size > LARGEST_MEMBER:
        raise _refused(path, f"{called} is larger than {LARGEST_MEMBER // 2**20} MiB")


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None  # _check let plain files through only
    content = file.read()
    if len(content) != member.size:
        raise EOFError(f"{member.name} ends early")
    return content


def _refused(path: Path, found: str) -> UserError:
    return UserError(
        f"--data.path {path}", found, "this is no archive of CIFAR-10; get it from its publisher"
    )
