"""What is published about a data set: where it is, under which terms, what its files are, what a person must do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Archive:
    """A published file.

    Attributes:
        name: as its publisher names it; a file brought by hand has this name, too.
        url: where it can be had without a person's consent, or None: it is brought by hand.
        bytes: its size, or None where nobody published it.
        sha256: its digest, or None where nobody published one; `md5` is then the next best.
        md5: the digest that older sites publish.
        inner: an archive that is inside this one and is unpacked in its turn, by its place in it; "" where none.
        arranged: a person unpacks it and puts its files into folders; it is never unpacked automatically.
        unpacks_to: what exists below the set's folder once the archive is unpacked there; the file's own name where
            it is read as it is.
    """

    name: str
    url: str | None
    unpacks_to: str
    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None
    inner: str = ""
    arranged: bool = False


@dataclass(frozen=True)
class About:
    """A data set as published.

    Attributes:
        title: its usual name.
        home_page: of its authors.
        licence: SPDX identifier or the terms in a few words.
        metric: how it is scored: `accuracy`, `mean_per_class`, `retrieval`, `saliency` or `` for training data.
        split: the rule by which pictures are for training, validation and test.
        archives: all files that make it up.
        by_hand: what a person must do (a form, a consent, a dead host's replacement), or "" where nothing.
    """

    title: str
    home_page: str
    licence: str
    metric: str
    split: str
    archives: tuple[Archive, ...]
    by_hand: str = ""
