"""Where the socket is: `socket` of the configuration, else $XDG_RUNTIME_DIR/lading/<8 hex of home>.sock, else below the home; a path
too long for a socket gets a short one. The daemon writes what it chose into `<home>/socket`, where every client finds it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from lading_catalog.config import Config

PATH_MAX_BYTES = 100  # sun_path holds 108 on Linux, 104 on macOS
POINTER = "socket"
_OWN_FOLDER = "lading-"


def choose(config: Config) -> Path:
    """The path to bind. Its folder exists; unless the configuration names it, it is ours and 0700."""
    if config.socket:
        path = Path(config.socket)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path
    home = Path(config.home)
    name = hashlib.sha256(os.fsencode(home)).hexdigest()[:8] + ".sock"
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    candidates = [Path(runtime) / "lading"] if runtime and os.path.isdir(runtime) else []
    candidates.append(home / "run")
    for folder in candidates:
        if len(os.fsencode(folder / name)) <= PATH_MAX_BYTES:
            folder.mkdir(mode=0o700, exist_ok=True)
            os.chmod(folder, 0o700)
            return folder / name
    return Path(tempfile.mkdtemp(prefix=_OWN_FOLDER)) / name


def remove(path: Path) -> None:
    """Unlink a socket, and the folder that was made for it alone."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    if path.parent.name.startswith(_OWN_FOLDER) and path.parent.parent == Path(tempfile.gettempdir()):
        with contextlib.suppress(OSError):
            path.parent.rmdir()


def publish(home: Path, path: Path) -> None:
    """Write the path where clients look, whole or not at all."""
    draft = home / f".{POINTER}-{os.getpid()}"
    draft.write_text(f"{path}\n", encoding="utf-8")
    draft.chmod(0o600)
    os.replace(draft, home / POINTER)
