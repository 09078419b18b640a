"""The report on label noise beside another study: rates, realised noise, effects by encoder, failed runs, the page."""

from __future__ import annotations

import math
from collections import Counter
from decimal import Decimal
from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from noise_site import BATCH, FAILED, NAMED, NOISE_FILE, RECIPES, STUDY, WHY, level, make_two_studies
from reporting_site import SETS, STEPS, Parsed, Site

from vlrepro.errors import UserError
from vlrepro.frameworks.clip import Similarities
from vlrepro.frameworks.clip_label_noise import LabelNoise, draw, noisy_loss, realised_rate
from vlrepro.reporting.answers import LABEL_NOISE, QUESTIONS, compare, first_sentence, short_answers
from vlrepro.reporting.curves import blind_loss, draw_loss, panels_of
from vlrepro.reporting.drawing import Drawing, house_style
from vlrepro.reporting.grid_forest import draw_grid_differences, our_differences, printed_differences
from vlrepro.reporting.inputs import (
    TrainedRun,
    read_chance,
    read_failures,
    read_history,
    read_runs,
    recipe_titles,
    recipes_of,
)
from vlrepro.reporting.noise_rates import draw_noise_rates
from vlrepro.reporting.realised_noise import STRATEGIES, draw_realised, expected_noise, realised_noise
from vlrepro.tables.cells import Cells, read_cells

TITLES = {name: evaluation.title for name, evaluation in STUDY.evaluations.items()}


@pytest.fixture(scope="module")
def both(tmp_path_factory, site) -> Site:
    return make_two_studies(tmp_path_factory.mktemp("both"), site)


@pytest.fixture(scope="module")
def parsed(both) -> Parsed:
    return Parsed(both.page())


@pytest.fixture(scope="module")
def runs(both) -> list[TrainedRun]:
    return read_runs(sorted((both.folder / "recipes").glob("*.json")))


@pytest.fixture(scope="module")
def histories(both, runs) -> dict[str, pd.DataFrame]:
    return {run.id: read_history(both.folder / f"runs/{run.id}/history.jsonl") for run in runs}


@pytest.fixture(scope="module")
def cells(both) -> Cells:
    return read_cells([both.folder / "cells.parquet"], NAMED | SETS)


def lines_of(both: Site, table: str) -> pd.DataFrame:
    return pd.read_csv(both.folder / f"tables/label_noise/{table}.csv")


def wrong(labels: tuple[int, ...]) -> int:
    return sum(label != place for place, label in enumerate(labels))


