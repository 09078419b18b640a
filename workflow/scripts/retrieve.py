"""Search pictures by captions and captions by pictures, for one run or several; write a metrics file a run."""

import json
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vlrepro.data.pack import Pack
from vlrepro.dual_encoders import DualEncoder, filled, load_dual_encoder
from vlrepro.errors import run_command
from vlrepro.evaluation.captioned import Captioned, read_captioned
from vlrepro.evaluation.galleries import DIRECTIONS, Direction, Gallery, batch_ranks, recall_curve
from vlrepro.evaluation.many_runs import parser_of_runs, score_runs
from vlrepro.evaluation.recalls import nearest, recalled
from vlrepro.evaluation.results import about, metrics, without_scores
from vlrepro.evaluation.retrieval import Ranks, expected_rank
from vlrepro.files import read_json
from vlrepro.randomness import fix_kernels
from vlrepro.training.outcome import failure_of

SHOWN = 5
"""Nearest items that are kept of each query, for the gallery of the report."""


DRAWS = 6
"""Galleries of a size, at least, where recall by size has no closed form."""


def main() -> None:
    """Parse the arguments; for each run encode, search and write."""
    parser = parser_of_runs(__doc__)
    parser.add_argument("--captions", default="results/captions", help="folder of the caption files")
    parser.add_argument("--embeddings", default="results/embeddings", help="folder of their embeddings")
    arguments = parser.parse_args()
    evaluation = read_json(arguments.evaluation)
    fix_kernels(evaluation["threads"])
    entries: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for entry in evaluation["sets"].values():
        entries[gallery_of(entry)].append(entry)
    sources = {}
    for key, found in entries.items():
        pack = Pack(Path(arguments.data) / found[0]["pack"])
        every = read_captioned(pack, found[0], arguments.captions, arguments.embeddings)
        sources[key] = every.head(max(entry.get("first", len(every)) for entry in found))
    score_runs(arguments, lambda run, recipe, model: searched(run, recipe, model, evaluation, sources))


def gallery_of(entry: Mapping[str, Any]) -> str:
    """What sets have in common that are a gallery and parts of it, of which as much is encoded as one of them needs."""
    return json.dumps([entry.get(key) for key in ("pack", "captions", "splits", "captions_each")])


def searched(
    run: str, recipe: Mapping[str, Any], model: str, evaluation: Mapping[str, Any], sources: Mapping[str, Captioned]
) -> dict[str, Any]:
    """The metrics of one run; of a set that is a whole gallery also every query's rank and its nearest items."""
    sets = {name: (entry, sources[gallery_of(entry)]) for name, entry in evaluation["sets"].items()}
    ranges = {name: source.ranges(entry) for name, (entry, source) in sets.items()}
    what = {name: about("recall", 0, sum(map(len, found))) for name, found in ranges.items()}
    encoder = load_dual_encoder(recipe, model, evaluation["pictures"])
    if failure := failure_of(model):
        scored = without_scores(evaluation["protocols"], what)
        return metrics(run, recipe, evaluation, encoder.size, failed=failure, protocols=scored)
    start = time.monotonic()
    encoded = {key: encode(encoder, source) for key, source in sources.items()}
    seconds = round(time.monotonic() - start, 2)
    galleries = {name: encoded[gallery_of(entry)] for name, (entry, _) in sets.items()}
    ranks = {(name, way): batch_ranks(galleries[name], ranges[name], way) for name in sets for way in DIRECTIONS}
    captions = {name: [source.captions_of(found) for found in ranges[name]] for name, (_, source) in sets.items()}
    scored = {}
    for key, protocol in evaluation["protocols"].items():
        way, top = protocol["direction"], protocol["top"]
        found = {name: recalled(ranks[name, way], captions[name], way, top) | what[name] for name in sets}
        scored[key] = {"kind": protocol["kind"], "seconds": 0.0, "sets": found}
        scores = ", ".join("{} {:.4f}".format(name, entry["score"]) for name, entry in found.items())
        print(f"{key}: {scores}", flush=True)
    whole = {
        name: details(source, galleries[name], {way: ranks[name, way][0] for way in DIRECTIONS})
        for name, (_, source) in sets.items()
        if ranges[name] == [range(len(source))]
    }
    return metrics(run, recipe, evaluation, encoder.size, feature_seconds=seconds, protocols=scored, searches=whole)


def encode(encoder: DualEncoder, source: Captioned) -> Gallery:
    """A gallery as one model sees it."""
    pictures = encoder.pictures(source.pack, source.positions.tolist())
    return Gallery(pictures, texts_of(encoder, source), source.picture_of)


def texts_of(encoder: DualEncoder, source: Captioned) -> Tensor:
    """The captions of a gallery (m, d): each sentence is encoded once, so that equal ones are exactly as near."""
    first = {text: number for number, text in reversed(list(enumerate(source.captions)))}
    distinct = list(first)
    rows = encoder.texts(filled(encoder.prompt, distinct), source.rows[list(first.values())])
    place = {text: number for number, text in enumerate(distinct)}
    return rows[[place[text] for text in source.captions]]


def details(source: Captioned, gallery: Gallery, ranks: Mapping[Direction, Ranks]) -> dict[str, Any]:
    """A whole gallery query by query: ranks, the numbers of the nearest items, and recall@1 in smaller galleries."""
    sides = {"text_to_image": (gallery.captions, gallery.pictures), "image_to_text": gallery[:2]}
    directions = {
        direction: {
            "ranks": expected_rank(found).tolist(),
            "nearest": nearest(*sides[direction], SHOWN).tolist(),
            "curve": recall_curve(gallery, direction, found, sizes(len(source)), 1, DRAWS),
        }
        for direction, found in ranks.items()
    }
    keys = [source.pack.rows[position].key for position in source.positions.tolist()]
    texts = {"captions": list(source.captions), "picture_of": source.picture_of.tolist()}
    return {"pictures": keys, "directions": directions} | texts


def sizes(count: int) -> list[int]:
    """Sizes of galleries up to `count`, by halves."""
    return sorted({count >> halves for halves in range(7) if count >> halves})


run_command(main)
