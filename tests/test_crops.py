"""Crops of whole pictures: against torchvision's on the same box, whatever the threads; and packs read by columns."""

import gc
import io
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as published
from workflow_runs import until

from vlrepro.data.augment import Augment, AugmentationOptions
from vlrepro.data.cropping import Job
from vlrepro.data.crops import Crops, Cut
from vlrepro.data.index import SCHEMA, Index
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack, Picture, write_pack
from vlrepro.errors import UserError
from vlrepro.training import loop
from vlrepro.training.views import Views, read_pairs

SIZES = [(320, 256), (256, 340), (500, 400), (1200, 900)]


def photograph(size, seed):
    """Smooth colours with some grain, as a JPEG."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (size[1] // 32, size[0] // 32, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), float)
    stream = io.BytesIO()
    Image.fromarray((smooth + rng.normal(0, 3, smooth.shape)).clip(0, 255).astype(np.uint8)).save(
        stream, "JPEG", quality=90
    )
    return stream.getvalue()


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    made = [(SIZES[n % 4], photograph(SIZES[n % 4], n)) for n in range(24)]
    write_pack(folder, [Picture(f"p{n:02d}", data, ".jpg", *size) for n, (size, data) in enumerate(made)])
    return folder


def test_crops_are_close_to_torchvisions(photographs):
    """On the same boxes: a mean of 1.5 of 255 (2.5 where averages of areas stand for the triangle), at most 20."""
    pack = Pack(photographs, names=())
    crops = Crops(pack)
    augment = Augment(AugmentationOptions(size=224, scale=(0.08, 1.0)))
    boxes = augment.draw(24, crops.sizes, torch.Generator().manual_seed(0)).boxes
    (found,) = crops.batch(range(24), [Cut(boxes, torch.zeros(24, dtype=torch.bool), 224)])
    for place, (box, crop) in enumerate(zip(boxes.tolist(), found, strict=True)):
        picture = Image.open(io.BytesIO(pack.picture(place))).convert("RGB")
        wanted = np.asarray(published.resized_crop(picture, *box, [224, 224]), float)
        difference = np.abs(crop.permute(1, 2, 0).numpy() - wanted)
        assert difference.mean() < (2.5 if max(box[2:]) > 448 else 1.5), (place, box)
        assert difference.max() <= 20, (place, box)


def test_boxes_lie_inside_and_the_wide_ones_reach_beyond_the_central_square(photographs):
    sizes = Crops(Pack(photographs, names=())).sizes.repeat(50, 1)
    boxes = Augment(AugmentationOptions(size=8, scale=(0.08, 1.0))).draw(1200, sizes, torch.Generator()).boxes
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= sizes).all()
    wide = sizes[:, 1] == 320
    assert (boxes[wide, 1] < 32).any()
    assert (boxes[wide, 1] + boxes[wide, 3] > 288).any()


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_and_looking_ahead_do_not_change_bits(photographs, processes):
    """Steps in order, where each is decoded ahead, are those that are asked for alone of one process."""

    def views(count):
        pack = Pack(photographs, names=())
        pictures = Pictures(pack, 256, cache_bytes=0)
        pairs = torch.stack((torch.arange(24), torch.arange(24).roll(1)), 1)
        two = [
            Augment(AugmentationOptions(size=32, scale=(0.2, 1), flip=0.5, grey_probability=0.3)),
            Augment(AugmentationOptions(size=24, scale=(0.2, 1), flip=0.5)),
        ]
        return Views(pictures, pairs, two, 8, 3, crops=Crops(pack, count))

    ahead = views(processes)
    for step in range(5):
        for seen, alone in zip(ahead.step(step).views, views(1).step(step).views, strict=True):
            assert seen.dtype == torch.float32
            assert torch.equal(seen, alone)


def test_the_second_view_is_of_the_neighbour_and_finish_flips_and_normalises(photographs):
    pack = Pack(photographs, names=())
    pictures = Pictures(pack, 256, cache_bytes=0)
    crops = Crops(pack)
    augment = Augment(AugmentationOptions(size=16, scale=(0.5, 1), flip=0.5))
    pairs = torch.stack((torch.arange(24), (torch.arange(24) + 5) % 24), 1)
    views = Views(pictures, pairs, [augment] * 3, 24, 1, crops=crops)
    chosen, _ = views._chosen(0)
    batch = views.step(0)
    for number, view in enumerate(batch.views):
        seen = pairs[chosen, int(number == 1)]
        drawn = views._drawn(number, crops.sizes[seen], 0)
        (cut,) = crops.batch(seen, [Cut(drawn.boxes, torch.zeros(24, dtype=torch.bool), 16)])
        for row in range(24):
            pixels = cut[row].flip(2) if drawn.flip[row] else cut[row]
            mean, std = (torch.tensor(values).view(3, 1, 1) for values in (augment.options.mean, augment.options.std))
            torch.testing.assert_close(view[row], (pixels / 255 - mean) / std, rtol=0, atol=2e-5)


def test_a_picture_that_is_not_as_the_index_says_is_named(tmp_path):
    good = photograph((320, 256), 0)
    write_pack(tmp_path, [Picture("short", good[:500], ".jpg", 320, 256), Picture("other", good, ".jpg", 300, 256)])
    crops = Crops(Pack(tmp_path, names=()))
    cut = Cut(torch.tensor([[0, 0, 100, 100]]), torch.tensor([False]), 16)
    with pytest.raises(UserError, match=r"shard-000000.tar: picture short: .*fetch the pack again"):
        crops.batch([0], [cut])
    with pytest.raises(UserError, match=r"picture other: 320 x 256 pixels, not the 300 x 256 of the index"):
        crops.batch([1], [cut])


def test_pictures_that_are_no_jpeg_are_cropped_too(shape_pack):
    pack = Pack(shape_pack, names=())
    side = int(Crops(pack).sizes[0, 0])
    (found,) = Crops(pack).batch([0], [Cut(torch.tensor([[0, 0, side, side]]), torch.tensor([False]), side)])
    assert torch.equal(found, Pictures(pack, side).batch([0]))


def whole_pictures(crops, count=24):
    """The first pictures, each as one crop of 16 pixels."""
    boxes = torch.cat((torch.zeros(count, 2, dtype=torch.int64), crops.sizes[:count].long()), dim=1)
    return crops.batch(range(count), [Cut(boxes, torch.zeros(count, dtype=torch.bool), 16)])[0]


def test_processes_end_with_what_asked_for_them(photographs):
    crops = Crops(Pack(photographs, names=()), 2)
    assert torch.equal(whole_pictures(crops), whole_pictures(Crops(Pack(photographs, names=()))))
    workers = crops._workers._all
    assert [worker.poll() for worker in workers] == [None, None]
    del crops
    gc.collect()
    assert [worker.returncode for worker in workers] == [0, 0]


def test_processes_end_when_the_training_is_killed(photographs):
    program = """
