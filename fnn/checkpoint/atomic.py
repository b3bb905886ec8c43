"""Files that exist whole or not at all, even if the writer is killed."""

import glob
import os
import secrets
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl


def write_atomically(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write the parts of a file one after the other, then give it its name.

    An existing file of that name is replaced; it is unchanged if anything fails.
    When this returns, the file is on the disk.
    """
    try:
        remove_leftovers(path.parent, glob.escape(path.name))
        with _temporary(path) as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(path.parent)
    except OSError as error:
        error.add_note(f"{path} was not written; an existing file is unchanged")
        raise


def remove_leftovers(folder: Path, names: str) -> None:
    """Remove temporary files of killed writers, not of those still at work.

    Args:
        folder: The folder to search.
        names: A glob for the final names of the files.
    """
    for path in folder.glob(f".{names}.*.tmp"):
        with suppress(OSError), path.open("rb+") as file:
            if sys.platform != "win32":
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
        if sys.platform == "win32":
            with suppress(OSError):  # Windows can't remove an open file
                path.unlink()


@contextmanager
def _temporary(path: Path) -> Iterator[BinaryIO]:
    """Open a file beside `path` that replaces it at the end."""
    temporary, file = _open_locked(path)
    try:
        with file:
            yield file
            if sys.platform != "win32":
                temporary.replace(path)  # before the lock is released
        if sys.platform == "win32":
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _open_locked(path: Path) -> tuple[Path, BinaryIO]:
    """Open a new file, locked while it is open and its process lives."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        file = temporary.open("xb")
        if sys.platform != "win32":
            with suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
        # Before the lock, another process may have removed it as a leftover.
        if os.fstat(file.fileno()).st_nlink:
            return temporary, file
        file.close()


def _sync_folder(folder: Path) -> None:
    """Bring the names of the files in a folder to the disk too."""
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
