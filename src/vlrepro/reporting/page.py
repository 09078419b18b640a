"""The report: one HTML page that needs no network, no script and no second file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlrepro.reporting.answers import Comparison, Found, short_answers
from vlrepro.reporting.deviations import deviations
from vlrepro.reporting.gallery import Show, caption_examples, pair_gallery, refinement_gallery
from vlrepro.reporting.inputs import CaptionFile, MinedPairs, PackCount, ScoreFile, TrainedRun, name_of, recipe_titles
from vlrepro.reporting.markup import Html, bullets, element, folded, grid, inline_image, join
from vlrepro.reporting.provenance import caption_grid, cost_grid, pack_grid, recipe_grid
from vlrepro.reporting.refinement import (
    Costs,
    model_bullets,
    purity_ledgers,
    purity_sentences,
    refined_rows,
    refinement_grid,
    summary_grid,
)
from vlrepro.reporting.summary import SCALES, Claim, claims_overview
from vlrepro.tables.study import Study

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Even if a text slipped through unescaped, the browser would run no script and open no connection."""


@dataclass(frozen=True)
class Report:
    """Everything that the page is made of.

    `config` is the resolved configuration, `answers` what `vlrepro.reporting.answers.compare` found. `claims`,
    `claim_pages` and `audits` are keyed by study, `tables` and `galleries` (of saliency maps) by (study, table name);
    the latter four hold HTML that is escaped already. `figures` maps a figure's name to its texts and file, `captions`
    ids to sources, `shows` a pack's id to a function that shows its pictures, `costs` an artefact's id to seconds and
    peak MB.
    """

    config: Mapping[str, Any]
    studies: Sequence[Study]
    answers: Mapping[str, Sequence[tuple[Comparison, Found]]]
    claims: Mapping[str, Sequence[Claim]]
    claim_pages: Mapping[str, str]
    audits: Mapping[str, str]
    tables: Mapping[tuple[str, str], str]
    galleries: Mapping[tuple[str, str], str]
    figures: Mapping[str, tuple[Mapping[str, str], Path]]
    runs: Sequence[TrainedRun]
    captions: Mapping[str, CaptionFile]
    scores: Sequence[ScoreFile]
    checkpoints: Mapping[str, Mapping[str, Any]]
    mined: Sequence[MinedPairs]
    packs: Sequence[PackCount]
    shows: Mapping[str, Show]
    costs: Costs
    versions: Sequence[tuple[str, str]]
    commit: str | None
    command: str

    @property
    def scale(self) -> str:
        """The scale that was run."""
        return str(self.config["scale"])


def build_page(report: Report, style: str) -> str:
    """The whole page; `style` is the text of the style sheet."""
    title = f"vlrepro: did it reproduce? Scale {report.scale}"
    head = element(
        "head",
        Html('<meta charset="utf-8">'),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("title", title),
        element("style", Html(style.replace("</", "<\\/"))),
    )
    sections = _sections(report)
    main = element(
        "main", *(element("section", element("h2", name), content, id=key) for key, name, content in sections)
    )
    body = element("body", _header(report, _links(report, sections)), main, _footer(report))
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _links(report: Report, sections: Sequence[tuple[str, str, Html]]) -> Html:
    """The list of contents: the answers, the claims of each study, then the sections; tables by name."""
    tables = {"tables": _named(report, printed=True), "extended": _named(report, printed=False)}
    items = [element("a", "The short answer", href="#answers")] if report.answers else []
    items += [element("a", f"Verdicts: {study.title}", href=f"#study-{study.slug}") for study in report.studies]
    for name, title, _ in sections:
        below = [element("a", heading, href=f"#{study}-{table}") for study, table, heading in tables.get(name, ())]
        items.append(join([element("a", title, href=f"#{name}"), bullets(below) if below else Html("")]))
    return element("nav", bullets(items), aria_label="Contents")


def _header(report: Report, links: Html) -> Html:
    seeds = len(report.config["seeds"])
    words = (
        f"{len(report.runs)} runs of {len({run.name for run in report.runs})} recipes, {seeds} {_plural('seed', seeds)}"
    )
    scale = element(
        "p",
        element("span", f"scale {report.scale}", class_="badge"),
        " ",
        SCALES[report.scale],
        " ",
        element("span", f"{words}.", class_="note"),
        class_="scale",
    )
    studies = (claims_overview(study, report.claims[study.slug], report.scale) for study in report.studies)
    return element(
        "header",
        element("h1", "Did it reproduce?"),
        links,
        scale,
        short_answers(report.answers, _evaluations(report)),
        *studies,
    )


