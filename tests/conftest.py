"""Fixtures: small packs of drawn shapes, in the real format, and recipes that train on them in seconds."""

import io
import json
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from vlrepro.data.pack import Picture, write_pack
from vlrepro.files import read_json

COLOURS = ("red", "green", "blue", "orange")
SHAPES = ("ellipse", "rectangle")
SCRIPTS = Path(__file__).parents[1] / "workflow/scripts"
STRONG = {
    "scale": [0.3, 1.0],
    "ratio": [0.75, 1.333],
    "flip": 0.5,
    "jitter": [0.4, 0.4, 0.4, 0.1],
    "jitter_probability": 0.8,
    "grey_probability": 0.2,
    "blur_probability": 0.5,
    "blur_kernel": 3,
    "blur_sigma": [0.1, 2.0],
}


def pytest_collection_modifyitems(items):
    """The longest file first: while one process runs it, the other goes through all the rest."""
    items.sort(key=lambda item: item.path.stem != "test_workflow")


def draw_shape(shape: str, colour: str, seed: int, size: int = 24) -> bytes:
    """A PNG of one shape at a random place over transparency."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    left, top = rng.integers(0, size // 3, 2)
    right, bottom = rng.integers(2 * size // 3, size, 2)
    getattr(ImageDraw.Draw(picture), shape)([int(left), int(top), int(right), int(bottom)], fill=colour)
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def shape_pictures(count: int, seed: int = 0, labelled: bool = False) -> list[Picture]:
    """`count` pictures of 8 concepts; labelled ones have splits, train, val and test in turn."""
    pictures = []
    for number in range(count):
        shape, colour = SHAPES[number % 2], COLOURS[(number // 2) % 4]
        pictures.append(
            Picture(
                key=f"p{number:04d}",
                data=draw_shape(shape, colour, seed * 10_000 + number),
                suffix=".png",
                width=24,
                height=24,
                caption=f"{colour} {shape}",
                captions_other=json.dumps({"de": f"{colour}s {shape}"}),
                keywords=json.dumps([colour, shape, "shape"]),
                label=shape if labelled else colour,
                concept=f"{colour}-{shape}",
                group=colour,
                split=("train", "val", "test", "train")[number // 8 % 4] if labelled else "",
                mask_in_alpha=True,
                licence="CC0-1.0",
            )
        )
    return pictures


def score_runs(
    script: str, monkeypatch: pytest.MonkeyPatch, runs: Sequence[str], **folders: str
) -> list[dict[str, Any]]:
    """What a script that scores runs says of those whose recipes and weights lie in the current folder."""
    outputs = [f"metrics/{run}.json" for run in runs]
    run_script(
        script,
        monkeypatch,
        runs=list(runs),
        recipes=[f"{run}.json" for run in runs],
        models=[f"{run}/model.safetensors" for run in runs],
        evaluation="evaluation.json",
        outputs=outputs,
        **folders,
    )
    return [read_json(output) for output in outputs]


def run_script(name: str, monkeypatch: pytest.MonkeyPatch, **options: object) -> None:
    """Run a script of the workflow in this process, which has imported already what takes a new one seconds.

    An option that is a list takes its items.
    """
    listed = {key: value if isinstance(value, list) else [value] for key, value in options.items()}
    arguments = [text for key, values in listed.items() for text in (f"--{key}", *map(str, values))]
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    mode, threads = torch.get_deterministic_debug_mode(), torch.get_num_threads()
    try:
        runpy.run_path(str(SCRIPTS / name), run_name="__main__")
    finally:
        torch.set_deterministic_debug_mode(mode)
        torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """All inputs of the report, with its figures drawn; nothing changes them."""
    from reporting_site import make_site  # matplotlib and pandas: for few of the tests

    return make_site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def shape_pack(tmp_path):
    """A training pack of 64 pictures; returns its folder."""
    write_pack(tmp_path / "shapes", shape_pictures(64))
    return tmp_path / "shapes"


@pytest.fixture
def recipe():
    """A recipe that trains 12 steps on `shape_pack` in about a second."""
    return {
        "framework": "simclr",
        "options": {"hidden_width": 16, "output_width": 8},
        "augmentations": [STRONG, STRONG],
        "pictures": {"canvas": 24, "size": 16, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
        "backbone": {"name": "resnet_small", "width": 4},
        "batch_size": 16,
        "steps": 12,
        "max_epochs": 10,
        "threads": 1,
        "optimiser": {
            "learning_rate": 0.003,
            "reference_batch": 16,
            "weight_decay": 0.01,
            "decay_all": True,
            "warmup_steps": 2,
            "warmup_start": 1e-5,
            "final_rate": 1e-6,
        },
        "seed": 0,
    }
