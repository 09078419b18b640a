"""Random numbers that are a function of what they are for, never of what ran before.

Every draw comes from a generator keyed by (seed, step, rank, purpose), so a resumed run draws what an
uninterrupted one does and adding a draw somewhere moves no other draw.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch


def key(*parts: int | str) -> int:
    """A 63-bit integer that depends on every part: the first 8 bytes of a SHA-256 over them."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def torch_generator(*parts: int | str) -> torch.Generator:
    """A CPU `torch.Generator` seeded by `key(*parts)`."""
    import torch

    return torch.Generator().manual_seed(key(*parts))


def numpy_generator(*parts: int | str) -> np.random.Generator:
    """A `numpy.random.Generator` (PCG64) seeded by `key(*parts)`."""
    import numpy as np

    return np.random.default_rng(key(*parts))


def fix_kernels(threads: int) -> None:
    """Make this process's torch operations give the same bits every time, on `threads` CPU threads."""
    import torch

    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("error")  # `use_deterministic_algorithms` imports the compiler: a second
    # That also fills every new tensor before it is written, a tenth of a small network's time. It shows reads of memory
    # that nothing wrote, and two runs with the same bits (a test) show them as well.
    torch.utils.deterministic.fill_uninitialized_memory = False