def _evaluations(report: Report) -> dict[str, str]:
    """Evaluation -> its title, as the studies give it."""
    return {name: text.title for study in report.studies for name, text in study.evaluations.items()}


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _sections(report: Report) -> list[tuple[str, str, Html]]:
    """(anchor, heading, content) of every section after the first screen."""
    claims = join(Html(report.claim_pages[study.slug]) for study in report.studies)
    audits = join(Html(_scrolling_tables(report.audits[study.slug])) for study in report.studies)
    curves = join(_figure(report, name) for name in ("curves", "accuracy", "spread"))
    extended = _named(report, printed=False)
    found = [
        ("tables", "Tables that the paper prints", _tables(report, _named(report, printed=True))),
        *([("extended", "Tables that we add", _tables(report, extended))] if extended else []),
        ("claims", "Claims, one by one", folded(f"All {_count(report)} claims and controls", claims, unfolded=True)),
        (
            "audit",
            "The paper against itself",
            folded("Blank cells, averages and contradictions of what it prints", audits),
        ),
        *([("saliency", "Saliency maps", _galleries(report))] if report.galleries else []),
        ("training", "Training", curves),
        *([("captions", "Captions", _captions(report))] if report.captions else []),
        *([("pairs", "Pairs", _pairs(report))] if report.mined else []),
        *([("stand-ins", "Stand-ins", _stand_ins(report))] if report.scores else []),
        ("runs", "What was run", _runs(report)),
        (
            "deviations",
            "Deviations",
            deviations(report.scale, report.config["sets"], _evaluated(report), report.studies),
        ),
        ("provenance", "Provenance", _provenance(report)),
        ("cost", "Cost", _cost(report)),
    ]
    return found


def _count(report: Report) -> int:
    return sum(len(claims) for claims in report.claims.values())


def _named(report: Report, printed: bool) -> list[tuple[str, str, str]]:
    """(study, name, heading) of the tables that the papers print, or of the others."""
    studies = {study.slug: study for study in report.studies}
    found = [(slug, name, studies[slug].table(name)) for slug, name in report.tables]
    return [(slug, name, table.heading()) for slug, name, table in found if table.printed == printed]


def _figure(report: Report, name: str) -> Html:
    if name not in report.figures:
        return Html("")
    texts, path = report.figures[name]
    caption = element("figcaption", element("strong", f"{texts['title']}."), " ", texts["caption"])
    picture = element("div", inline_image(path, texts["alt"]), class_="scroll", tabindex="0")
    return element("figure", picture, caption)


def _tables(report: Report, wanted: Sequence[tuple[str, str, str]]) -> Html:
    """Each table with the figure of its differences and the command that builds it again."""
    blocks = []
    for study, name, _ in wanted:
        command = element("code", f"{report.command} {study}_{name}")
        blocks += [
            Html(_scrolling_tables(report.tables[study, name])),
            _figure(report, f"differences_{study}_{name}"),
            element("p", "Build this table again: ", command, class_="command"),
        ]
    return join(blocks)


def _scrolling_tables(fragment: str) -> str:
    """Wide tables scroll on their own instead of with the page."""
    opened = re.sub(r"<table\b", '<div class="scroll" tabindex="0"><table', fragment)
    return opened.replace("</table>", "</table></div>")


def _captions(report: Report) -> Html:
    """Scores and kinds of captions, captions before and after refinement, and examples of each source, folded."""
    blocks = [_figure(report, "scores"), _figure(report, "captions")]
    for source in report.captions.values():
        if source.recipe["method"] == "refined":
            rows, show = refined_rows(source, report.captions), report.shows[source.recipe["pack"]]
            blocks += [
                element("h3", "Before and after refinement: ", element("code", source.id)),
                refinement_gallery(rows, show),
            ]
    for source in report.captions.values():
        title = join(["Kinds of captions: ", element("code", source.id)])
        blocks.append(folded(title, caption_examples(source, report.shows[source.recipe["pack"]])))
    return join(blocks)


def _pairs(report: Report) -> Html:
    """Purity, and some pairs of each kind, folded but the first."""
    blocks = [_figure(report, "purity")]
    for number, mined in enumerate(report.mined):
        title = join(["Pairs: ", element("code", mined.id)])
        blocks.append(folded(title, pair_gallery(mined, report.shows[mined.recipe["pack"]]), unfolded=number == 0))
    return join(blocks)


