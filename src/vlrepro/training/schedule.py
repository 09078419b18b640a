"""The learning rate as a function of the step: linear warm-up, then a cosine."""

from __future__ import annotations

import math
from collections.abc import Mapping


def learning_rate(step: int, steps: int, batch_size: int, optimiser: Mapping[str, float]) -> float:
    """The rate of optimiser step `step` (from 0) of `steps`.

    The peak scales linearly with the batch: learning_rate * batch_size / reference_batch. Warm-up is linear
    from `warmup_start` to the peak over `warmup_steps`; then

        final + (peak - final) / 2 * (1 + cos(pi * (step - warmup) / (steps - warmup)))

    *Impact of Language Guidance*, section 5.2: AdamW, 0.001, cosine decay, 5,000 warm-up steps, batch 512. With a
    `schedule_offset` all of it is read that many steps later, and past `steps` the cosine rises again.
    """
    step += int(optimiser.get("schedule_offset", 0))
    peak = optimiser["learning_rate"] * batch_size / optimiser["reference_batch"]
    warmup = optimiser["warmup_steps"]
    if step < warmup:
        return optimiser["warmup_start"] + (peak - optimiser["warmup_start"]) * step / warmup
    progress = (step - warmup) / max(steps - warmup, 1)
    final = optimiser["final_rate"]
    return final + (peak - final) / 2 * (1 + math.cos(math.pi * progress))
