"""Prompt templates and class names against open_clip's own, and what is refused."""

import hashlib
import sys

import open_clip
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlrepro.data import open_clip_tables
from vlrepro.data.open_clip_tables import imagenet_class_names, open_clip_table
from vlrepro.errors import UserError
from vlrepro.evaluation import templates as module
from vlrepro.evaluation.templates import NAMES, PUBLISHED, fill, templates, templates_digest

OPEN_CLIP = {
    "imagenet_80": open_clip.OPENAI_IMAGENET_TEMPLATES,
    "imagenet_7": open_clip.SIMPLE_IMAGENET_TEMPLATES,
}


@pytest.mark.parametrize("name", OPEN_CLIP)
@given(text=st.text())
def test_prompts_are_open_clips_for_any_name(name, text):
    assert [fill(template, text) for template in templates(name)] == [template(text) for template in OPEN_CLIP[name]]


def test_sizes_and_the_shorter_set_is_part_of_the_longer():
    assert {name: len(templates(name)) for name in NAMES} == {"imagenet_80": 80, "imagenet_7": 7, "photo": 1, "name": 1}
    assert set(templates("imagenet_7")) < set(templates("imagenet_80"))
    assert fill(*templates("photo"), "dog") == "a photo of a dog."
    assert fill(*templates("name"), "a dog") == "a dog"


@pytest.mark.parametrize("name", NAMES)
def test_a_digest_is_that_of_the_lines(name):
    assert templates_digest(name) == hashlib.sha256("\n".join(templates(name)).encode()).hexdigest()


def test_class_names_are_open_clips_in_its_order():
    names = imagenet_class_names()
    assert list(names) == list(open_clip.IMAGENET_CLASSNAMES)
    assert len(names) == 1000
    assert sorted({name for name in names if names.count(name) > 1}) == ["missile", "sunglasses"]


def test_other_templates_and_names_than_the_published_are_refused(monkeypatch):
    monkeypatch.setitem(PUBLISHED, "imagenet_80", "0" * 64)
    with pytest.raises(
        UserError, match=r"zero_shot_metadata.py: the prompt templates are not the published ones: inst"
    ):
        templates("imagenet_80")
    monkeypatch.setattr(open_clip_tables, "CLASS_NAMES_DIGEST", "0" * 64)
    with pytest.raises(UserError, match="the class names of ImageNet are not the published ones: install"):
        imagenet_class_names()


def test_what_cannot_be_a_prompt_is_refused():
    with pytest.raises(UserError, match="'imagenet_90' is no set of prompt templates: choose one of imagenet_80,"):
        templates("imagenet_90")
    for template in ("a photo", "{} and {}"):
        with pytest.raises(UserError, match=r"needs one \{\} for the class name"):
            fill(template, "dog")


@pytest.fixture
def fresh_tables():
    """What was read before is forgotten, and so is what the test makes of it."""
    open_clip_table.cache_clear()
    yield
    open_clip_table.cache_clear()


@pytest.mark.usefixtures("fresh_tables")
def test_without_open_clip_planning_has_digests_and_prompts_say_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    assert templates_digest("imagenet_80") == module.PUBLISHED["imagenet_80"]
    assert templates("imagenet_7")
    with pytest.raises(UserError, match="is missing: pip install open_clip_torch"):
        templates("imagenet_80")


@pytest.mark.usefixtures("fresh_tables")
def test_a_table_or_file_that_open_clip_lacks_is_named(monkeypatch):
    with pytest.raises(UserError, match=r"zero_shot_metadata.py: no table OTHER .*: install the version"):
        open_clip_table("OTHER")
    monkeypatch.setattr(open_clip_tables, "_FILE", "absent.py")
    with pytest.raises(UserError, match=r"absent.py: no table IMAGENET_CLASSNAMES"):
        open_clip_table("IMAGENET_CLASSNAMES")
