"""What image-text training is refused for, in one line, before anything is written."""

import pytest
from caption_training import caption_files, caption_recipe

from vlrepro.errors import UserError
from vlrepro.training import passes, views
from vlrepro.training.loop import train


@pytest.fixture
def refused(shape_pack, recipe, tmp_path):
    """Trains the recipe with changes and returns the line that it is refused with."""

    def run(changes, **options):
        chosen, files = (
            caption_recipe(recipe, "clip_label_noise", **options) | changes,
            caption_files(tmp_path, shape_pack),
        )
        with pytest.raises(UserError) as error:
            train(chosen, files, tmp_path / "state", tmp_path / "out", 60, "noisy")
        assert not (tmp_path / "out").exists()
        assert not (tmp_path / "state").exists()
        assert "\n" not in str(error.value)
        return str(error.value)

    return run


def noise(**changes):
    return {"label_noise": {"strategy": "permutation", "rate": 0.5} | changes}


def test_a_batch_of_one(refused):
    line = refused({"batch_size": 1}, **noise())
    assert line == "noisy: a batch of 1 has nothing to tell a picture from: raise batch_size"


@pytest.mark.parametrize(("batch_size", "processes"), [(2, 4), (18, 4), (1, 2)])
def test_more_processes_than_rows_or_shares_that_are_not_whole(refused, monkeypatch, batch_size, processes):
    for module in (views, passes):
        monkeypatch.setattr(module, "world_size", lambda: processes)
    line = refused({"batch_size": batch_size, "max_epochs": 1000}, **noise())
    assert line == f"batch_size {batch_size} is no multiple of the {processes} processes: change either"


@pytest.mark.parametrize("rate", [0, 1, -0.1, 1.5, float("nan")])
def test_a_noise_rate_out_of_range(refused, rate):
    line = refused({}, **noise(rate=rate))
    assert line == f"label_noise.rate is {rate}: choose one between 0 and 1, both excluded"


def test_a_rate_that_changes_no_label_of_so_small_a_batch(refused):
    line = refused({"batch_size": 4}, **noise(rate=0.1))
    assert line.startswith("label_noise: a rate of 0.1 chooses 0 of 4 rows, which changes no label")


def test_no_strategy(refused):
    assert refused({}, label_noise={"rate": 0.5}).startswith("label_noise: ")


def test_a_batch_larger_than_the_pack(refused):
    line = refused({"batch_size": 100}, **noise())
    assert line.startswith("noisy: 12 steps of 100 pictures are asked for but 64 usable pairs in ")
    assert "lower steps or batch_size" in line


@pytest.mark.parametrize("change", [{"precision": "bfloat16"}, {"accumulate": 2}])
def test_frameworks_that_cannot_be_cut(shape_pack, recipe, tmp_path, change):
    with pytest.raises(UserError, match="framework 'simclr' does not part encoding from contrast: leave its"):
        train(recipe | change, caption_files(tmp_path, shape_pack), tmp_path / "state", tmp_path / "out", 60)
