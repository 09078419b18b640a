"""Columns of saliency tables: a score of a method's maps is an evaluation named `<protocol>_<method>_<score>`.

Imported while Snakemake parses, so nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from vlrepro.config.base import Slug, validate
from vlrepro.tables.claims import Entry

MAPS = {
    "cam": "CAM",
    "grad_cam": "Grad-CAM",
    "grad_cam_plus_plus": "Grad-CAM++",
    "layer_cam": "LayerCAM",
    "eigen_cam": "Eigen-CAM",
    "activation": "Mean activation",
    "agf": "AGF",
    "packaged_grad_cam": "Grad-CAM (grad-cam package)",
    "packaged_grad_cam_plus_plus": "Grad-CAM++ (grad-cam package)",
    "packaged_hires_cam": "HiResCAM (grad-cam package)",
    "packaged_layer_cam": "LayerCAM (grad-cam package)",
    "packaged_eigen_cam": "Eigen-CAM (grad-cam package)",
    "packaged_score_cam": "Score-CAM (grad-cam package)",
}
"""Titles of `vlrepro.saliency.methods.METHODS`."""

SCORES = {
    "iou": ("IoU", "IoU of the object over the set, at the published threshold (the map's mean; 0 for AGF)"),
    "miou": ("mIoU", "mean of the background's and the object's IoU over the set, at the published threshold"),
    "ap": ("AP", "average precision of the object's pixels ranked by the map, mean over pictures, no threshold"),
    "ap_two_class": ("AP, two classes", "both classes in one list of a picture, chance 50; published as mAP"),
    "pixel_accuracy": ("Pixel accuracy", "share of the set's pixels called right at the published threshold"),
    "hard_ap": ("AP, hard labels", "AP of the binary map, a function of pixel accuracy; published as mAP"),
    "iou_image": ("IoU per picture", "as IoU, each picture on its own, then the mean"),
    "miou_image": ("mIoU per picture", "as mIoU, each picture on its own, then the mean"),
    "iou_tuned": ("IoU, tuned", "as IoU, the threshold tuned on training masks"),
    "miou_tuned": ("mIoU, tuned", "as mIoU, the threshold tuned on training masks"),
    "pointing": ("Pointing game", "share of pictures whose highest pixel is on the object or near it"),
    "energy": ("Energy share", "share of the map's sum that lies on the object"),
    "rank": ("Rank accuracy", "share of the object among as many highest pixels as it has"),
    "ap_to_5": ("AP, object to 5 %", "AP of pictures whose object takes up to 5 % of the pixels"),
    "ap_to_25": ("AP, object to 25 %", "AP of pictures whose object takes 5 to 25 % of the pixels"),
    "ap_to_50": ("AP, object to 50 %", "AP of pictures whose object takes 25 to 50 % of the pixels"),
    "ap_over_50": ("AP, object over 50 %", "AP of pictures whose object takes more than half of the pixels"),
}
"""Score -> its heading and how it is computed; `vlrepro.saliency.named_scores` computes them."""

BRIEF = ("iou", "miou", "ap")
"""The scores that every method's maps get."""

PRIORS = (
    *("all_object", "all_background", "noise", "coarse_noise", "edges", "centred_gaussian", "mean_mask"),
    *("ceiling", "best_prior"),
)
"""Rows that are no model's: `vlrepro.saliency.priors`."""

_Map = Literal[tuple(MAPS)]  # type: ignore[valid-type]
_Score = Literal[tuple(SCORES)]  # type: ignore[valid-type]


class SaliencyColumns(Entry):
    """What a saliency table shows: for each of `maps` a part with a column a score.

    `protocol` is a key of the configuration's `evaluation.saliency`. `gains` maps a row to the scores that are also
    shown as differences to it; `gallery` are the rows whose maps the report shows.
    """

    protocol: Slug
    maps: Annotated[list[_Map], Field(min_length=1)]
    scores: Annotated[list[_Score], Field(min_length=1)]
    gains: dict[Slug, list[_Score]] = Field(default_factory=dict)
    gallery: list[Slug] = Field(default_factory=list)

    @model_validator(mode="after")
    def _consistent(self) -> SaliencyColumns:
        lists = {"maps": self.maps, "scores": self.scores, "gallery": self.gallery}
        for key, names in (lists | {f"gains.{row}": scores for row, scores in self.gains.items()}).items():
            if repeated := [name for name in names if names.count(name) > 1]:
                raise ValueError(f"{key}: {repeated[0]!r} is given twice")
        for row, scores in self.gains.items():
            if unshown := [score for score in scores if score not in self.scores]:
                raise ValueError(f"gains.{row}: {unshown[0]!r} is not under scores")
        return self

    def evaluations(self) -> dict[str, tuple[str, str]]:
        """Evaluation -> (method, score), by method."""
        pairs = ((method, score) for method in self.maps for score in self.scores)
        return {evaluation_name(self.protocol, *pair): pair for pair in pairs}


def evaluation_name(protocol: str, method: str, score: str) -> str:
    """The evaluation that holds one score of one method's maps."""
    return f"{protocol}_{method}_{score}"


def evaluation_texts(columns: Iterable[SaliencyColumns]) -> dict[str, dict[str, str]]:
    """Evaluation -> its texts, as a study file would give them."""
    found = {}
    for table in columns:
        for name, (method, score) in table.evaluations().items():
            title, shows = SCORES[score]
            found[name] = {"title": f"{MAPS[method]}, {title}", "examples": "test pictures", "shows": shows}
    return found


def expanded(study: Any, place: str) -> Any:
    """A study file's values with the evaluations that its saliency tables stand for.

    Raises `UserError`, one line that names `place` and the table, where a table's `saliency` is not as it must be;
    other malformed values are left to whoever reads them.
    """
    if not isinstance(study, dict) or not isinstance(study.get("tables"), list):
        return study
    given = study.get("evaluations") or {}
    if not isinstance(given, dict):
        return study
    tables, texts = [], {}
    for table in study["tables"]:
        if isinstance(table, dict) and table.get("saliency") is not None:
            columns = validate(SaliencyColumns, table["saliency"], f"{place}: table {table.get('name')}: saliency")
            table = {"evaluations": list(columns.evaluations())} | table
            texts |= evaluation_texts([columns])
        tables.append(table)
    return study | {"tables": tables, "evaluations": texts | given}
