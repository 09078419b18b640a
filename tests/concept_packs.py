"""What tests of concepts share: captions that name things, features that show them, and a concept file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from conftest import COLOURS, SHAPES
from pass_models import concepts_of
from torch import Tensor

from vlrepro.captions.concept_files import ConceptFile, Named, Seen, write_concepts

RECIPE: dict[str, Any] = {
    **{"objects": 7, "attributes": 5, "minimum_count": 2, "top": 2, "held_out": 0.25},
    "head": {"epochs": 30, "batch_size": 16, "learning_rate": 0.05, "weight_decay": 0.1, "seed": 0},
}


def keys_of(count: int = 64) -> list[str]:
    return [f"p{number:04d}" for number in range(count)]


def named_shapes(count: int = 64) -> Named:
    """What the captions of `conftest.shape_pictures` name; every seventh caption names nothing."""
    objects = [[] if number % 7 == 6 else [SHAPES[number % 2], "shape"] for number in range(count)]
    attributes = [[] if number % 7 == 6 else [COLOURS[number // 2 % 4]] for number in range(count)]
    return Named(keys_of(count), {"objects": objects, "attributes": attributes})


def shape_features(count: int = 64, width: int = 12) -> Tensor:
    """Unit rows that tell shape and colour, with some noise."""
    rows = 0.3 * torch.randn(count, width, generator=torch.Generator().manual_seed(0))
    for number in range(count):
        rows[number, number % 2] += 2
        rows[number, 2 + number // 2 % 4] += 2
    return torch.nn.functional.normalize(rows, dim=1)


def parse_file(path: Path, named: Named) -> Path:
    """The file of parsed captions that holds `named`."""
    count = len(named.keys)
    columns = {"key": named.keys, "complexity": [1] * count, "actions": [0] * count}
    words = {kind: pa.array(rows, pa.list_(pa.string())) for kind, rows in named.words.items()}
    pq.write_table(pa.table(columns | words), path)
    return path


def concept_file(path: Path, count: int = 64) -> Path:
    """A concept file of random concepts, three objects of 7 and two attributes of 5 a picture."""
    drawn = concepts_of(count, 0)
    seen = {
        kind: Seen(places.int().numpy(), weights.float().numpy(), [f"{kind}{place}" for place in range(size)])
        for kind, places, weights, size in (
            ("objects", drawn.objects, drawn.object_weights, 7),
            ("attributes", drawn.attributes, drawn.attribute_weights, 5),
        )
    }
    write_concepts(path, ConceptFile(keys_of(count), seen), {})
    return path
