"""Other processes of this machine."""

from __future__ import annotations

import os


def alive(pid: int) -> bool:
    """Whether a process has this id now. Another one may have taken a dead one's number: "alive" may be wrong, "dead" is not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it is there, and not ours
    return True
