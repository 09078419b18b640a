"""Environment files hold what their scripts import, in the lock's versions; so does the Apptainer image."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from environment_imports import (
    LIBRARY,
    ROOT,
    TOOLS,
    canonical,
    distributions_of,
    environment_packages,
    imported_modules,
    imports_of,
    locked_versions,
    rules,
    taken_from,
)
from workflow_runs import TINY, make_clone, snakemake

from vlrepro.captions import text_spotting
from vlrepro.config import load_config

FILES = sorted((ROOT / "envs").glob("*.yaml"))
DEFINITION = (ROOT / "envs/vlrepro.def").read_text()
# Script -> distribution -> the module that imports it inside a function, and what the script's code takes from there.
UNUSED = {"filter_captions": {"torch": ("vlrepro.randomness", {"key"})}}
SCRIPTS = sorted(path.stem for path in (ROOT / "workflow/scripts").glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_package_has_the_version_of_the_lock(path):
    locked, packages = locked_versions(), environment_packages(path)
    assert len(packages) > 10
    assert {name: version for name, version in packages.items() if name not in TOOLS} == {
        name: locked.get(name, "not in constraints.txt") for name in packages if name not in TOOLS
    }


def test_all_environments_and_the_image_have_one_python():
    versions = {environment_packages(path)["python"] for path in FILES}
    image = re.search(r"^From: python:(\d+\.\d+)-slim-bookworm$", DEFINITION, re.MULTILINE)
    assert versions == {image[1]}
    assert f'requires-python = ">={image[1]}"' in (ROOT / "pyproject.toml").read_text()


def test_the_gpu_environment_is_the_other_with_gpu_builds():
    text = (ROOT / "envs/train-gpu.yaml").read_text()
    conda = [entry for entry in yaml.safe_load(text)["dependencies"] if isinstance(entry, str)]
    assert {"pytorch-gpu", "faiss-gpu", "torchvision", "cuda-version"} <= {entry.split("=")[0] for entry in conda}
    pip = yaml.safe_load(text)["dependencies"][-1]["pip"]
    # A wheel of any of these, or of what it is built against, would overwrite conda's build.
    assert not {canonical(entry.split("==")[0]) for entry in pip} & {"torch", "torchvision", "faiss-cpu", "numpy"}
    with_gpu, without = (environment_packages(ROOT / f"envs/{name}.yaml") for name in ("train-gpu", "train"))
    assert with_gpu.keys() - TOOLS == without.keys() - TOOLS


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.place)
def test_an_environment_names_every_package_that_its_scripts_import(rule):
    if "shell:" in rule.text and re.search(r"python|torchrun", rule.text.split("shell:")[1]):
        assert rule.scripts, f"{rule.place}: python runs, and no script is found"
        assert rule.environments, f"{rule.place}: a script runs without conda:"
    for script in rule.scripts:
        _, modules = imported_modules(ROOT / f"workflow/scripts/{script}.py")
        needed = distributions_of(modules) - UNUSED.get(script, {}).keys()
        for path in rule.environments:
            missing = needed - environment_packages(path).keys()
            assert not missing, f"{path.name}: add what {script}.py imports: {sorted(missing)}"


def test_what_an_environment_lacks_is_imported_by_functions_that_its_script_never_takes():
    for script, packages in UNUSED.items():
        own, _ = imported_modules(ROOT / f"workflow/scripts/{script}.py")
        for package, (module, taken) in packages.items():
            importers = {name for name in own if package in imports_of(name)}
            assert importers == {module}
            found = {name for other in own for name in taken_from(other, module)}
            assert found == taken
            assert not any(package in imports_of(module, function) for function in taken)


def test_every_script_and_every_environment_is_of_a_rule():
    named = {script for rule in rules() for script in rule.scripts}
    # Run by hand, for a person; not a step of the workflow.
    assert set(SCRIPTS) - named == {"match_texts"}
    assert {path for rule in rules() for path in rule.environments} == set(FILES)


def test_models_that_come_as_packages_are_in_the_environments_that_load_them():
    config = load_config(yaml.safe_load((ROOT / "config/config.yaml").read_text()))
    encoders = {canonical(encoder.package) for encoder in config.encoders.values() if encoder.package}
    assert encoders
    for name in ("train", "train-gpu"):
        assert encoders <= environment_packages(ROOT / f"envs/{name}.yaml").keys()
    cat = environment_packages(ROOT / "envs/cat.yaml").keys()
    assert {canonical(config.parser.model), canonical(text_spotting.PACKAGE)} <= cat


@pytest.mark.parametrize("script", ["fetch_pack", "build_table"])
def test_what_is_read_from_the_text_covers_what_python_imports(script):
    """Against a new interpreter that only starts the script: which modules of ours it loads, and which each holds."""
    program = (
        "import json, runpy, sys, types; sys.argv = ['x', '--help']\n"
        f"try: runpy.run_path({str(ROOT / f'workflow/scripts/{script}.py')!r}, run_name='__main__')\n"
        "except SystemExit: pass\n"
        "ours = {name: vars(module) for name, module in sys.modules.items() if name.startswith('vlrepro.')}\n"
        "values = [value for names in ours.values() for value in names.values()]\n"
        "held = {value.__name__ for value in values if type(value) is types.ModuleType}\n"
        "print(json.dumps([sorted(ours), sorted(held)]))"
    )
    result = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": str(LIBRARY)}, capture_output=True)
    loaded, held = json.loads(result.stdout.splitlines()[-1])
    own, others = imported_modules(ROOT / f"workflow/scripts/{script}.py")
    assert loaded
    assert own >= set(loaded)
    assert others >= {name.split(".")[0] for name in held} - {"vlrepro"}


def test_lazy_conditional_and_late_imports_are_read_and_those_for_type_checkers_are_not(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import pandas\nelse:\n    import tqdm\n"
        "def late(kind):\n"
        "    try:\n        from PIL.Image import open\n    except ImportError:\n        import cv2 as other\n"
        "    importlib.util.find_spec('scipy')\n"
        "    return importlib.import_module(f'vlrepro.frameworks.{kind}')\n"
    )
    own, others = imported_modules(script)
    assert {"tqdm", "PIL", "cv2", "scipy"} <= others
    assert {path.stem for path in (LIBRARY / "vlrepro/frameworks").glob("*.py")} - {"__init__"} <= {
        name.split(".")[-1] for name in own
    }
    assert "vlrepro.distributed" in own  # through a framework
    assert "pandas" not in others
    assert distributions_of({"PIL", "cv2", "json"}) == {"pillow", "opencv-python-headless"}


def test_rules_of_a_loop_and_of_a_choice_of_scripts_are_read(tmp_path):
    (tmp_path / "a.smk").write_text(
        'rule one:\n    conda:\n        "../../envs/cat.yaml"\n    shell:\n        "python workflow/scripts/embed.py"\n'
        'for script in ("train", "retrieve"):\n\n    rule:\n        name:\n            script\n        conda:\n'
        '            TRAIN_ENVIRONMENT\n        shell:\n            "python workflow/scripts/{params.script}.py"\n'
    )
    one, two = rules(tmp_path)
    assert (one.scripts, [path.name for path in one.environments]) == (["embed"], ["cat.yaml"])
    assert (two.scripts, [path.name for path in two.environments]) == (
        ["train", "retrieve"],
        ["train.yaml", "train-gpu.yaml"],
    )


CONDA = """#!/bin/sh
case "$1" in
  info) echo '{"conda_version": "25.3.0", "conda_prefix": "/opt/conda", "platform": "linux-64"}' ;;
  --version) echo conda 25.3.0 ;;
  config) echo '{"get": {"channel_priority": "strict"}}' ;;
