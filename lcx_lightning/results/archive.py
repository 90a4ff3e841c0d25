"""Archives: the records of a finished experiment in one small file, for a repository or a colleague."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

SUFFIX = ".zip"


def save_archive(files: dict[str, str], archive: Path) -> None:
    """Write texts into an archive, by name; the same texts make the same bytes at any time."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with ZipFile(archive, "w", ZIP_DEFLATED, compresslevel=9) as packed:
        for name, text in sorted(files.items()):
            packed.writestr(ZipInfo(name), text, ZIP_DEFLATED)


@contextmanager
def unpacked(archive: Path) -> Iterator[Path]:
    """Give a folder with the files of an archive, for as long as they are read.

    Raises:
        ValueError: If it is damaged, or no archive.
    """
    with TemporaryDirectory() as folder:
        try:
            with ZipFile(archive) as packed:
                packed.extractall(folder)
        except (BadZipFile, zlib.error, NotImplementedError) as error:
            raise ValueError(f"{archive} is damaged, or no ZIP file: {error}. Fetch it again.") from error
        yield Path(folder)
