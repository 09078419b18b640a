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
            url="https://huggingface.co/datasets/red_caps/resolve/main/data/redcaps_v1.0_annotations.zip",
            unpacks_to="annotations",
            bytes=1_061_908_181,  # size and digest as in the loader of the set's page on Hugging Face
            sha256="d502951cb91fe9163c53ef7a72587f29e3d975f081b86139d66cf29dd14e8864",
        ),
    ),
)
