"""Files that are there as a whole or not at all, whenever the writer is killed."""

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
    """Write the parts of a file one after the other, and only then give it its name.

    A file that bore the name before is replaced; it stays as it was if anything fails.
    When this returns, the disk has the file.
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
        error.add_note(f"{path} was not written; what it held before is unharmed")
        raise


def remove_leftovers(folder: Path, names: str) -> None:
    """Remove temporary files of writers that were killed, not of those at work.

    Args:
        folder: Where they are.
        names: A glob for the names that the files would have borne in the end.
    """
    for path in folder.glob(f".{names}.*.tmp"):
        with suppress(OSError), path.open("rb+") as file:
            if sys.platform != "win32":
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
        if sys.platform == "win32":
            with suppress(OSError):  # there, a file that is open can't be removed
                path.unlink()


@contextmanager
def _temporary(path: Path) -> Iterator[BinaryIO]:
    """Open a file beside `path` that takes its place in the end."""
    temporary, file = _open_locked(path)
    try:
        with file:
            yield file
            if sys.platform != "win32":
                temporary.replace(path)  # before the lock is given up
        if sys.platform == "win32":
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _open_locked(path: Path) -> tuple[Path, BinaryIO]:
    """Open a new file, locked for as long as it is open or its process lives."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        file = temporary.open("xb")
        if sys.platform != "win32":
            with suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
        # Another process may have taken it for a leftover before it was locked.
        if os.fstat(file.fileno()).st_nlink:
            return temporary, file
        file.close()


def _sync_folder(folder: Path) -> None:
    """Let the disk have the names of the files in a folder too."""
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
