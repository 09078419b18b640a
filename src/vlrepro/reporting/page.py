"""The report: one HTML page that needs no network, no script and no second file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlrepro.reporting.gallery import Show, caption_examples, pair_gallery
from vlrepro.reporting.inputs import CaptionFile, MinedPairs, PackCount, TrainedRun, recipe_titles
from vlrepro.reporting.markup import Html, bullets, element, grid, inline_image, join
from vlrepro.reporting.provenance import caption_grid, cost_grid, pack_grid, recipe_grid
from vlrepro.reporting.summary import SCALES, Claim, claims_overview
from vlrepro.tables.study import Study

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Even if a text slipped through unescaped, the browser would run no script and open no connection."""

_GENERAL = (
    "The last checkpoint of a run is scored, never the best.",
    "All recipes of a table take the same number of steps with the same batch size and optimiser, unless the list of "
    "recipes says otherwise.",
    "Intervals cover seeds and test examples where there are several seeds, test examples alone where there is one. "
    "They never cover the choice of data sets.",
    "A cell that the paper leaves blank stays blank in its column; ours is filled all the same.",
)
_SMALL = (
    "Training pictures are emoji: several open designs draw the same concepts in different looks. A subgroup of emoji "
    "plays both a class and the community that posts its pictures.",
    "Captions are people's names and keywords for the emoji, made noisy by a documented model (faithful, vague, "
    "off-topic, wrong, in another language, a single word), since real captions of such pictures do not exist.",
    "The sentence encoder is the published all-MiniLM-L6-v2; it is not trained here.",
    "The backbone is a small residual network on small pictures, trained for a small part of the paper's steps.",
    "The evaluation sets are stand-ins; none of them is a data set of the paper.",
)
STAND_INS = {"tiny": _SMALL, "pocket": _SMALL, "evidence": _SMALL, "paper": ()}


@dataclass(frozen=True)
class Report:
    """Everything that the page is made of.

    `config` is the resolved configuration; `claims` and `claim_pages` are keyed by study, `tables` by (study, table
    number); the latter two hold HTML that `vlrepro.tables.rendering` escaped. `figures` maps a figure's name to its
    texts and file, `shows` a pack's id to a function that shows its pictures, `costs` a run to seconds and peak MB.
    """

    config: Mapping[str, Any]
    studies: Sequence[Study]
    claims: Mapping[str, Sequence[Claim]]
    claim_pages: Mapping[str, str]
    tables: Mapping[tuple[str, int], str]
    figures: Mapping[str, tuple[Mapping[str, str], Path]]
    runs: Sequence[TrainedRun]
    captions: Sequence[CaptionFile]
    mined: Sequence[MinedPairs]
    packs: Sequence[PackCount]
    shows: Mapping[str, Show]
    costs: Mapping[str, tuple[float, float | None]]
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
    body = element("body", _header(report, _links(sections)), main, _footer(report))
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _links(sections: Sequence[tuple[str, str, Html]]) -> Html:
    """Links to the sections."""
    return element("nav", *(element("a", title, href=f"#{name}") for name, title, _ in sections), aria_label="Sections")


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
    return element("header", element("h1", "Did it reproduce?"), links, scale, *studies)


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _sections(report: Report) -> list[tuple[str, str, Html]]:
    """(anchor, heading, content) of every section after the first screen."""
    claims = join(Html(report.claim_pages[study.slug]) for study in report.studies)
    return [
        ("tables", "Tables", _tables(report)),
        ("claims", "Claims, one by one", claims),
        ("training", "Training", _figure(report, "curves")),
        *([("captions", "Captions and pairs", _captions(report))] if report.captions else []),
        ("runs", "What was run", _runs(report)),
        ("stand-ins", "Stand-ins and deviations", _deviations(report)),
        ("provenance", "Provenance", _provenance(report)),
        ("cost", "Cost", _cost(report)),
    ]


def _figure(report: Report, name: str) -> Html:
    if name not in report.figures:
        return Html("")
    texts, path = report.figures[name]
    caption = element("figcaption", element("strong", f"{texts['title']}."), " ", texts["caption"])
    picture = element("div", inline_image(path, texts["alt"]), class_="scroll", tabindex="0")
    return element("figure", picture, caption)


def _tables(report: Report) -> Html:
    """Each table with the figure of its differences and the command that builds it again."""
    blocks = []
    for (study, number), fragment in report.tables.items():
        command = element("code", f"{report.command} {study}_table{number}")
        blocks += [
            Html(_scrolling_tables(fragment)),
            _figure(report, f"differences_{study}_table{number}"),
            element("p", "Build this table again: ", command, class_="command"),
        ]
    return join(blocks)


def _scrolling_tables(fragment: str) -> str:
    """Wide tables scroll on their own instead of with the page."""
    opened = fragment.replace("<table ", '<div class="scroll" tabindex="0"><table ')
    return opened.replace("</table>", "</table></div>")


def _captions(report: Report) -> Html:
    blocks = [_figure(report, "purity"), _figure(report, "captions")]
    packs = {source.id: source.recipe["pack"] for source in report.captions}
    for mined in report.mined:
        show = report.shows[packs[mined.recipe["captions"]]]
        blocks += [element("h3", "Pairs: ", element("code", mined.id)), pair_gallery(mined, show)]
    for source in report.captions:
        show = report.shows[source.recipe["pack"]]
        blocks += [element("h3", "Kinds of captions: ", element("code", source.id)), caption_examples(source, show)]
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
        parts += [element("h3", "Captions"), caption_grid(report.captions, packs)]
    return join(parts)


def _uses(report: Report) -> dict[str, str]:
    """Pack id -> training, or the headings of the evaluation sets that it holds."""
    training = {run.recipe["pack"] for run in report.runs}
    uses: dict[str, str] = {}
    for pack in report.packs:
        name = pack.id.rsplit("-", 1)[0]
        titles = [report.config["sets"][key]["title"] for key in _evaluated(report) if _pack_of(report, key) == name]
        uses[pack.id] = "; ".join([*(["training"] if pack.id in training else []), *titles])
    return uses


def _evaluated(report: Report) -> Sequence[str]:
    return report.config["evaluation"]["sets"]


def _pack_of(report: Report, key: str) -> str:
    return report.config["sets"][key]["pack"]


def _deviations(report: Report) -> Html:
    sets = report.config["sets"]
    shown = [join([element("strong", sets[key]["title"]), f": {sets[key]['shows']}"]) for key in _evaluated(report)]
    parts = [bullets([*STAND_INS[report.scale], *_GENERAL, "The full list, with reasons, is docs/deviations.md."])]
    if shown:
        parts += [element("h3", "Evaluation sets"), bullets(shown)]
    for study in report.studies:
        if study.notes:
            parts += [element("h3", f"About the text of “{study.title}”"), bullets(study.notes)]
    return join(parts)


def _provenance(report: Report) -> Html:
    commit = element("code", report.commit) if report.commit else "not known (no git here)"
    commands = [
        join([element("code", report.command), " builds all tables and this page."]),
        join([element("code", f"{report.command} report"), " also packs it with Snakemake's own report."]),
        *(
            join([element("code", f"{report.command} {study}_table{number}"), f" builds table {number} of {study}."])
            for study, number in report.tables
        ),
    ]
    if report.runs:
        model = f"{report.command} --force results/runs/{report.runs[0].id}/model.safetensors"
        commands.append(join([element("code", model), " trains one run again."]))
    return join(
        [
            element("p", "Commit when this page was built: ", commit),
            element("h3", "Run again"),
            bullets(commands),
            element("h3", "Versions"),
            grid(("Package", "Version"), report.versions),
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
