"""Strict models of `config/papers/*.yaml`: what a paper prints, where, what it claims, and which rows are run.

Imported while Snakemake parses, so nothing heavy: pydantic, PyYAML and the standard library only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, model_validator

from vlrepro.config.base import Slug, validate
from vlrepro.errors import UserError
from vlrepro.tables.claims import (
    AgreementTest,
    ChanceTest,
    CostTest,
    Entry,
    PaperClaim,
    PurityTest,
    ScoreTest,
    Text,
    Version,
    row_and_variant,
)
from vlrepro.tables.paper_table import AVERAGE, PaperColumn, PaperTable, TableRow, distinct
from vlrepro.tables.printed import as_written
from vlrepro.tables.saliency_columns import expanded

__all__ = ["AVERAGE", "PaperColumn", "PaperTable", "Study", "TableRow", "load_study"]


class EvaluationText(Entry):
    """An evaluation in words: its heading, what an interval samples ("test images"), and how it scores."""

    title: Text
    examples: Text
    shows: Text


class Mention(Entry):
    """A table or figure that the text sends its reader to, as the text names it."""

    name: Text
    where: Text
    quote: Text


class Disagreement(Entry):
    """Places of the paper that say different things of one matter."""

    about: Text
    versions: list[Version] = Field(min_length=2)


class Study(Entry):
    """One paper: its scale, its tables, its claims, and what its text leaves open or says twice."""

    slug: Slug
    title: Text
    setup: Text
    notes: list[Text] = Field(default_factory=list)
    figures: list[Text] = Field(default_factory=list)
    mentions: list[Mention] = Field(default_factory=list)
    disagreements: list[Disagreement] = Field(default_factory=list)
    evaluations: dict[Slug, EvaluationText]
    tables: list[PaperTable]
    claims: list[PaperClaim]

    @model_validator(mode="after")
    def _consistent(self) -> Study:
        distinct([table.name for table in self.tables], "table")
        distinct([table.number for table in self.tables if table.printed], "table")
        distinct([claim.id for claim in self.claims], "claim")
        for table in self.tables:
            for name in table.evaluations:
                if name not in self.evaluations:
                    raise ValueError(f"table {table.name!r} names {name!r}, which is not under evaluations")
        for claim in self.claims:
            for name in claim.tables:
                self._check_claim(claim, name)
        return self

    def _check_claim(self, claim: PaperClaim, name: str) -> None:
        if name not in {table.name for table in self.tables}:
            raise ValueError(f"claim {claim.id!r} names table {name!r}, which is not here")
        table, test = self.table(name), claim.test
        if isinstance(test, AgreementTest) and name == claim.tables[-1]:
            self._check_agreement(claim, test)
        if isinstance(test, ScoreTest | ChanceTest | CostTest):
            self._check_names(claim, table, test)

    def _check_names(self, claim: PaperClaim, table: PaperTable, test: ScoreTest | ChanceTest | CostTest) -> None:
        place, known = f"claim {claim.id!r}", {row.id for row in table.rows}
        for row, variant in map(row_and_variant, test.names()):
            if row not in known:
                raise ValueError(f"{place} names {row!r}, which is not a row of table {table.name!r}")
            if variant is not None and variant not in table.variants:
                raise ValueError(f"{place} names {variant!r}, which is not a variant of table {table.name!r}")
        for variant in test.variants or []:
            if variant not in table.variants:
                raise ValueError(f"{place} names {variant!r}, which is not a variant of table {table.name!r}")
        if isinstance(test, CostTest):
            return
        for evaluation in test.evaluations or []:
            if evaluation not in table.evaluations:
                raise ValueError(f"{place} names {evaluation!r}, no evaluation of table {table.name!r}")
        for name in test.sets or []:
            if not table.about(name):
                raise ValueError(f"{place} names {name!r}, which is not a set of table {table.name!r}")

    def _check_agreement(self, claim: PaperClaim, test: AgreementTest) -> None:
        first = self.table(claim.tables[0])
        distinct(test.rows, f"claim {claim.id!r}: row")
        distinct(test.between, f"claim {claim.id!r}: evaluation")
        known = {row.id: row for row in first.rows}
        for row in test.rows:
            if row not in known:
                raise ValueError(f"claim {claim.id!r} names {row!r}, which is not a row of table {first.name!r}")
            if known[row].prior or known[row].probe:
                raise ValueError(f"claim {claim.id!r} ranks models, and row {row!r} is a prior or a control probe")
        # A model that counts twice would make the interval over models too narrow.
        distinct([known[row].recipe for row in test.rows if known[row].recipe], f"claim {claim.id!r}: recipe")
        evaluations = {e for table in self.tables if table.name in claim.tables for e in table.evaluations}
        for evaluation in test.between:
            if evaluation not in evaluations:
                raise ValueError(f"claim {claim.id!r} names {evaluation!r}, no evaluation of its tables")

    def table(self, name: str) -> PaperTable:
        """The table of that name.

        Raises `UserError` where the study has none.
        """
        for table in self.tables:
            if table.name == name:
                return table
        known = ", ".join(table.name for table in self.tables)
        raise UserError(f"{self.slug}: there is no table {name!r}: choose one of {known}")

    def mined_pairs(self) -> list[str]:
        """Names of the mined pairs that the claims are about."""
        tests = [claim.test for claim in self.claims if isinstance(claim.test, PurityTest)]
        return sorted({name for test in tests for pair in test.pairs for name in pair})


def load_study(path: str | Path) -> Study:
    """Read and check one study.

    Raises `UserError`, one line that names the file and the key, for text that is not YAML, a key given twice,
    an unknown or missing key, a value of another type, and names that lead nowhere; `OSError` for a missing file.
    """
    try:
        values = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}: mend the YAML") from None
    return validate(Study, expanded(values, str(path)), str(path))


class _UniqueKeyLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # libyaml takes a fifth of the time
    """YAML without silent loss: PyYAML keeps the last of two equal keys, which hides a slip in a transcription.

    Decimals keep the digits that they are written with.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # what is merged in may be given again: that is its use
                continue
            name = self.construct_object(key_node, deep=True)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {name!r} is given twice", key_node.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        number = as_written(node.value)
        return super().construct_yaml_float(node) if number is None else number


# PyYAML looks constructors up in a table of functions, where an overriding method is not found.
_UniqueKeyLoader.add_constructor("tag:yaml.org,2002:float", _UniqueKeyLoader.construct_yaml_float)
