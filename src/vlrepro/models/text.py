"""Text towers: captions to features (B, feature_width), and the tokens that a trained one reads.

`sentence` takes embeddings that a frozen sentence encoder made beforehand and passes them on; `transformer` is CLIP's
text transformer, trained along with the pictures' backbone; `bert` is BERT, trained along too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vlrepro.errors import UserError
from vlrepro.models.bert import Bert
from vlrepro.models.token_checks import check_ids, mismatch

REVISION = 1
CONTEXT = 77  # tokens that CLIP reads of a caption, its first and last mark included


def build_text_tower(name: str, **options: Any) -> nn.Module:
    """Build the text tower `name`; weights that its options do not load are drawn from torch's current generator.

    Raises `UserError` for an unknown name or option, or weights that cannot be loaded.
    """
    if name not in _BUILDERS:
        raise UserError(f"text tower {name!r} is not known: choose one of {', '.join(sorted(_BUILDERS))}")
    try:
        return _BUILDERS[name](**options)
    except (TypeError, ValueError) as error:
        raise UserError(f"text tower {name!r}: {error}: mend its options in the config") from error


def tokenise(captions: Sequence[str], context: int = CONTEXT) -> Tensor:
    """(n, context) int64 ids in CLIP's vocabulary of 49,408 byte pairs: start, tokens, end, zeros.

    Text is repaired (ftfy), HTML entities resolved, white space collapsed and case lowered, as CLIP's released code
    does. Of a longer caption the first context - 2 tokens are kept, and the end after them.

    Raises:
        UserError: the package that holds the vocabulary is not installed.
    """
    if not captions:
        return torch.zeros(0, context, dtype=torch.int64)
    try:
        from open_clip.tokenizer import tokenize  # seconds to import, and only token encoders need it
    except ModuleNotFoundError as error:
        raise UserError(f"captions cannot be tokenised without {error.name}: pip install open_clip_torch") from error
    return tokenize(list(captions), context)


class Sentences(nn.Module):
    """Embeddings pass as they are: the encoder that made them stays frozen.

    Args:
        width: of the embeddings; 384 is all-MiniLM-L6-v2's, 768 all-mpnet-base-v2's.
    """

    def __init__(self, width: int = 384) -> None:
        super().__init__()
        self.feature_width = width

    def forward(self, texts: Tensor) -> Tensor:
        """(B, width) floats to the same. Raises `UserError` for anything else."""
        if texts.ndim != 2 or texts.shape[1] != self.feature_width or not texts.is_floating_point():
            raise UserError(mismatch(f"sentence takes embeddings of width {self.feature_width}", texts))
        return texts


class TextTransformer(nn.Module):
    """CLIP's text encoder (Radford et al. 2021, "Learning Transferable Visual Models", section 2.4), less projection.

    Pre-norm layers with causal attention and x * sigmoid(1.702 x) between the linear layers, which are four times as
    wide inside. The feature is the last layer's at the end-of-text token, normalised. Weights start as in CLIP's
    released code and the papers' code base (github.com/mbanani/lgssl, df45bae).
    """

    def __init__(
        self, layers: int = 12, width: int = 512, heads: int = 8, context: int = CONTEXT, vocabulary: int = 49408
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        self.feature_width = width
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.empty(context, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, _quick_gelu, batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self._initialise()

    def _initialise(self) -> None:
        width, depth = self.feature_width, len(self.layers)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.positions, std=0.01)
        for layer in self.layers:
            nn.init.normal_(layer.self_attn.in_proj_weight, std=width**-0.5)
            nn.init.normal_(layer.linear1.weight, std=(2 * width) ** -0.5)
            for last in (layer.self_attn.out_proj, layer.linear2):  # what a layer adds shrinks with their number
                nn.init.normal_(last.weight, std=(2 * depth * width) ** -0.5)

    def forward(self, texts: Tensor) -> Tensor:
        """(B, L) int64 token ids, L at most the context, to (B, width). Raises `UserError` for anything else.

        The end of text is the largest id of a row. No token sees what follows it, so columns after the batch's last
        end of text are left out: captions are far shorter than the context.
        """
        check_ids("transformer", texts, len(self.positions), self.tokens.num_embeddings)
        ends = texts.argmax(1)
        texts = texts[:, : int(ends.max()) + 1]
        length = texts.shape[1]
        mask = torch.ones(length, length, dtype=torch.bool, device=texts.device).triu(1)
        x = self.tokens(texts) + self.positions[:length]
        for layer in self.layers:
            x = layer(x, src_mask=mask, is_causal=True)
        return self.norm(x[torch.arange(len(x), device=x.device), ends])


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


_BUILDERS: dict[str, Callable[..., nn.Module]] = {"bert": Bert, "sentence": Sentences, "transformer": TextTransformer}