@pytest.mark.parametrize("rate", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_expected_noise_is_the_mean_over_all_draws_there_are(count: int, rate: float) -> None:
    chosen = int(rate * count + 0.5)
    everything = [wrong(labels) / count for labels in permutations(range(count))]
    independent = [wrong(labels) / count for labels in product(range(count), repeat=count)]
    some = [wrong(labels) / count for labels in product(range(count), repeat=chosen)]
    moved = [wrong(labels) / count for labels in permutations(range(chosen))]
    means = {
        "reselection": np.mean(some),
        "permutation": np.mean(moved),
        "secondary": rate * np.mean(everything) / (1 + rate),
        "secondary_blend": rate * np.mean(independent),
    }
    for strategy, mean in means.items():
        assert expected_noise(strategy, rate, count) == pytest.approx(mean)
        assert expected_noise(strategy, rate, count, "clean") == pytest.approx(mean / 2)


@pytest.mark.parametrize("columns", ["shared", "independent", "clean"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_expected_noise_is_what_training_logs_on_average(strategy: str, columns: str) -> None:
    noise = LabelNoise(strategy, 0.3, columns)
    found = np.array([realised_rate(draw(noise, 16, 0, step), noise) for step in range(400)])
    error = found.std(ddof=1) / math.sqrt(len(found))
    assert abs(found.mean() - expected_noise(strategy, 0.3, 16, columns)) < 4 * error + 1e-12


@given(st.sampled_from(sorted(STRATEGIES)), st.floats(0.01, 0.99), st.integers(2, 4096))
def test_no_strategy_realises_more_than_half_a_row_above_its_rate(strategy: str, rate: float, count: int) -> None:
    assert 0 <= expected_noise(strategy, rate, count) <= rate + 0.5 / count
    assert expected_noise("secondary", rate, count) < 0.5


def test_a_strategy_without_an_expectation_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"label_noise\.strategy 'other' has no expected rate: choose one of reselection"
    ):
        expected_noise("other", 0.1, 8)


def test_realised_noise_is_averaged_over_the_steps_that_were_taken(runs, histories) -> None:
    found = realised_noise(runs, histories)
    noisy = [run for run in runs if "label_noise" in run.recipe["options"]]
    assert sum(len(entry.shares) for entry in found) == len(noisy)
    assert [list(STRATEGIES).index(entry.strategy) for entry in found] == sorted(
        list(STRATEGIES).index(entry.strategy) for entry in found
    )
    (failed,) = (entry for entry in found if (entry.strategy, entry.rate) == ("permutation", 0.9))
    assert failed.shares == pytest.approx([0.9 * 0.9 + 0.01 * 4 / 8] * 2)  # eight steps, four of them odd
    with house_style():
        drawing = draw_realised("label_noise", runs, histories)
    heads, rows = drawing.numbers
    assert len(rows) == len(found)
    row = dict(zip(heads, rows[found.index(failed)], strict=True))
    chosen = int(0.9 * BATCH + 0.5)
    assert row["Expected, %"] == f"{100 * (chosen - 1) / BATCH:.2f}"
    assert row["Runs"] == "2"
    assert [axes.get_title(loc="left").replace("\n", " ") for axes in drawing.figure.axes] == list(STRATEGIES.values())
    marks = [line for axes in drawing.figure.axes for line in axes.lines if line.get_marker() == "o"]
    assert sum(len(line.get_xdata()) for line in marks) == len(noisy)


def curves_of(axes: Axes) -> dict[str, tuple[list[float], list[float]]]:
    """Marker -> (rates, values) of the curves of a panel."""
    return {
        line.get_marker(): ([round(x, 1) for x in line.get_xdata()], list(line.get_ydata()))
        for container in axes.containers
        for line in [container.lines[0]]
    }


@pytest.fixture(scope="module")
def rates(both, runs) -> Drawing:
    with house_style():
        return draw_noise_rates(STUDY, lines_of(both, "table2"), runs, read_chance([both.folder / "cells.parquet"]))


def test_our_accuracies_by_rate_are_those_of_the_table(both, rates) -> None:
    lines = lines_of(both, "table2")
    for axes, evaluation in zip(rates.figure.axes[:2], ("Zero-shot top-1", "Zero-shot top-5"), strict=True):
        assert axes.get_title(loc="left") == evaluation
        found = curves_of(axes)
        for marker, name in zip("osD", ("Re-selection", "Permutation", "Secondary"), strict=True):
            own = lines[(lines["source"] == "ours") & (lines["block"].isna()) & (lines["evaluation"] == evaluation)]
            done = own[(own["row"] == name) & (own["status"] == "done")]
            assert found[marker][1] == pytest.approx(done["value"].tolist())
            assert found[marker][0] == [float(column.split()[2]) for column in done["column"]]
        crosses = [line for line in axes.lines if line.get_marker() == "X" and len(line.get_xdata())]
        assert [round(float(line.get_xdata()[0]), 1) for line in crosses] == [0.9, 0.9]
        clip = lines[(lines["row"] == "CLIP") & (lines["evaluation"] == evaluation)].iloc[0]
        levels = [line.get_ydata()[0] for line in axes.lines if len(set(line.get_ydata())) == 1]
        assert any(value == pytest.approx(clip["value"]) for value in levels)
        assert any(value == pytest.approx(5 if "top-1" in evaluation else 25) for value in levels)
    assert "0.9: failed to train" in rates.alt


def test_the_papers_curve_is_printed_numbers_on_axes_of_its_own(rates) -> None:
    ours, printed = rates.figure.axes[:2], rates.figure.axes[2:]
    for axes, ending in zip(printed, ("top1", "top5"), strict=True):
        found = curves_of(axes)
        for marker, row in zip("osD", ("reselection", "permutation", "secondary"), strict=True):
            cells = STUDY.table("table2").reported(row)
            assert found[marker][1] == [float(cells[f"r0{n}_{ending}"]) for n in (1, 3, 5, 7, 9)]
        clip = float(STUDY.table("table1").reported("clip")[f"resnet50_{ending}"])
        assert clip in [line.get_ydata()[0] for line in axes.lines]
        assert all(container.lines[0].get_markerfacecolor() == "none" for container in axes.containers)
        assert not any(axes.get_shared_y_axes().joined(axes, other) for other in ours)


def test_without_a_score_the_figure_says_so(both, runs) -> None:
    lines = lines_of(both, "table2")
    lines["status"] = lines["status"].replace("done", "pending")
    with house_style():
        drawing = draw_noise_rates(STUDY, lines[lines["status"] != "failed"], runs, {})
    assert [text.get_text() for text in drawing.figure.axes[0].texts] == [
        "No accuracy under label noise has been scored yet."
    ]


@pytest.mark.parametrize(("name", "groups"), [("table1", 3), ("table2", 5), ("table3", 5)])
def test_grid_differences_stand_in_panels_by_their_heading(both, name: str, groups: int) -> None:
    table, lines = STUDY.table(name), lines_of(both, name)
    with house_style():
        drawing = draw_grid_differences(f"label_noise_{name}", table, TITLES, lines)
    shown = lines[(lines["block"] == "paired difference") & (lines["status"] == "done")]
    printed = printed_differences(table, TITLES)
    panels = [axes for axes in drawing.figure.axes if axes.get_visible()]
    ours, theirs = panels[:groups], panels[groups:]
    marks = [(line.get_marker(), line.get_xdata(), line.get_markerfacecolor()) for a in ours for line in a.lines]
    marks = [(marker, float(x[0]), face) for marker, x, face in marks if marker in ("o", "s") and len(x)]
    assert sorted(value for _, value, _ in marks) == pytest.approx(sorted(shown["value"]))
    undecided = ((shown["low"] <= 0) & (shown["high"] >= 0)).sum()
    assert sum(face == "none" for _, _, face in marks) == undecided
    crosses = [
        line for axes in theirs for line in axes.lines if line.get_marker() in ("+", "x") and len(line.get_xdata())
    ]
    assert sorted(float(line.get_xdata()[0]) for line in crosses) == pytest.approx(sorted(d.value for d in printed))
    assert bool(theirs) == (name != "table2")  # its baseline is ours alone
    if theirs:
        assert not theirs[0].get_shared_x_axes().joined(theirs[0], ours[0])
    assert drawing.name == f"differences_label_noise_{name}"


def test_printed_differences_are_subtracted_within_a_column() -> None:
    found = {(d.group, d.row, d.evaluation): d.value for d in printed_differences(STUDY.table("table1"), TITLES)}
    assert len(found) == 6 * 6
    gain = Decimal("14.1") - Decimal("12.07")
    assert found["ViT-B/32", "Permutation, γ = 0.1", "Zero-shot top-1"] == pytest.approx(float(gain))
    assert found["ViT-B/32", "Secondary, γ = 0.3", "Zero-shot top-5"] == 0


def test_a_failed_run_has_words_and_no_mark(both) -> None:
    lines = lines_of(both, "table2")
    failed = [entry for entry in our_differences(STUDY.table("table2"), lines) if entry.value is None]
    assert {(entry.group, entry.row) for entry in failed} == {("γ = 0.9", "Re-selection"), ("γ = 0.9", "Permutation")}
    with house_style():
        drawing = draw_grid_differences("t", STUDY.table("table2"), TITLES, lines)
    words = [text.get_text() for axes in drawing.figure.axes for text in axes.texts]
    assert words == ["failed to train"] * 2
    assert "Without a number, since a run failed to train: Re-selection minus CLIP; Permutation" in drawing.caption


def test_the_blind_loss_is_the_loss_of_equal_similarities() -> None:
    count = 8
    equal = Similarities(torch.zeros(count, count), torch.zeros(count, count), torch.arange(count))
    for strategy in STRATEGIES:
        noise = LabelNoise(strategy, 0.5)
        loss = noisy_loss(equal, draw(noise, count, 0, 0), noise).item()
        options = {"label_noise": {"strategy": strategy, "rate": 0.5}}
        recipe = {"framework": "clip_label_noise", "batch_size": count, "options": options}
        assert blind_loss(recipe) == pytest.approx(loss)
    assert blind_loss({"framework": "swav", "batch_size": count, "options": {}}) is None


def test_recipes_that_differ_in_the_rate_alone_share_a_panel(runs, histories) -> None:
    panels = panels_of(runs)
    assert sorted(name for panel in panels for name in panel.recipes) == RECIPES
    sweep = next(panel for panel in panels if panel.title == "cln_resnet50_permutation")
    assert sweep.recipes == {f"cln_resnet50_permutation_0{n}": f"γ 0.{n}" for n in (1, 3, 5, 7, 9)}
    assert len(panels) == len({name.rstrip("0123456789_") for name in RECIPES if "vit" not in name}) + 2 * 4
    with house_style():
        drawing = draw_loss("label_noise", runs, histories)
    (axes,) = (a for a in drawing.figure.axes if a.get_title(loc="left").startswith("cln resnet50 permutation"))
    assert [text.get_text() for text in axes.texts] == ["✕ γ 0.9: 2 of 2 failed"]
    assert axes.get_xlim()[1] < 1.1 * STEPS  # the long runs of another panel do not press it together
    assert drawing.caption.count(WHY) == len(FAILED)
    assert "nan" not in drawing.alt.replace("permutation", "")


def test_answers_are_differences_and_differences_of_differences(cells) -> None:
    answers = compare(cells, LABEL_NOISE, ["zero_shot_top1", "zero_shot_top5", "linear_cyclip"], resamples=50)
    assert tuple(answers) == LABEL_NOISE
    checked = Counter()
    for question, rows in answers.items():
        for entry, found in rows:
            failed = FAILED & {(recipe, seed) for recipe in entry.recipes() for seed in (0, 1)}
            for name, difference in found.items():
                sets = [key for key in cells.columns(name) if question.sets is None or key in question.sets]
                if failed:
                    assert str(difference).startswith("failed to train")
                else:
                    signs = zip(entry.recipes(), (1, -1, -1, 1), strict=False)
                    scores = cells.scores[name]
                    expected = sum(s * np.mean([scores[r, key].values.mean() for key in sets]) for r, s in signs)
                    assert difference.value == pytest.approx(expected)
                checked[bool(failed)] += 1
    assert checked == {False: 2 * (9 + 1 + 3 + 3 + 3) + 3, True: 4}
    assert set(QUESTIONS) == {path.stem for path in NOISE_FILE.parent.glob("*.yaml")}


def test_answers_where_runs_failed_say_so(cells) -> None:
    answers = compare(cells, LABEL_NOISE[3:4], [], resamples=20)
    words = Parsed(short_answers("Noise", "label_noise", answers, TITLES)).texts
    assert {"✕ failed to train", "✕ failed to train (1 of 2 seeds)"} <= set(words)
    assert first_sentence(answers, TITLES).startswith("Secondary labels at rate 0.9 against 0.1. Zero-shot top-1: ")
    assert first_sentence({}, TITLES) == ""


def test_a_page_of_two_studies_has_every_part_of_both(both, parsed) -> None:
    assert parsed.broken == parsed.open == []
    places = Counter(attributes["id"] for _, attributes in parsed.elements if "id" in attributes)
    assert max(places.values()) == 1
    assert {link["href"][1:] for link in parsed.all("a")} <= set(places)
    ids = [attributes["id"] for tag, attributes in parsed.elements if tag == "section" and "id" in attributes]
    cards = ["answers-language_guidance", "study-language_guidance", "answers-label_noise", "study-label_noise"]
    assert ids[:4] == cards
    assert {f"label_noise-{table.name}" for table in STUDY.tables} < set(ids)
    assert parsed.texts.count("When Noises Help") == 8  # contents, at a glance, and a heading in six sections
    figures = [path.stem for path in (both.folder / "figures").glob("*.svg")]
    shown = [image for image in parsed.all("img") if image.get("class") is None]
    assert len(shown) == len(figures) - 1
    assert "spread_label_noise" in figures  # no framework of the study logs it: drawn as blank, not shown


def test_failed_runs_are_named_with_why(parsed, cells) -> None:
    assert read_failures(cells) == dict.fromkeys(FAILED, WHY)
    assert f"3 of {2 * len(RECIPES)} runs failed to train; they have no score:" in parsed.texts
    for recipe, seed in FAILED:
        start = parsed.texts.index(f"{recipe}-seed{seed}-0123abcd")
        assert parsed.texts[start + 1] == f": {WHY}"
    assert parsed.texts.count(" ✕ failed") == len(FAILED)


def test_zero_shot_sets_of_the_tables_are_listed(parsed) -> None:
    for name, title in NAMED.items():
        start = parsed.texts.index(f": for {name}")
        assert parsed.texts[start - 1] == title


def test_nominal_and_realised_noise_stand_side_by_side(parsed) -> None:
    start = parsed.texts.index("Nominal rate")
    assert parsed.texts[start : start + 3] == ["Nominal rate", "Expected, %", "Realised, %"]
    assert "permutation, rate 0.1, columns inverse" in parsed.texts


def test_a_recipe_is_called_by_its_row_and_variant() -> None:
    titles = recipe_titles([STUDY])
    assert titles["cln_vit_b_16"] == "CLIP, ViT-B/16"
    assert set(titles) == recipes_of(STUDY) == set(RECIPES)
    assert level("cln_resnet50_secondary_01") > level("cln_resnet50")
