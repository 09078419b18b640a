"""Concepts of a pack's pictures by a frozen teacher: the targets of concept distillation.

Radenovic et al. 2023, "Filtering, Distillation, and Hard Negatives for Vision-Language Pre-Training", section 3.2, as
"Evaluating Distilled Hard Negative Training on Google's Conceptual Captions Dataset", section 3.2, restates it: linear
heads on the teacher's features learn to predict the objects and attributes that captions name; the k likeliest of
each, with their probabilities, are what the student learns to see. Captions name few things and some that are not
there; a head, which must do with the picture, names more and forgets what no picture shows.

The texts give neither loss nor vocabulary. Here a vocabulary holds the words that enough captions name, the most
frequent first. A head is trained by softmax cross-entropy against the caption's words in equal shares, as weakly
supervised teachers themselves are (Mahajan et al. 2018, "Exploring the Limits of Weakly Supervised Pretraining",
section 2.2), so that its probabilities of the k likeliest are a distribution when they are scaled to sum to 1.

The heads see all captions but those of a share that is held out, on which the summary measures them. Since a head is
small beside its data, and few epochs do, it can also be asked about the pictures that it learnt from.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vlrepro.captions.concept_files import KINDS, ConceptFile, Named, Seen
from vlrepro.errors import UserError
from vlrepro.randomness import key, torch_generator

REVISION = 1

_BLOCK = 4096  # pictures at a time when heads are asked
_EXAMPLES = 12


@dataclass(frozen=True)
class HeadOptions:
    """How a head is trained: AdamW, the learning rate falling to 0 along a cosine, weight decay on the weights only."""

    epochs: int = 20
    batch_size: int = 256
    learning_rate: float = 0.01
    weight_decay: float = 1.0
    seed: int = 0


class Agreement(NamedTuple):
    """How a head's k likeliest agree with captions, over the pictures whose caption names a word of the vocabulary.

    `recall`: the mean share of a caption's words that are among them; `first`: the share of pictures whose likeliest
    word the caption names; `pictures`: how many.
    """

    recall: float
    first: float
    pictures: int


def distil(
    recipe: Mapping[str, Any], keys: Sequence[str], features: Tensor, named: Named, place: str
) -> tuple[ConceptFile, dict[str, Any]]:
    """What a teacher sees in every picture of a pack, and a summary of how far that agrees with the captions.

    Args:
        recipe: `objects` and `attributes`, the greatest sizes of the vocabularies; `minimum_count`; `top`, the k;
            `held_out`, a share; `head`, fields of `HeadOptions`.
        keys: the pack's pictures.
        features: (n, d) rows of the teacher for `keys`, of length 1.
        named: what captions name; a picture may be without.
        place: where `named` is from, for messages.

    Raises:
        UserError: captions are of pictures that the pack does not have; a vocabulary has fewer words than `top`; or a
            training overflows.
    """
    position = {name: number for number, name in enumerate(keys)}
    if strangers := [name for name in named.keys if name not in position]:
        raise UserError(f"{place}: picture {strangers[0]!r} is not in the pack: parse captions of that pack")
    rows = torch.tensor([position[name] for name in named.keys], dtype=torch.int64)
    options = HeadOptions(**recipe["head"])
    # A picture is held out by its key alone, so captions that come or go leave the others where they are.
    draws = [key(options.seed, "concepts", "held out", name) / 2**63 for name in named.keys]
    held_out = torch.tensor(draws, dtype=torch.float64) < recipe["held_out"]
    seen, summary = {}, {"pictures": len(keys), "captions": len(named.keys), "top": recipe["top"]}
    for kind in KINDS:
        words = named.words[kind]
        vocabulary = vocabulary_of(words, recipe["minimum_count"], recipe[kind])
        _check_size(vocabulary, kind, recipe, place)
        targets = targets_of(words, vocabulary)
        usable = (targets >= 0).any(1)
        fitted = usable & ~held_out
        head = fit_head(features[rows[fitted]], targets[fitted], len(vocabulary), options, kind)
        places, weights = likeliest(head, features, recipe["top"])
        seen[kind] = Seen(places.int().numpy(), weights.numpy(), vocabulary)
        parts = {"held_out": usable & held_out, "fitted": fitted}
        measured = {part: _measured(places, rows, targets, chosen, fitted) for part, chosen in parts.items()}
        summary[kind] = {"vocabulary": len(vocabulary), "most_frequent": vocabulary[:_EXAMPLES]} | measured
    summary["examples"] = _examples(named, rows, held_out, seen)
    return ConceptFile(list(keys), seen), summary


def vocabulary_of(words: Sequence[Sequence[str]], minimum_count: int, maximum: int) -> list[str]:
    """The words that at least `minimum_count` captions name, at most `maximum`: the most frequent first, then by name.

    A caption that names a word twice counts once.
    """
    counts = Counter(word for named in words for word in set(named))
    kept = sorted((-count, word) for word, count in counts.items() if count >= minimum_count)
    return [word for _, word in kept[:maximum]]


def _check_size(vocabulary: Sequence[str], kind: str, recipe: Mapping[str, Any], place: str) -> None:
    least = max(recipe["top"], 2)
    if len(vocabulary) < least:
        raise UserError(
            f"{place}: {len(vocabulary)} {kind} are named by at least {recipe['minimum_count']} captions (and no more "
            f"than {recipe[kind]} kept), but {least} are needed for the {recipe['top']} likeliest: lower top or "
            f"minimum_count, raise {kind}, or bring more captions"
        )


def targets_of(words: Sequence[Sequence[str]], vocabulary: Sequence[str]) -> Tensor:
    """Places in the vocabulary of each caption's distinct words, ascending, (n, m) int64; -1 fills up."""
    number = {word: place for place, word in enumerate(vocabulary)}
    found = [sorted({number[word] for word in named if word in number}) for named in words]
    width = max(map(len, found), default=0) or 1
    rows = [[*places, *[-1] * (width - len(places))] for places in found]
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, width)


