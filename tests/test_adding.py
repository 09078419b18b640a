"""What docs/adding.md tells its reader to write can be planned as it stands."""

import re

import pytest
from workflow_runs import ROOT, TINY, make_clone, planned_jobs, snakemake

pytestmark = pytest.mark.workflow
_BLOCK = re.compile(r"```yaml\n# (config/[\w/]+\.yaml)\n(.*?)```", re.DOTALL)


@pytest.fixture
def clone(tmp_path):
    clone = make_clone(tmp_path / "clone")
    for name, text in _BLOCK.findall((ROOT / "docs/adding.md").read_text(encoding="utf-8")):
        (clone / name).write_text(text, encoding="utf-8")
    return clone


def test_a_paper_of_ones_own(clone):
    planned = planned_jobs(snakemake(clone, "-n", "all", *TINY, "config/crops.yaml").stdout)
    assert planned["train_model"] == 2
    assert planned["build_table"] == 1


def test_a_set_of_ones_own(clone):
    printed = snakemake(clone, "-n", "all", *TINY, "config/mine.yaml").stdout
    assert re.search(r"output: results/data/mine-[0-9a-f]{8}/index.parquet", printed)