esac
"""


@pytest.mark.workflow
def test_snakemake_takes_gpu_builds_where_the_configuration_asks_for_gpus(tmp_path, monkeypatch):
    """With a stand-in for conda that says what Snakemake asks it: which files it would make environments of."""
    clone = make_clone(tmp_path / "clone")
    (tmp_path / "conda").write_text(CONDA)
    (tmp_path / "conda").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    options = ("--sdm", "conda", "--list-conda-envs", "--config", "resources={'train_gpus': 1}")
    listed = snakemake(clone, *TINY, *options).stdout
    assert set(re.findall(r"envs/(\S+\.yaml)", listed)) == {"cat.yaml", "report.yaml", "train-gpu.yaml"}


def sections() -> dict[str, str]:
    """Section -> text of the Apptainer definition; the header's is ""."""
    parts = re.split(r"^%(\w+)\n", DEFINITION, flags=re.MULTILINE)
    return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_image_has_the_sections_that_it_needs_and_starts_snakemake():
    parts = sections()
    assert list(parts) == ["", "files", "post", "environment", "runscript", "test", "labels", "help"]
    header = dict(line.split(": ", 1) for line in parts[""].splitlines() if line.strip() and line[0] != "#")
    assert header == {"Bootstrap": "docker", "From": header["From"]}
    assert parts["runscript"].split() == ["exec", "snakemake", '"$@"']
    for name in ("post", "environment", "runscript", "test"):
        subprocess.run(["bash", "-n"], input=parts[name], text=True, check=True)


def test_the_image_holds_what_make_setup_reads_and_installs_by_the_lock(tmp_path):
    parts = sections()
    for line in parts["files"].split("\n"):
        if line.strip():
            source, target = line.split()
            inside = tmp_path / Path(target).relative_to("/opt/vlrepro")
            inside.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(ROOT / source, inside)
    assert "cd /opt/vlrepro" in parts["post"]
    assert re.search(r"make setup$", parts["post"].strip())
    planned = subprocess.run(["make", "-n", "setup"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    installs = re.findall(r"pip install(?:.*\\\n)*.*", planned)
    assert len(installs) == 3
    for command in installs:
        assert "-c envs/constraints.txt" in command
        for path in re.findall(r"-c (\S+)", command):
            assert (tmp_path / path).is_file()
    assert (tmp_path / "src/vlrepro/__init__.py").is_file()


def image_test(lock: Path) -> subprocess.CompletedProcess:
    program = sections()["test"].split("<<'PYTHON'\n")[1].split("\nPYTHON\n")[0]
    program = re.sub(r"^import cv2.*", "", program, flags=re.MULTILINE)  # seconds to import
    return subprocess.run([sys.executable, "-", str(lock)], input=program, text=True, capture_output=True)


def test_the_image_tests_itself_against_the_lock(tmp_path):
    lock = tmp_path / "constraints.txt"
    shutil.copy(ROOT / "envs/constraints.txt", lock)
    good = image_test(lock)
    assert (good.returncode, good.stderr) == (0, "")
    lock.write_text(re.sub(r"^numpy==.*$", "numpy==1.0.0", lock.read_text(), flags=re.MULTILINE))
    bad = image_test(lock)
    assert bad.returncode == 1
    assert bad.stderr.startswith("error: not as in constraints.txt: {'numpy': ")
    assert len(bad.stderr.splitlines()) == 1