def multi_label_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """Mean over rows of the softmax cross-entropy against equal shares of the row's targets.

    With p = softmax(s) of a row and T its targets: - sum over t in T of log p(t) / |T|.

    Args:
        scores: (B, V) floats.
        targets: (B, m) int64 distinct places, at least one a row; -1 is none.
    """
    there = targets >= 0
    logs = scores.log_softmax(1).gather(1, targets.clamp(min=0))
    return -(logs.masked_fill(~there, 0).sum(1) / there.sum(1)).mean()


def fit_head(features: Tensor, targets: Tensor, size: int, options: HeadOptions, kind: str) -> nn.Linear:
    """A linear head of `size` outputs, with biases, that minimises `multi_label_loss` of targets given features.

    Features of length 1 are lengthened to sqrt(d), so that one learning rate suits every width. Order and start are
    functions of the seed, the `kind` and the numbers of rows and outputs.

    Raises `UserError` where there is no row, or the head overflows.
    """
    if not len(features):
        raise UserError(f"no caption names a word of the vocabulary of {kind}: lower minimum_count or held_out")
    head = nn.Linear(features.shape[1], size)
    with torch.no_grad():  # an even start: every word is as likely as any other
        head.weight.zero_()
        head.bias.zero_()
    groups = [{"params": [head.weight]}, {"params": [head.bias], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=options.learning_rate, weight_decay=options.weight_decay)
    order = torch_generator(options.seed, "concepts", "order", kind)
    batches = math.ceil(len(features) / options.batch_size)
    for step in range(options.epochs * batches):
        if step % batches == 0:
            shuffled = torch.randperm(len(features), generator=order).split(options.batch_size)
        chosen = shuffled[step % batches]
        for group in optimiser.param_groups:
            group["lr"] = options.learning_rate * (1 + math.cos(math.pi * step / (options.epochs * batches))) / 2
        optimiser.zero_grad(set_to_none=True)
        multi_label_loss(head(_lengthened(features[chosen])), targets[chosen]).backward()
        optimiser.step()
    if not all(bool(parameter.isfinite().all()) for parameter in head.parameters()):
        raise UserError(f"the head of {kind} grows past all bounds: lower its learning_rate, or mend the features")
    return head


@torch.inference_mode()
def likeliest(head: nn.Linear, features: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """The `top` likeliest places of each picture (n, top) int64, and their probabilities scaled to sum to 1 (n, top).

    Probabilities scaled over the `top` are the softmax over their scores alone.
    """
    found = [head(_lengthened(block)).topk(top, dim=1) for block in features.split(_BLOCK)]
    scores, places = (torch.cat(parts) for parts in zip(*found, strict=True))
    return places, scores.softmax(1)


def _lengthened(features: Tensor) -> Tensor:
    return features * math.sqrt(features.shape[1])


def agreement(places: Tensor, targets: Tensor) -> Agreement:
    """How places (n, k) agree with captions' targets (n, m), -1 where a caption names fewer; n may be 0."""
    if not len(targets):
        return Agreement(math.nan, math.nan, 0)
    there = targets >= 0
    named = (targets[:, :, None] == places[:, None, :]) & there[:, :, None]
    recall = named.any(2).sum(1) / there.sum(1)
    return Agreement(recall.mean().item(), named[:, :, 0].any(1).float().mean().item(), len(targets))


def _measured(places: Tensor, rows: Tensor, targets: Tensor, chosen: Tensor, fitted: Tensor) -> dict[str, Any]:
    """The agreement of the pictures `chosen`, and of two that look at no picture.

    `frequent` names the words that most of the fitted captions name, whatever the picture; `shuffled` is what the head
    sees in another of the pictures, drawn by lot.
    """
    counts = targets[fitted].flatten()
    frequent = counts[counts >= 0].bincount().argsort(descending=True, stable=True)[: places.shape[1]]
    own, named = places[rows[chosen]], targets[chosen]
    order = torch.randperm(len(own), generator=torch_generator(0, "concepts", "shuffled"))
    shuffled = own.clone()
    shuffled[order] = own[order.roll(1)]
    others = {"teacher": own, "frequent": frequent.expand(len(own), -1), "shuffled": shuffled}
    found = {name: agreement(seen, named) for name, seen in others.items()}
    return {"pictures": len(own)} | {
        name: {"recall": _number(entry.recall), "first": _number(entry.first)} for name, entry in found.items()
    }


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def _examples(named: Named, rows: Tensor, held_out: Tensor, seen: Mapping[str, Seen]) -> list[dict[str, Any]]:
    """The first held-out pictures by key: what their captions name and what the teacher sees, with its weights."""
    chosen = sorted(held_out.nonzero().flatten().tolist(), key=lambda number: named.keys[number])[:_EXAMPLES]
    found = []
    for number in chosen:
        entry: dict[str, Any] = {"key": named.keys[number]}
        for kind, (places, weights, vocabulary) in seen.items():
            row = int(rows[number])
            there = zip(places[row].tolist(), weights[row].tolist(), strict=True)
            entry[kind] = {
                "caption": named.words[kind][number],
                "teacher": [[vocabulary[place], round(weight, 4)] for place, weight in there],
            }
        found.append(entry)
    return found