import sys, time
from vlrepro.data.crops import Crops
from vlrepro.data.pack import Pack
print(*(worker.pid for worker in Crops(Pack(sys.argv[1], names=()), 2)._workers._all), flush=True)
time.sleep(100)
"""
    process = subprocess.Popen([sys.executable, "-c", program, photographs], stdout=subprocess.PIPE, text=True)
    workers = [Path(f"/proc/{number}") for number in process.stdout.readline().split()]
    assert len(workers) == 2
    process.kill()
    process.communicate()
    until(lambda: not any(worker.exists() and "(zombie)" not in (worker / "status").read_text() for worker in workers))


def test_a_pack_may_have_more_shards_than_files_may_be_open(tmp_path):
    data = photograph((64, 48), 0)
    write_pack(tmp_path, [Picture(f"p{n}", data, ".jpg", 64, 48) for n in range(60)], shard_bytes=1)
    program = """
import resource, sys
import torch
from vlrepro.data.crops import Crops, Cut
from vlrepro.data.pack import Pack
pack = Pack(sys.argv[1], names=())
resource.setrlimit(resource.RLIMIT_NOFILE, (40, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
cut = Cut(torch.tensor([[0, 0, 48, 64]]).expand(60, 4), torch.zeros(60, dtype=torch.bool), 8)
print(len(Crops(pack, 2).batch(range(60), [cut])[0]))
"""
    run = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=False)
    assert run.stdout == "60\n", run.stderr


def test_a_process_that_is_gone_is_one_line_and_a_defect_its_traceback(photographs):
    crops = Crops(Pack(photographs, names=()), 2)
    job = Job(0, [b""], [(1, 1)], [], [])
    with pytest.raises(RuntimeError, match="ValueError: zip"):
        crops._workers.make(job)
    for worker in crops._workers._all:
        worker.kill()
    with pytest.raises(UserError, match=r"decodes pictures was ended from outside: give the job more memory"):
        whole_pictures(crops)


def test_a_process_holds_nothing_of_the_data_set(photographs):
    """It is sent places and boxes: neither torch nor the reader of indexes is loaded, and no signal ends it."""
    program = "import sys, vlrepro.data.crop_worker; print(sorted({'torch', 'pyarrow', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"
    crops = Crops(Pack(photographs, names=()), 2)
    whole_pictures(crops)
    for worker in crops._workers._all:
        worker.send_signal(signal.SIGTERM)
    assert whole_pictures(crops).shape == (24, 3, 16, 16)


def test_columns_and_rows_agree_and_keys_are_found(photographs):
    whole, lean = Index(photographs / "index.parquet"), Index(photographs / "index.parquet", names=())
    assert list(whole) == list(lean)
    assert [lean[n] for n in (0, -1, 7)] == [whole[0], whole[23], whole[7]]
    assert lean.positions(["p07", "nobody", "p00"]).tolist() == [7, -1, 0]
    with pytest.raises(IndexError):
        lean[24]


def test_pairs_by_columns_are_those_of_a_loop(photographs, tmp_path):
    rng = np.random.default_rng(0)
    sources, found = rng.integers(0, 24, 60), rng.integers(0, 24, 60)
    columns = {"source": [f"p{n:02d}" for n in sources], "neighbour": [f"p{n:02d}" for n in found]}
    pq.write_table(pa.table(columns), tmp_path / "pairs.parquet")
    by_source = {}
    for source, neighbour in zip(sources.tolist(), found.tolist(), strict=True):
        by_source.setdefault(source, []).append(neighbour)
    width = max(map(len, by_source.values()))
    wanted = [[source, *rest, *[-1] * (width - len(rest))] for source, rest in by_source.items()]
    pictures = Pictures(Pack(photographs, names=()), 8)
    assert read_pairs(tmp_path / "pairs.parquet", pictures).tolist() == wanted


_MEASURE = """
import sys
import pyarrow as pa
from vlrepro.data.index import Index
def resident(): return int(open("/proc/self/statm").read().split()[1]) * 4096
small, large = sys.argv[1:]
Index(small, names=())
pa.default_memory_pool().release_unused()
before = resident()
kept = Index(large, names=())
pa.default_memory_pool().release_unused()
print((resident() - before) / len(kept))
"""


def test_memory_a_row_is_bytes_and_not_objects(tmp_path):
    """In a process of its own, as a training opens the index: 20 bytes of numbers a row, and pages not given back."""
    for name, rows in (("small", 1000), ("large", 200_000)):
        text = pa.array(["x" * 40] * rows)
        keys = pa.array([f"{number:012d}" for number in range(rows)])
        numbers = pa.array(np.arange(rows))
        made = [keys if field.name == "key" else text if field.type == pa.string() else numbers.cast(field.type)
                for field in SCHEMA]  # fmt: skip
        pq.write_table(pa.table(made, SCHEMA), tmp_path / name)
    command = [sys.executable, "-c", _MEASURE, str(tmp_path / "small"), str(tmp_path / "large")]
    bytes_a_row = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert bytes_a_row < 120  # a row as an object takes 800


def test_a_training_on_a_pack_that_is_not_in_memory_is_the_same_on_any_number_of_threads(
    shape_pack, recipe, tmp_path, monkeypatch
):
    """Threads of kernels are fixed here, so that only those of the decoder differ."""
    monkeypatch.setattr(loop, "Pictures", partial(Pictures, cache_bytes=0))
    made = []
    for threads in (1, 3):
        monkeypatch.setattr(loop, "Crops", lambda pack, _, count=threads: made.append(Crops(pack, count)) or made[-1])
        loop.train(recipe | {"steps": 4}, loop.Files(shape_pack), tmp_path / "state", tmp_path / str(threads), 60)
    assert len(made) == 2
    one, three = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("1", "3"))
    assert one == three


def test_a_batch_that_somebody_keeps_is_not_written_over(photographs):
    crops = Crops(Pack(photographs, names=()))
    cut = Cut(torch.tensor([[0, 0, 200, 200]]), torch.tensor([True]), 16, ((0, 0, 0), (1, 1, 1)))
    (kept,) = crops.batch([0], [cut])
    before, place = kept.clone(), kept.data_ptr()
    (other,) = crops.batch([1], [cut])
    assert torch.equal(kept, before)
    assert not torch.equal(other, before)
    part = kept[:, :1]
    del kept
    (third,) = crops.batch([2], [cut])
    assert third.data_ptr() != place  # a part of it is still looked at
    del part
    assert crops.batch([2], [cut])[0].data_ptr() == place
