"""The cache: things that take long to build, named for the recipe they were built from."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from . import processes
from .paths import cache


def recipe_hash(texts: Iterable[str], files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\0")
    for file in files:
        digest.update(file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def cached(name: str, recipe: str, build: Callable[[Path], None]) -> Path:
    """The folder `name-recipe`; built when absent, under another name first, so that it is whole or not there."""
    folder = cache() / f"{name}-{recipe}"
    if folder.is_dir():
        return folder
    started = time.monotonic()
    unfinished = cache() / f"{name}.unfinished"
    # Whoever holds the lab's lock is alone here: an unfinished folder is what a killed build left.
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    build(unfinished)
    unfinished.rename(folder)
    _forget_older(name, folder)
    print(f"built {folder.name} in {time.monotonic() - started:.0f} s", flush=True)
    return folder


def _forget_older(name: str, newest: Path) -> None:
    """Older recipes' folders go, unless a running host still stands on one."""
    for folder in cache().glob(f"{name}-" + "[0-9a-f]" * 12):
        if folder != newest and not processes.mentioning(str(folder)):
            shutil.rmtree(folder, ignore_errors=True)
