"""Lists of URLs that pictures are downloaded from (`vlrepro.data.sources.web`), as published."""

from __future__ import annotations

from vlrepro.data.sources.about import About, Archive

GCC_TRAIN = About(
    title="Conceptual Captions, training",
    home_page="https://ai.google.com/research/ConceptualCaptions/download",
    licence="free for any use, with attribution",
    metric="",
    split="3,318,333 rows of the release",
    archives=(
        Archive(
            name="Train_GCC-training.tsv",
            url=None,
            unpacks_to="Train_GCC-training.tsv",
        ),
    ),
    by_hand="its download needs a signed-in account: take the table from its home page",
)

GCC_VALIDATION = About(
    title="Conceptual Captions, validation",
    home_page="https://ai.google.com/research/ConceptualCaptions/download",
    licence="free for any use, with attribution",
    metric="retrieval",
    split="15,840 rows of the release",
    archives=(
        Archive(
            name="Validation_GCC-1.1.0-Validation.tsv",
            url=None,
            unpacks_to="Validation_GCC-1.1.0-Validation.tsv",
        ),
    ),
    by_hand="its download needs a signed-in account: take the table from its home page",
)

REDCAPS = About(
    title="RedCaps annotations",
    home_page="https://redcaps.xyz",
    licence="CC-BY-4.0; pictures under Reddit's terms",
    metric="",
    split="2020: the files of that year",
    archives=(
        Archive(
            name="redcaps_v1.0_annotations.zip",
            url="https://www.dropbox.com/s/cqtdpsl4hewlli1/redcaps_v1.0_annotations.zip?dl=1",
            unpacks_to="annotations",
        ),
    ),
)
