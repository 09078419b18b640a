"""A cost model: seconds of a work from finished ones of its kind, and from its operations where there is none."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from vlrepro.config import Config
from vlrepro.plan.model import Plan
from vlrepro.preflight.flops import of_picture, of_training
from vlrepro.preflight.history import seconds_of, start_up
from vlrepro.preflight.work import Work

START_UP = 5.0
"""Seconds of starting a job where no finished one tells: Python and its imports."""
LOCAL = ("write_recipe", "collect_cells", "build_table")
_LOCAL_SECONDS = 1.0
_SCORED = ("evaluate_run", "zero_shot", "retrieve", "score_saliency")
_USES_GPU = ("train_model", "embed", "generate_captions", "score_captions", "embed_prompts", "rank_pictures", *_SCORED)
_FALLBACK_ITEM_FLOPS = {
    "generate_captions": 1.5e12,  # BLIP-2 with OPT 2.7B, five beams of thirty tokens
    "score_captions": 1.5e10,  # CLIP ViT-B/32, both towers
    "embed": 5.5e9,  # MPNet of 86 million weights, 32 tokens
    "mine_pairs": 4.3e9,  # 768 products with each of 2.8 million others
    "parse_captions": 2e7,  # spaCy's small English model: a millisecond a caption of a core
    "spot_text": 6e9,  # RapidOCR at a side of 640: 0.3 s of a core
    "distil_concepts": 1e8,
    "rank_pictures": 1.5e10,
}
_DEFAULT_ITEM_FLOPS = 1e8
_UNKNOWN_ROWS = 50_000


@dataclass(frozen=True)
class Estimate:
    """Seconds of a work, what they rest on, and how many finished works that were."""

    seconds: float
    basis: str
    measured: int


class CostModel:
    """Estimates for the works of a plan; `took` are the seconds of those that finished (`history.seconds_of`)."""

    def __init__(self, plan: Plan, works: dict[str, Work], root: Path, rows: dict[str, int]) -> None:
        self.plan = plan
        self.config: Config = plan.config
        self.rows = rows
        self.took = seconds_of(works.values(), root)
        told = start_up(works.values(), root, self.took)
        self.start_up = START_UP if told is None else told
        self.start_up_measured = told is not None
        self._estimates: dict[str, Estimate] = {}
        self._kinds: dict[Hashable, list[float]] = defaultdict(list)
        self._rates: dict[str, list[float]] = defaultdict(list)
        for key, seconds in self.took.items():
            work = works[key]
            for kind in self._kinds_of(work):
                self._kinds[kind].append(seconds)
            if self.flops(work) and seconds > 0:
                self._rates[work.rule].append(self.flops(work) / seconds)

    def estimate(self, work: Work) -> Estimate:
        """Its own time if it finished; else that of its like; else its operations over a rate."""
        if work.key not in self._estimates:
            self._estimates[work.key] = self._estimate(work)
        return self._estimates[work.key]

    def _estimate(self, work: Work) -> Estimate:
        if work.key in self.took:
            return Estimate(self.took[work.key], "itself", 1)
        for basis, kind in zip(("other seeds", "same data and model", "same rule"), self._kinds_of(work), strict=False):
            if basis == "same rule" and self._rates.get(work.rule) and self.flops(work):
                break
            if times := self._kinds.get(kind):
                return Estimate(fmean(times), basis, len(times))
        if (rates := self._rates.get(work.rule)) and self.flops(work):
            return Estimate(self.flops(work) / median(rates), "operations at the rate of finished ones", len(rates))
        if work.rule in LOCAL:
            return Estimate(_LOCAL_SECONDS, "a constant", 0)
        rate = (
            self.config.resources.gpu_flops if self.gpus(work) else self.config.resources.cpu_flops * self.cores(work)
        )
        return Estimate(self.flops(work) / rate, "operations at the configured rate", 0)

    def gpus(self, work: Work) -> int:
        """GPUs that a work's job asks for."""
        return self.config.resources.train_gpus if work.rule in _USES_GPU else 0

    def cores(self, work: Work) -> int:
        """Cores that a work's job asks for."""
        if work.rule in (*_SCORED, "score_priors"):
            return self.config.evaluation.threads
        single = (*LOCAL, "fetch_pack", "make_captions", "refine_captions", "filter_captions", "import_model")
        return 1 if work.rule in (*single, "parse_captions", "spot_text") else self.config.training.threads

    def flops(self, work: Work) -> float:
        """Floating-point operations of a work."""
        if work.rule == "train_model":
            return of_training(work.recipe)
        if work.rule in LOCAL or work.rule == "import_model":
            return 0.0
        if work.rule in _SCORED:
            return self._scoring(work)
        return _FALLBACK_ITEM_FLOPS.get(work.rule, _DEFAULT_ITEM_FLOPS) * self._rows(work)

    def _scoring(self, work: Work) -> float:
        """A forward pass of every picture; the probes on the features count as much again."""
        run = self.plan.runs[work.name.split("/")[0]]
        backbone = run.recipe.get("backbone") or {"name": "clip_vit_b_16"}
        return 2 * of_picture(backbone, work.recipe["pictures"]["size"]) * self._rows(work)

    def _rows(self, work: Work) -> int:
        """Pictures of the packs that it reads, so far as they are known."""
        packs = [need.partition("/")[2] for need in work.needs if need.startswith("fetch_")]
        packs += [work.name] if work.rule.startswith("fetch_") else []
        for need in work.needs:
            recipe = self.plan.captions.get(need.partition("/")[2])
            packs += [recipe["pack"]] if recipe else []
        return sum(self.rows.get(pack, _UNKNOWN_ROWS) for pack in dict.fromkeys(packs))

    def _kinds_of(self, work: Work) -> tuple[Hashable, ...]:
        """What a work has in common with others, closest first."""
        if work.rule == "train_model":
            return _text({**work.recipe, "seed": 0}), _text(_load_of(work.recipe)), work.rule
        if work.rule in _SCORED:
            run, evaluation = work.name.split("/")
            planned = self.plan.runs[run]
            backbone = _text([planned.recipe.get("backbone"), work.rule])
            return (planned.recipe_name, evaluation), (evaluation, backbone), work.rule
        return (work.rule, _text(work.recipe)), (work.rule, "any"), work.rule


def _load_of(recipe: dict[str, Any]) -> dict[str, Any]:
    """What a training's time depends on, apart from its data's content."""
    names = ("framework", "options", "backbone", "batch_size", "steps", "pictures", "precision", "accumulate")
    return {name: recipe.get(name) for name in names} | {"views": len(recipe.get("augmentations", ()))}


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def jobs_of(works: Iterable[Work]) -> int:
    """How many jobs make these works."""
    return len({work.job for work in works})
