"""Random checkpoints as DiHT releases them: OpenCLIP's CLIP has the same tensors under the same names."""

from pathlib import Path

import torch
from open_clip.model import CLIP

from vlrepro.dual_encoders.clip_layout import Sizes
from vlrepro.files import file_digest

TINY = Sizes(48, 16, 128, 2, 64, 3, 12, 49408, 24)


def random_clip(sizes: Sizes = TINY, seed: int = 0) -> CLIP:
    """OpenCLIP's model with the plain GELU; biases and norms are random too, so that none can be mistaken."""
    vision = {"image_size": sizes.image, "patch_size": sizes.patch}
    vision |= {"layers": sizes.vision_layers, "width": sizes.vision_width}
    text = {"context_length": sizes.context, "vocab_size": sizes.vocabulary, "layers": sizes.text_layers}
    text |= {"width": sizes.text_width, "heads": sizes.text_width // 64}
    model = CLIP(sizes.joint_width, vision, text, quick_gelu=False).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            norm = "ln_" in name and name.endswith("weight")
            parameter.copy_(1 + 0.2 * noise if norm else noise * (0.1 if parameter.ndim < 2 else 0.08))
    return model


def save_diht(folder: Path, model: CLIP, name: str = "diht_tiny") -> Path:
    """The model's state dict under the name that its bytes ask for."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), folder / "part")
    return (folder / "part").rename(folder / f"{name}_{file_digest(folder / 'part')}.ckpt")
