"""What departs from the paper at each scale, and what the evaluation sets show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vlrepro.reporting.markup import Html, bullets, element, join
from vlrepro.tables.study import Study

_GENERAL = (
    "The last checkpoint of a run is scored, never the best.",
    "All recipes of a table take the same number of steps with the same batch size and optimiser, unless the list of "
    "recipes says otherwise.",
    "Intervals cover seeds and test examples where there are several seeds, test examples alone where there is one. "
    "They never cover the choice of data sets.",
    "A cell that the paper leaves blank stays blank in its column; ours is filled all the same.",
)
_SMALL = (
    "Training pictures are emoji: several open designs draw the same concepts in different looks. A subgroup of emoji "
    "plays both a class and the community that posts its pictures.",
    "Captions are people's names and keywords for the emoji, made noisy by a documented model (faithful, vague, "
    "off-topic, wrong, in another language, a single word), since real captions of such pictures do not exist.",
    "The sentence encoder is the published all-MiniLM-L6-v2; it is not trained here.",
    "The backbones are small networks on small pictures, trained for a small part of the paper's steps.",
    "The evaluation sets are stand-ins; none of them is a data set of the paper.",
)
_SMALL_OF = {
    "language_guidance": (
        "The captioner and the scorer of refined captions are small models that are trained here, on pictures that "
        "pre-training never sees.",
        "The set with masks is composed of emoji over faded drawings; it stands in for ImageNet-S50. Edges alone find "
        "its objects better than any map of a model so small.",
    ),
    "label_noise": (
        "A small residual network stands for ResNet-50, small vision transformers with finer and coarser patches for "
        "ViT-B/16 and ViT-B/32, and the frozen sentence encoder with a trained projection for the text tower.",
        "Zero-shot classification is among the concepts of the emoji by their names: held-out pictures of the training "
        "designs stand for ImageNet-1K, and other draws, other designs and the hardest pictures for its shifts.",
        "Batches are small and label noise is drawn within a batch, so what a noise rate does here need not be what it "
        "does in the large batches that CLIP is usually trained with.",
    ),
}
"""What departs at every scale but the paper's, in a study."""


def deviations(scale: str, sets: Mapping[str, Any], evaluated: Sequence[str], studies: Sequence[Study]) -> Html:
    """The section of the report: deviations of a scale, the evaluated sets, and notes on the papers' texts."""
    shown = [join([element("strong", sets[key]["title"]), f": {sets[key]['shows']}"]) for key in evaluated]
    own = [text for study in studies for text in _SMALL_OF.get(study.slug, ())]
    small = [] if scale == "paper" else [*_SMALL, *own]
    parts = [bullets([*small, *_GENERAL, "The full list, with reasons, is docs/deviations.md."])]
    if shown:
        parts += [element("h3", "Evaluation sets"), bullets(shown)]
    for study in studies:
        if study.notes:
            parts += [element("h3", f"About the text of “{study.title}”"), bullets(study.notes)]
    return join(parts)
