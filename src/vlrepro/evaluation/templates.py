"""Prompt templates for zero-shot classification (Radford et al. 2021, section 3.1.4), each set known by its digest.

`imagenet_80`: those that were tuned on ImageNet's training pictures; `imagenet_7`: the subset that a forward selection
among them found; `photo` and `name`: one template each. The 80 come from the package open_clip and are read when asked
for.
"""

from __future__ import annotations

from vlrepro.data.open_clip_tables import checked, lines_digest, open_clip_table
from vlrepro.errors import UserError

SLOT = "{}"
TEMPLATES: dict[str, tuple[str, ...]] = {
    "imagenet_7": (
        "itap of a {}.",
        "a bad photo of the {}.",
        "a origami {}.",
        "a photo of the large {}.",
        "a {} in a video game.",
        "art of the {}.",
        "a photo of the small {}.",
    ),
    "photo": ("a photo of a {}.",),
    "name": (SLOT,),
}
PUBLISHED = {"imagenet_80": "4f976686fb651bb5803d4689dcd849f75efe0ef19a3c801355bc9a6f03c8a5af"}
"""Digests (`templates_digest`) of the sets that are read from open_clip."""
NAMES = (*PUBLISHED, *TEMPLATES)


def templates(name: str) -> tuple[str, ...]:
    """The templates of a set, each with one `{}` for the class name.

    Raises `UserError` where there is no such set, open_clip is missing, or the templates are not the published ones.
    """
    if name not in NAMES:
        raise UserError(f"{name!r} is no set of prompt templates: choose one of {', '.join(NAMES)}")
    if name in TEMPLATES:
        return TEMPLATES[name]
    published = tuple(template(SLOT) for template in open_clip_table("OPENAI_IMAGENET_TEMPLATES"))
    return checked(published, PUBLISHED[name], "prompt templates")


def templates_digest(name: str) -> str:
    """SHA-256 (hex) of a set's templates joined by newlines: what identifies prompts in a recipe.

    Planning asks for it where open_clip need not be installed. Raises `UserError` where there is no such set.
    """
    return PUBLISHED.get(name) or lines_digest(templates(name))


def fill(template: str, name: str) -> str:
    """The prompt for a class name, which may hold anything. Raises `UserError` unless the template has one `{}`."""
    if template.count(SLOT) != 1:
        raise UserError(f"the prompt template {template!r} needs one {SLOT} for the class name: mend it")
    return template.replace(SLOT, name)
