"""What text towers that read token ids refuse."""

from __future__ import annotations

from torch import Tensor

from vlrepro.errors import UserError


def check_ids(tower: str, texts: Tensor, context: int, vocabulary: int) -> None:
    """Raise `UserError` unless `texts` are (B, L) token ids, L at most `context`, each below `vocabulary`."""
    if texts.ndim != 2 or texts.shape[1] > context or texts.is_floating_point():
        raise UserError(mismatch(f"{tower} takes at most {context} token ids a caption", texts))
    if len(texts) and int(texts.max()) >= vocabulary:
        raise UserError(
            f"text tower {tower} knows {vocabulary} tokens but a caption has token {int(texts.max())}: "
            "raise its vocabulary in the recipe's text_tower"
        )


def mismatch(takes: str, texts: Tensor) -> str:
    """What a tower says of texts of another kind or size than it takes."""
    kind = "embeddings" if texts.is_floating_point() else "token ids"
    return f"text tower {takes} but got {kind} {tuple(texts.shape)}: mend text_tower or text_encoder in the recipe"
