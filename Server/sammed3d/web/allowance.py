"""How much memory the page may hold, and whether an image fits, before any of it is read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from sammed3d.core.freed_memory import give_back
from sammed3d.errors import VolumeError

GIB = 1 << 30
COPIES = 2
"""Of an image there are while it is opened; later one, and its segments take less than the other."""
CLICKS_HERE, CLICKS_AWAY = 5 * GIB // 4, GIB // 4
"""What models and their predictions take in this process, with full caches and what is freed before `Rest` gives it
back; and what it takes to ask a server."""


@dataclass(frozen=True)
class Allowance:
    """What the page's process may hold for itself.

    Attributes:
        memory: bytes; None for no limit but the machine's.
        clicks: bytes of it that clicks take, which are kept free.
    """

    memory: int | None = None
    clicks: int = CLICKS_HERE

    def check(self, name: str, size: int, what: str) -> None:
        """Refuse an image that does not fit into what is left.

        Args:
            name: of the image.
            size: of its voxels, bytes.
            what: "512 x 512 x 400 voxels of 16 bits", say.

        Raises:
            VolumeError: it does not fit; says how much is missing.
        """
        if self.memory is None:
            return
        left = self._left(self.memory)
        if COPIES * size > left:
            give_back()  # what nothing uses is counted as held
            left = self._left(self.memory)
        if COPIES * size > left:
            raise VolumeError(
                f"{name}: {what} take {COPIES * size / GIB:.2f} GiB to open, and of this page's "
                f"{self.memory / GIB:.3g} GiB there are {left / GIB:.2f} left for images. Crop or resample it."
            )

    def _left(self, memory: int) -> int:
        return max(memory - held() - self.clicks, 0)


ANY_SIZE = Allowance()


def held(process: int | str = "self") -> int:
    """Return the bytes that a process holds for itself, without what it shares (files of programs); 0 once it is gone.

    Args:
        process: its id, or "self".
    """
    try:
        text = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return sum(int(kib) << 10 for kib in re.findall(r"^Rss(?:Anon|Shmem):\s+(\d+) kB$", text, re.M))
