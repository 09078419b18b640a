"""Dependency parses of captions: how complex they are, which actions, objects and attributes they name.

Radenovic et al. 2023, "Filtering, Distillation, and Hard Negatives for Vision-Language Pre-Training", section 3.1, as
"Evaluating Distilled Hard Negative Training on Google's Conceptual Captions Dataset" retells it (section 3.1.1): a rule
based parser finds a caption's objects, and "the complexity as the highest number of relations for a single object". Its
example, "The quarterback kicked the small brown football", has complexity 3: small, brown, and kicked by the
quarterback. Neither text lists the rules, and no code was released; ours, over spaCy's English dependencies:

    object      a noun or proper noun with a letter or digit that does not modify another one ("birthday cake")
    attribute   an adjective, participle, number or noun that modifies the object, or what a copula says of it
                ("the ball is red"); a relation each. Articles and pronouns ("my") are none.
    action      a verb of which the object is subject, direct or indirect object, agent ("by the boy"), the noun that it
                describes ("woman wearing ...") or where a preposition leads ("runs on the beach"); a relation each
    preposition that joins two objects ("face with big eyes"); a relation of both

Coordinated words count alike ("black and white cat"), and a verb without a subject of its own shares that of the verb
it is coordinated with. `actions` are the different verbs (lemmas; "is" and other auxiliaries are none) that have a
nominal, that is a noun, proper noun or pronoun, for subject or object, or that describe a noun.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from vlrepro.errors import UserError
from vlrepro.files import atomic_path, digest_of, file_digest

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc, Token

REVISION = 1
LONGEST = 2000
"""Characters of a caption that are parsed: more is no caption, and the parser's memory grows with it."""
_BATCH = 256
_NOUNS = frozenset({"NOUN", "PROPN"})
_NOMINALS = _NOUNS | {"PRON"}
_MODIFIERS = frozenset({"amod", "compound", "nmod", "nummod", "poss"})
_OF_NOUNS = frozenset({"compound", "nmod"})
_SUBJECTS = frozenset({"nsubj", "nsubjpass"})
_OBJECTS = frozenset({"dobj", "dative"})
_CLAUSES = frozenset({"acl", "relcl"})
_UNUSED = ["ner", "senter", "entity_linker", "textcat"]


class Parse(NamedTuple):
    """What a caption says, each word once, in the caption's order."""

    complexity: int
    actions: int
    objects: list[str]
    attributes: list[str]


def locate_parser(parser: Mapping[str, Any]) -> Path:
    """The data folder of a spaCy model: `model` is a folder, or an installed package that carries it.

    A package is located, never imported. With a `digest` that of all the model's files (`model_digest`) must match.

    Raises `UserError` where there is no such model or its files are others.
    """
    folder = _data_folder(str(parser["model"]))
    if parser.get("digest") and model_digest(folder) != parser["digest"]:
        raise UserError(f"{folder}: the files are not those of the config's digest: reinstall the model")
    return folder


def _data_folder(model: str) -> Path:
    folder = Path(model)
    if not folder.is_dir():
        spec = importlib.util.find_spec(model) if model.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            raise UserError(f"parser {model}: neither a folder nor an installed package: run make setup")
        folder = Path(spec.submodule_search_locations[0])
    inside = sorted(path.parent for path in folder.glob("*/config.cfg"))
    places = [folder] if (folder / "config.cfg").is_file() else inside
    if len(places) != 1:
        raise UserError(f"parser {model}: no spaCy model (config.cfg) in {folder}: give the folder of one")
    return places[0]


