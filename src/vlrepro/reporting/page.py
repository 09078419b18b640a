"""The report: one HTML page that needs no network, no script and no second file."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vlrepro.reporting import sections
from vlrepro.reporting.answers import first_sentence, short_answers
from vlrepro.reporting.deviations import deviations
from vlrepro.reporting.markup import Html, bullets, element, folded, join
from vlrepro.reporting.report import Report, short_title
from vlrepro.reporting.summary import SCALES, answer, claims_overview
from vlrepro.tables.study import Study

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Even if a text slipped through unescaped, the browser would run no script and open no connection."""


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
    found = _sections(report)
    main = element("main", *(element("section", element("h2", name), content, id=key) for key, name, content in found))
    body = element("body", _header(report, _links(report, found)), main, _footer(report))
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _links(report: Report, found: Sequence[tuple[str, str, Html]]) -> Html:
    """The list of contents: of each study its short answer, its verdicts and its tables; then the sections."""
    items = [
        join([element("strong", short_title(study)), bullets(_study_links(report, study))]) for study in report.studies
    ]
    items += [element("a", title, href=f"#{name}") for name, title, _ in found]
    return element("nav", bullets(items), aria_label="Contents")


def _study_links(report: Report, study: Study) -> list[Html]:
    tables = [*report.named(study, printed=True), *report.named(study, printed=False)]
    return [
        element("a", "The short answer", href=f"#answers-{study.slug}"),
        element("a", "Verdicts", href=f"#study-{study.slug}"),
        *(element("a", heading, href=f"#{study.slug}-{name}") for name, heading in tables),
    ]


def _header(report: Report, links: Html) -> Html:
    """The first screen: of each study the short answer and its claims, in the order of the configuration."""
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
    cards = [
        card
        for study in report.studies
        for card in (
            short_answers(short_title(study), study.slug, report.answers[study.slug], _evaluations(study)),
            claims_overview(study, report.claims[study.slug], report.scale),
        )
    ]
    return element("header", element("h1", "Did it reproduce?"), links, scale, _glance(report), *cards)


def _glance(report: Report) -> Html:
    """Where there are several studies: the first answer and the count of verdicts of each, so that none is far down."""
    if len(report.studies) < 2:
        return Html("")
    lines = []
    for study in report.studies:
        own = [claim for claim in report.claims[study.slug] if claim["kind"] == "claim"]
        words = [first_sentence(report.answers[study.slug], _evaluations(study)), answer(own, report.scale)]
        title = element("a", short_title(study), href=f"#answers-{study.slug}")
        lines.append(join([element("strong", title, ". "), *(f"{text} " for text in words if text)]))
    return element("section", element("h2", "At a glance"), bullets(lines), class_="study")


def _evaluations(study: Study) -> dict[str, str]:
    """Evaluation -> its title."""
    return {name: text.title for name, text in study.evaluations.items()}


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _sections(report: Report) -> list[tuple[str, str, Html]]:
    """(anchor, heading, content) of every section after the first screen."""
    extended = any(report.named(study, printed=False) for study in report.studies)
    several = len(report.studies) > 1
    return [
        (
            "tables",
            f"Tables that the paper{'s' if several else ''} print{'' if several else 's'}",
            _tables(report, True),
        ),
        *([("extended", "Tables that we add", _tables(report, False))] if extended else []),
        ("claims", "Claims, one by one", _claims(report)),
        (
            "audit",
            f"The paper{'s' if several else ''} against {'themselves' if several else 'itself'}",
            _audits(report),
        ),
        *([("saliency", "Saliency maps", maps)] if (maps := sections.saliency_maps(report)) else []),
        *([("retrieval", "Retrieval", found)] if (found := sections.searches(report)) else []),
        ("training", "Training", sections.training(report)),
        *([("captions", "Captions", sections.captions(report))] if report.captions else []),
        *([("concepts", "Concepts", sections.concepts(report))] if report.concepts else []),
        *([("pairs", "Pairs", sections.pairs(report))] if report.mined else []),
        *([("stand-ins", "Stand-ins", sections.stand_ins(report))] if report.scores else []),
        ("runs", "What was run", sections.runs(report)),
        (
            "deviations",
            "Deviations",
            deviations(report.scale, report.config["sets"], report.evaluated(), report.studies),
        ),
        ("provenance", "Provenance", sections.provenance(report)),
        ("cost", "Cost", sections.cost(report)),
    ]


def _claims(report: Report) -> Html:
    blocks = []
    for study in report.studies:
        words = f"All {len(report.claims[study.slug])} claims and controls"
        content = folded(words, Html(report.claim_pages[study.slug]), unfolded=True)
        blocks += [sections.study_heading(report, study), content]
    return join(blocks)


def _audits(report: Report) -> Html:
    blocks = []
    for study in report.studies:
        words = "Blank cells, averages and contradictions of what it prints"
        content = folded(words, Html(_scrolling_tables(report.audits[study.slug])))
        blocks += [sections.study_heading(report, study), content]
    return join(blocks)


def _tables(report: Report, printed: bool) -> Html:
    """Of each study, each table with its figures and the command that builds it again."""
    blocks = []
    for study in report.studies:
        tables = report.named(study, printed)
        blocks += [sections.study_heading(report, study)] if tables else []
        for name, _ in tables:
            target = f"{study.slug}_{name}"
            blocks += [
                Html(_scrolling_tables(report.tables[study.slug, name])),
                sections.figure(report, f"rates_{target}"),
                sections.figure(report, f"differences_{target}"),
                element(
                    "p", "Build this table again: ", element("code", f"{report.command} {target}"), class_="command"
                ),
            ]
    return join(blocks)


def _scrolling_tables(fragment: str) -> str:
    """Wide tables scroll on their own instead of with the page."""
    opened = re.sub(r"<table\b", '<div class="scroll" tabindex="0"><table', fragment)
    return opened.replace("</table>", "</table></div>")


def _footer(report: Report) -> Html:
    return element("footer", element("p", f"vlrepro {dict(report.versions).get('vlrepro', '')}, scale {report.scale}."))
