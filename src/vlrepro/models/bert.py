"""BERT as a text tower (Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers").

From random weights or from a published checkpoint, trained along. There is no dropout, which a resumed training could
not draw again and a batch in parts would draw twice.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vlrepro.errors import UserError
from vlrepro.models.token_checks import check_ids

SIZES = {"layers": 12, "width": 768, "heads": 12, "vocabulary": 30522, "context": 512}  # BERT-base's
_PLAIN = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "attn_implementation": "eager"}
POOLINGS = ("cls", "mean")


class Bert(nn.Module):
    """Token ids to the last layer's output at the first token (`cls`), or its mean over a caption's tokens (`mean`).

    An id of 0 after a row's last other one is padding. Attention is the plain kernel, the one that is deterministic on
    GPUs too.

    Args:
        pooling: `cls` or `mean`.
        pretrained: a folder or hub name whose safetensors weights to start from, at the hub's commit `revision`.
        sizes: `layers`, `width`, `heads`, `vocabulary`, `context` of a random start; BERT-base's where not given.

    Raises:
        ValueError: a size or pooling that there is not, or sizes beside `pretrained`.
        UserError: `pretrained` cannot be loaded whole.
    """

    def __init__(
        self, pooling: str = "cls", pretrained: str | None = None, revision: str | None = None, **sizes: int
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(f"pooling {pooling!r} is not one of {', '.join(POOLINGS)}")
        if unknown := sorted(set(sizes) - set(SIZES)):
            raise ValueError(f"there is no option {unknown[0]!r}")
        if pretrained and sizes:
            raise ValueError(f"pretrained weights have a size of their own: leave {sorted(sizes)[0]} out")
        self.pooling = pooling
        self.bert = _loaded(pretrained, revision) if pretrained else _random(SIZES | sizes)
        self.feature_width = self.bert.config.hidden_size

    def forward(self, texts: Tensor) -> Tensor:
        """(B, L) int64 token ids, L at most the context, to (B, width). Raises `UserError` for anything else."""
        config = self.bert.config
        check_ids("bert", texts, config.max_position_embeddings, config.vocab_size)
        places = torch.arange(texts.shape[1], device=texts.device)
        ends = (places * (texts != 0)).amax(1, keepdim=True)
        length = int(ends.max()) + 1  # columns that are padding in every row are left out
        read = (places <= ends)[:, :length]
        outputs = self.bert(input_ids=texts[:, :length], attention_mask=read.long()).last_hidden_state
        if self.pooling == "cls":
            return outputs[:, 0]
        return (outputs * read[..., None]).sum(1) / read.sum(1, keepdim=True)


def _random(sizes: dict[str, int]) -> nn.Module:
    from transformers import BertConfig, BertModel  # seconds to import, and only this tower needs it

    if sizes["width"] % sizes["heads"]:
        raise ValueError(f"width {sizes['width']} is not a multiple of heads {sizes['heads']}")
    config = BertConfig(
        vocab_size=sizes["vocabulary"],
        hidden_size=sizes["width"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        intermediate_size=4 * sizes["width"],
        max_position_embeddings=sizes["context"],
        **_PLAIN,
    )
    return BertModel(config, add_pooling_layer=False)


def _loaded(place: str, revision: str | None) -> nn.Module:
    from transformers import BertModel

    options: dict[str, Any] = {"use_safetensors": True, "output_loading_info": True, "add_pooling_layer": False}
    try:
        model, found = BertModel.from_pretrained(place, revision=revision, **options, **_PLAIN)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"bert {place}: cannot be loaded ({reason}): check the name or the folder") from error
    if found["missing_keys"]:
        raise UserError(f"bert {place}: the weights lack {sorted(found['missing_keys'])[0]}: choose a BERT checkpoint")
    return model