def model_digest(folder: str | Path) -> str:
    """SHA-256 over the relative paths and SHA-256s of all files of a model, in the order of their paths."""
    files = (path for path in Path(folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return digest_of(sorted([path.relative_to(folder).as_posix(), file_digest(path)] for path in files))


def load_parser(parser: Mapping[str, Any]) -> Language:
    """Load a spaCy model of English.

    Raises `UserError` where spaCy or the model is missing, the model does not load, or it does not label dependencies
    as spaCy's models of English do.
    """
    folder = locate_parser(parser)
    try:
        import spacy  # seconds to import
    except ImportError as error:
        raise UserError(f"parser {parser['model']}: spaCy cannot be imported ({error}): run make setup") from error
    try:
        nlp = spacy.load(folder, exclude=_UNUSED)
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"parser {folder}: cannot be loaded ({reason}): reinstall the model") from error
    labels = set(nlp.get_pipe("parser").labels) if "parser" in nlp.pipe_names else set()
    if not {"dobj", "nsubj", "amod"} <= labels:
        raise UserError(f"parser {folder}: does not name dependencies as spaCy's English: choose an en_core_web model")
    return nlp


def parse_captions(captions: Sequence[str], nlp: Language, batch_size: int = _BATCH) -> list[Parse]:
    """A parse of each caption. Each distinct one is parsed once, in sorted order, so the order given does not matter.

    Of a caption longer than `LONGEST` characters its beginning is parsed. Prints how far it is and at what pace.
    """
    distinct = sorted(set(captions))
    found: dict[str, Parse] = {}
    start = told = time.monotonic()
    texts = (caption[:LONGEST] for caption in distinct)
    for caption, doc in zip(distinct, nlp.pipe(texts, batch_size=batch_size), strict=True):
        found[caption] = parse(doc)
        if time.monotonic() - told >= 5:
            told = time.monotonic()
            _tell(len(found), len(distinct), told - start)
    _tell(len(found), len(distinct), time.monotonic() - start)
    return [found[caption] for caption in captions]


def _tell(done: int, of: int, seconds: float) -> None:
    print(f"parsed {done:,} of {of:,} distinct captions, {done / max(seconds, 1e-9):,.0f} captions/s", flush=True)


def parse(doc: Doc) -> Parse:
    """What a parsed caption says, by the rules of this module."""
    objects = [token for token in doc if _is_object(token)]
    related: dict[int, set[int]] = {token.i: set() for token in objects}
    attributes: set[int] = set()
    for token in objects:
        modifiers = {word.i for word in _attributes(token)}
        attributes |= modifiers
        related[token.i] |= modifiers
        for other in _joined_by_preposition(token):
            related[token.i].add(other.i)
            related[other.i].add(token.i)
    actions = set()
    for verb in (token for token in doc if token.pos_ == "VERB"):
        for participant in _participants(verb):
            if participant.i in related:
                related[participant.i].add(verb.i)
        if any(word.pos_ in _NOMINALS for word in _arguments(verb)):
            actions.add(verb.lemma_.lower())
    named = [doc[number] for number in sorted(attributes) if doc[number].pos_ != "NUM"]
    return Parse(
        max((len(others) for others in related.values()), default=0),
        len(actions),
        _once(token.lemma_ for token in objects),
        _once(word.text if word.pos_ == "VERB" else word.lemma_ for word in named),
    )


def _is_object(token: Token) -> bool:
    return token.pos_ in _NOUNS and _is_word(token) and not (token.dep_ in _OF_NOUNS and token.head.pos_ in _NOUNS)


def _is_word(token: Token) -> bool:
    """Not so of pictographs and of characters that show nothing, which parsers take for nouns."""
    return any(character.isalnum() for character in token.text)


def _once(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(word.lower() for word in words))


def _coordinated(token: Token) -> list[Token]:
    """A word and those coordinated below it ("a, b and c")."""
    found = [token]
    for word in found:
        found += [child for child in word.children if child.dep_ == "conj"]
    return found


def _attributes(token: Token) -> Iterator[Token]:
    for child in token.children:
        if child.dep_ in _MODIFIERS and child.pos_ not in ("PRON", "DET") and _is_word(child):
            yield from _coordinated(child)
    verb = token.head
    if token.dep_ in _SUBJECTS and verb.lemma_ == "be":
        for child in verb.children:
            if child.dep_ == "acomp":
                yield from _coordinated(child)


def _joined_by_preposition(token: Token) -> Iterator[Token]:
    """The objects that the prepositions of an object lead to ("face" with "eyes")."""
    for child in token.children:
        if child.dep_ == "prep":
            yield from (noun for noun in _led_to(child) if _is_object(noun))


def _led_to(preposition: Token) -> Iterator[Token]:
    for child in preposition.children:
        if child.dep_ == "pobj":
            yield from _coordinated(child)


def _arguments(verb: Token) -> Iterator[Token]:
    """A verb's subjects, objects, agents and the noun that it describes, with those coordinated with them."""
    for child in _subjects(verb):
        yield from _coordinated(child)
    for child in verb.children:
        if child.dep_ in _OBJECTS:
            yield from _coordinated(child)
        elif child.dep_ == "agent":
            yield from _led_to(child)
    if verb.dep_ in _CLAUSES:
        yield verb.head


def _participants(verb: Token) -> Iterator[Token]:
    """A verb's arguments and the nouns that its prepositions lead to."""
    yield from _arguments(verb)
    for child in verb.children:
        if child.dep_ == "prep":
            yield from _led_to(child)


def _subjects(verb: Token) -> list[Token]:
    """A verb's own subjects or, where it has none and is coordinated with a verb, those of that one."""
    while True:
        own = [child for child in verb.children if child.dep_ in _SUBJECTS]
        if own or verb.dep_ != "conj":
            return own
        verb = verb.head


def write_parses(path: str | Path, parses: Mapping[str, Parse], recipe: Mapping[str, Any]) -> None:
    """Write parses by the pictures' keys as Parquet, atomically, with the digest of their recipe in the metadata."""
    found = list(parses.values())
    words = pa.list_(pa.string())
    columns = {
        "key": pa.array(list(parses), pa.string()),
        "complexity": pa.array([entry.complexity for entry in found], pa.int32()),
        "actions": pa.array([entry.actions for entry in found], pa.int32()),
        "objects": pa.array([entry.objects for entry in found], words),
        "attributes": pa.array([entry.attributes for entry in found], words),
    }
    with atomic_path(path) as part:
        table = pa.table(columns).replace_schema_metadata({"recipe": digest_of(dict(recipe))})
        pq.write_table(table, part, compression="zstd")


def read_parses(path: str | Path) -> dict[str, Parse]:
    """Key -> parse. Raises `UserError` where the file is unreadable."""
    try:
        columns = pq.read_table(path, columns=["key", *Parse._fields]).to_pydict()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: not a readable file of parses ({error}): make it again") from error
    return {key: Parse(*values) for key, *values in zip(*columns.values(), strict=True)}
