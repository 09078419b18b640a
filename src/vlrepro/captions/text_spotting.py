"""Text that stands in pictures: found by a detector, read where the detector finds any.

"Evaluating Distilled Hard Negative Training on Google's Conceptual Captions Dataset", section 3.1.2, identifies text
within images with MMOCR, as Radenovic et al. 2023, "Filtering, Distillation, and Hard Negatives for Vision-Language
Pre-Training", section 3.1, do. Here it is RapidOCR, whose package carries PP-OCRv4's detector and reader as ONNX files.

The time goes into the detector, with the square of the side that a picture is scaled to. A picture of 48 pixels needs
no more than 128 of them: the smallest letters of a word across it then are as tall as the detector was made for.
Upright and slanted lines are read, lines upside down are not.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vlrepro.captions.shards import by_shard
from vlrepro.data.decoding import decode_whole
from vlrepro.data.pack import INDEX, Pack
from vlrepro.errors import UserError
from vlrepro.files import atomic_path, digest_of, file_digest

if TYPE_CHECKING:
    from rapidocr_onnxruntime import RapidOCR

REVISION = 1
PACKAGE = "rapidocr_onnxruntime"
FLOOR = 0.5
"""Readings less confident than this are not kept: the reader makes letters of almost any edge."""
_VALUE = pa.struct([("texts", pa.list_(pa.string())), ("confidences", pa.list_(pa.float64()))])
_GRID = 32  # the detector's pictures have sides of a multiple of this
_NARROWEST = 8  # times as long as wide: RapidOCR puts a longer line in a taller picture itself


class Spotted(NamedTuple):
    """The texts in a picture, from top to bottom and left to right, and the reader's confidence in each, 0 to 1."""

    texts: list[str]
    confidences: list[float]


NOTHING = Spotted([], [])


def models_digest(folder: str | Path) -> str:
    """SHA-256 over the names and SHA-256s of the ONNX files in a folder, in the order of the names."""
    return digest_of([[path.name, file_digest(path)] for path in sorted(Path(folder).glob("*.onnx"))])


def load_spotter(spotter: Mapping[str, Any]) -> RapidOCR:
    """RapidOCR's detector and reader on one thread of the CPU, for pictures whose longer side is `side` pixels.

    With a `digest` that of the package's models (`models_digest`) must match.

    Raises `UserError` where RapidOCR cannot be imported or its models are others.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"spotter: the package {PACKAGE} is not installed: run make setup")
    models = Path(spec.submodule_search_locations[0]) / "models"
    if spotter.get("digest") and models_digest(models) != spotter["digest"]:
        raise UserError(f"{models}: the models are not those of the config's digest: reinstall {PACKAGE}")
    try:
        import cv2
        from rapidocr_onnxruntime import RapidOCR
    except ImportError as error:
        raise UserError(f"spotter: {PACKAGE} cannot be imported ({error}): run make setup") from error
    cv2.setNumThreads(1)
    # The pictures come at the size that the detector shall see: it only rounds their sides.
    sizes = {"det_limit_side_len": _GRID, "min_side_len": _GRID, "max_side_len": max(spotter["side"], _GRID)}
    return RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1, text_score=FLOOR, **sizes)


def spot(engine: RapidOCR, picture: np.ndarray) -> Spotted:
    """The texts in one picture, (height, width, 3) uint8 in RGB; confidences are rounded to four digits."""
    found, _ = engine(np.ascontiguousarray(_widened(picture)[:, :, ::-1]), use_cls=False)
    kept = [(text.strip(), round(float(confidence), 4)) for _, text, confidence in found or [] if text.strip()]
    return Spotted([text for text, _ in kept], [confidence for _, confidence in kept])


def _widened(picture: np.ndarray) -> np.ndarray:
    """The picture with its edges repeated where a side is short: RapidOCR would enlarge a sliver to millions of pixels.

    A side becomes at least one step of the detector's grid, and an eighth of the other.
    """
    least = max(_GRID, -(-max(picture.shape[:2]) // _NARROWEST))
    missing = [max(0, least - side) for side in picture.shape[:2]]
    around = [(gap // 2, gap - gap // 2) for gap in missing]
    return np.pad(picture, [*around, (0, 0)], mode="edge") if any(missing) else picture


def spot_pack(recipe: Mapping[str, Any], pack: Pack, state: str | Path) -> dict[str, Spotted]:
    """Key -> the texts of every picture of a pack, in index order; nothing in pictures that do not decode (printed).

    Resumes by shard from `state`, and prints how far it is. Raises `UserError` as `load_spotter`.
    """
    engine = load_spotter(recipe)
    start, done = time.monotonic(), 0

    def work(positions: Sequence[int]) -> list[dict[str, list]]:
        nonlocal done
        found = []
        for position in positions:
            found.append(_spot_one(engine, pack, position, recipe["side"])._asdict())
            done += 1
            if done % 1000 == 0 or position == positions[-1]:
                pace = done / max(time.monotonic() - start, 1e-9)
                print(f"read {done:,} of {len(pack):,} pictures, {pace:,.0f} pictures/s", flush=True)
        return found

    identity = {"recipe": dict(recipe), "index": file_digest(pack.folder / INDEX)}
    values = by_shard(pack, state, identity, work, _VALUE)
    return {row.key: Spotted(**value) for row, value in zip(pack.rows, values, strict=True)}


def _spot_one(engine: RapidOCR, pack: Pack, position: int, side: int) -> Spotted:
    try:
        return spot(engine, decode_whole(pack.picture(position), side))
    except ValueError as error:
        print(f"unreadable: {pack.rows[position].key}: {error}", flush=True)
        return NOTHING


def write_spotted(path: str | Path, spotted: Mapping[str, Spotted], recipe: Mapping[str, Any]) -> None:
    """Write texts and confidences by the pictures' keys as Parquet, atomically, with the digest of their recipe."""
    found = list(spotted.values())
    columns = {
        "key": pa.array(list(spotted), pa.string()),
        "texts": pa.array([entry.texts for entry in found], pa.list_(pa.string())),
        "confidences": pa.array([entry.confidences for entry in found], pa.list_(pa.float64())),
    }
    with atomic_path(path) as part:
        table = pa.table(columns).replace_schema_metadata({"recipe": digest_of(dict(recipe))})
        pq.write_table(table, part, compression="zstd")


def read_spotted(path: str | Path) -> dict[str, Spotted]:
    """Key -> texts and confidences. Raises `UserError` where the file is unreadable."""
    try:
        columns = pq.read_table(path, columns=["key", *Spotted._fields]).to_pydict()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: not a readable file of spotted texts ({error}): make it again") from error
    return {key: Spotted(*values) for key, *values in zip(*columns.values(), strict=True)}
