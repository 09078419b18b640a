"""What stands in the sections of the report after its first screen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlrepro.reporting.distillation import concept_section
from vlrepro.reporting.filtering import filter_section
from vlrepro.reporting.gallery import caption_examples, pair_gallery, refinement_gallery
from vlrepro.reporting.inputs import name_of, recipe_titles
from vlrepro.reporting.markup import Html, bullets, element, folded, grid, inline_image, join
from vlrepro.reporting.provenance import caption_grid, cost_grid, pack_grid, recipe_grid
from vlrepro.reporting.refinement import (
    model_bullets,
    purity_ledgers,
    purity_sentences,
    refined_rows,
    refinement_grid,
    summary_grid,
)
from vlrepro.reporting.report import Report, short_title
from vlrepro.tables.study import PaperTable, Study


def figure(report: Report, name: str) -> Html:
    """A figure with its caption and, where it has some, its numbers, folded; nothing where there is no such figure."""
    if name not in report.figures or report.figures[name][0].get("blank"):
        return Html("")
    return figure_of(*report.figures[name])


def figure_of(texts: Mapping[str, Any], path: Path) -> Html:
    """The figure in a file with its texts (`Drawing.texts`)."""
    caption = element("figcaption", element("strong", f"{texts['title']}."), " ", texts["caption"])
    picture = element("div", inline_image(path, texts["alt"]), class_="scroll", tabindex="0")
    numbers = [folded("Its numbers", grid(*texts["numbers"]))] if texts.get("numbers") else []
    return join([element("figure", picture, caption), *numbers])


def study_heading(report: Report, study: Study) -> Html:
    """A heading that says which study follows, where there are several."""
    return element("h3", short_title(study), class_="of-study") if len(report.studies) > 1 else Html("")


def training(report: Report) -> Html:
    """The curves of each study's runs and, where labels were noisy, how noisy."""
    blocks = []
    for study in report.studies:
        names = ("realised", "curves", "accuracy", "spread")
        blocks += [study_heading(report, study), *(figure(report, f"{name}_{study.slug}") for name in names)]
    return join(blocks)


def captions(report: Report) -> Html:
    """Scores and kinds of captions, what refinement and filters did to them, and examples of each source, folded."""
    blocks = [figure(report, "scores"), figure(report, "captions")]
    for source in report.captions.values():
        if source.recipe["method"] == "refined":
            rows, show = refined_rows(source, report.captions), report.shows[source.recipe["pack"]]
            blocks += [
                element("h3", "Before and after refinement: ", element("code", source.id)),
                refinement_gallery(rows, show),
            ]
        if source.recipe["method"] == "filtered":
            original, show = report.captions[source.recipe["sources"]["original"]], report.shows[source.recipe["pack"]]
            title = element("h3", "What the filter dropped: ", element("code", source.id))
            blocks += [title, filter_section(source, original, show)]
    for source in report.captions.values():
        title = join(["Kinds of captions: ", element("code", source.id)])
        blocks.append(folded(title, caption_examples(source, report.shows[source.recipe["pack"]])))
    return join(blocks)


def concepts(report: Report) -> Html:
    """What teachers see, one after another."""
    blocks = []
    for found in report.concepts:
        title = element("h3", "What the teacher sees: ", element("code", found.id))
        blocks += [title, concept_section(found, report.shows[found.recipe["pack"]])]
    return join(blocks)


def pairs(report: Report) -> Html:
    """Purity, and some pairs of each kind, folded but the first."""
    blocks = [figure(report, "purity")]
    for number, mined in enumerate(report.mined):
        title = join(["Pairs: ", element("code", mined.id)])
        blocks.append(folded(title, pair_gallery(mined, report.shows[mined.recipe["pack"]]), unfolded=number == 0))
    return join(blocks)


def saliency_maps(report: Report) -> Html:
    """The galleries of saliency maps, folded: they are long."""
    return join(folded(table.heading(), gallery) for table, gallery in _galleries(report) if not table.searches)


def searches(report: Report) -> Html:
    """What retrieval found, table by table, the first unfolded."""
    found = [entry for entry in _galleries(report) if entry[0].searches]
    return join(folded(table.heading(), shown, unfolded=place == 0) for place, (table, shown) in enumerate(found))


def _galleries(report: Report) -> list[tuple[PaperTable, Html]]:
    tables = {(study.slug, table.name): table for study in report.studies for table in study.tables}
    return [(tables[key], Html(gallery)) for key, gallery in report.galleries.items()]


def stand_ins(report: Report) -> Html:
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
    counted = {key: source for key, source in report.captions.items() if source.recipe["method"] != "filtered"}
    if any(source.summary is not None for source in counted.values()):
        blocks.append(summary_grid(counted))
    for source in report.captions.values():
        if source.recipe["method"] == "refined":
            title = element("h3", "Which captions refinement kept: ", element("code", source.id))
            blocks += [title, refinement_grid(refined_rows(source, report.captions))]
    if sentences := purity_sentences(report.mined, report.captions):
        blocks += [element("h3", "Did the pairs become purer?"), bullets(sentences)]
    blocks += purity_ledgers(report.mined, report.captions)
    return join(blocks)


def runs(report: Report) -> Html:
    """Recipes of each study, packs with what was left out, captions with what was left out."""
    packs = {pack.id: pack for pack in report.packs}
    seeds = ", ".join(map(str, report.config["seeds"]))
    parts = [element("p", f"Scale {report.scale}; seeds {seeds}.")]
    for study in report.studies:
        recipes = recipe_grid(report.runs_of(study), report.config["recipes"], recipe_titles([study]), report.failures)
        parts += [study_heading(report, study), recipes]
    parts += [element("h3", "Pictures"), pack_grid(report.packs, _uses(report))]
    if report.captions:
        parts += [element("h3", "Captions"), caption_grid(list(report.captions.values()), packs)]
    return join(parts)


def _uses(report: Report) -> dict[str, str]:
    """Pack id -> training, or the headings of the evaluation sets that it holds."""
    training = {run.recipe["pack"] for run in report.runs}
    learnt = {recipe["pack"] for recipe in report.checkpoints.values()}
    sets = report.config["sets"]
    uses: dict[str, str] = {}
    for pack in report.packs:
        name = name_of(pack.id)
        titles = [sets[key]["title"] for key in report.evaluated() if sets[key]["pack"] == name]
        uses[pack.id] = "; ".join(
            [*(["training"] if pack.id in training else []), *(["stand-ins"] if pack.id in learnt else []), *titles]
        )
    return uses


def provenance(report: Report) -> Html:
    """The commit, the versions and the commands."""
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


def cost(report: Report) -> Html:
    """What training took."""
    note = (
        "Wall-clock time and peak memory of the last attempt of each training, as Snakemake recorded them; of runs "
        "that trained in one process, the seconds of a run's own steps. Of all parts of this page, only this one "
        "differs between two runs of the same code on the same machine."
    )
    return join([element("p", note, class_="note"), cost_grid(report.runs, report.costs)])