def _galleries(report: Report) -> Html:
    """The galleries, folded: they are long."""
    titles = {(study.slug, table.name): table.heading() for study in report.studies for table in study.tables}
    return join(folded(titles[key], Html(gallery)) for key, gallery in report.galleries.items())


def _stand_ins(report: Report) -> Html:
    """Who captioned and scored, what refinement kept, and whether the pairs became purer."""
    packs = {pack.id: pack for pack in report.packs}
    blocks = [model_bullets(report.captions, report.scores, report.checkpoints, packs, report.costs)]
    if report.checkpoints:
        words = (
            "A stand-in is a small model that takes the place of a published checkpoint, so that every step runs "
            "without a download. What it shows is how refinement works with a captioner and a scorer of its quality, "
            "not with those of the paper."
        )
        blocks.insert(0, element("p", words))
    if any(source.summary is not None for source in report.captions.values()):
        blocks.append(summary_grid(report.captions))
    for source in report.captions.values():
        if source.recipe["method"] == "refined":
            title = element("h3", "Which captions refinement kept: ", element("code", source.id))
            blocks += [title, refinement_grid(refined_rows(source, report.captions))]
    if sentences := purity_sentences(report.mined, report.captions):
        blocks += [element("h3", "Did the pairs become purer?"), bullets(sentences)]
    blocks += purity_ledgers(report.mined, report.captions)
    return join(blocks)


def _runs(report: Report) -> Html:
    """Recipes, packs with what was left out, captions with what was left out."""
    packs = {pack.id: pack for pack in report.packs}
    seeds = ", ".join(map(str, report.config["seeds"]))
    parts = [
        element("p", f"Scale {report.scale}; seeds {seeds}."),
        recipe_grid(report.runs, report.config["recipes"], recipe_titles(report.studies)),
        element("h3", "Pictures"),
        pack_grid(report.packs, _uses(report)),
    ]
    if report.captions:
        parts += [element("h3", "Captions"), caption_grid(list(report.captions.values()), packs)]
    return join(parts)


def _uses(report: Report) -> dict[str, str]:
    """Pack id -> training, or the headings of the evaluation sets that it holds."""
    training = {run.recipe["pack"] for run in report.runs}
    learnt = {recipe["pack"] for recipe in report.checkpoints.values()}
    uses: dict[str, str] = {}
    for pack in report.packs:
        name = name_of(pack.id)
        titles = [report.config["sets"][key]["title"] for key in _evaluated(report) if _pack_of(report, key) == name]
        uses[pack.id] = "; ".join(
            [*(["training"] if pack.id in training else []), *(["stand-ins"] if pack.id in learnt else []), *titles]
        )
    return uses


def _evaluated(report: Report) -> list[str]:
    """The sets that features are scored on, then those that saliency maps are scored on."""
    masked = (protocol for protocol in report.config["evaluation"].get("saliency", {}).values() if protocol)
    return list(dict.fromkeys([*report.config["evaluation"]["sets"], *(protocol["set"] for protocol in masked)]))


def _pack_of(report: Report, key: str) -> str:
    return report.config["sets"][key]["pack"]


def _provenance(report: Report) -> Html:
    commit = element("code", report.commit) if report.commit else "not known (no git here)"
    commands = [
        join([element("code", report.command), " builds all tables and this page."]),
        join([element("code", f"{report.command} report"), " also packs it with Snakemake's own report."]),
        *(
            join([element("code", f"{report.command} {study}_{name}"), " builds one table."])
            for study, name in report.tables
        ),
    ]
    if report.runs:
        model = f"{report.command} --force results/runs/{report.runs[0].id}/model.safetensors"
        commands.append(join([element("code", model), " trains one run again."]))
    return join(
        [
            element("p", "Commit when this page was built: ", commit),
            element("h3", "Run again"),
            folded("Commands", bullets(commands)),
            folded("Versions", grid(("Package", "Version"), report.versions)),
        ]
    )


def _cost(report: Report) -> Html:
    note = (
        "Wall-clock time and peak memory of the last attempt of each training, as Snakemake recorded them. Of all "
        "parts of this page, only this one differs between two runs of the same code on the same machine."
    )
    return join([element("p", note, class_="note"), cost_grid(report.runs, report.costs)])


def _footer(report: Report) -> Html:
    return element("footer", element("p", f"vlrepro {dict(report.versions).get('vlrepro', '')}, scale {report.scale}."))
