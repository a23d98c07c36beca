"""How fixtures are written: one safetensors file of tensors, one JSON file that says what they are."""

import json
import pathlib

import torch
import torchvision
from safetensors.torch import save_file

FIXTURES = pathlib.Path(__file__).resolve().parents[1] / "fixtures"


def write(stem: str, tensors: dict, description: dict, directory: pathlib.Path = FIXTURES) -> None:
    """Writes `<stem>.safetensors` (f32 and i64 only) and `<stem>.json`; the same bytes every time."""
    for name, tensor in tensors.items():
        assert tensor.dtype in (torch.float32, torch.int64), (name, tensor.dtype)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{stem}.safetensors"
    save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, path)
    path.chmod(0o644)  # safetensors creates it for its owner only
    made_by = {"torch": torch.__version__, "torchvision": torchvision.__version__, "script": "tests/reference/generate.py"}
    text = json.dumps({"made_by": made_by, **description}, indent=1, sort_keys=False)
    json_path = directory / f"{stem}.json"
    json_path.write_text(text + "\n")
    print(f"{path.name}: {path.stat().st_size:,} bytes, {len(tensors)} tensors; {json_path.name}: {json_path.stat().st_size:,} bytes")


class FirstSampler:
    """Stands in for `BalancedPositiveNegativeSampler`: same counts, but the first ones by index instead of random ones.

    Per image: positive = indices with label >= 1, negative = indices with label == 0, both ascending;
    num_pos = min(len(positive), int(batch_size_per_image * positive_fraction));
    num_neg = min(len(negative), batch_size_per_image - num_pos);
    chosen are positive[:num_pos] and negative[:num_neg]. Returns masks as torchvision's does.
    """

    def __init__(self, batch_size_per_image: int, positive_fraction: float):
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction
        self.chosen = []

    def __call__(self, labels):
        masks = [], []
        self.chosen = []
        for image_labels in labels:
            positive = torch.where(image_labels >= 1)[0]
            negative = torch.where(image_labels == 0)[0]
            num_pos = min(positive.numel(), int(self.batch_size_per_image * self.positive_fraction))
            num_neg = min(negative.numel(), self.batch_size_per_image - num_pos)
            self.chosen.append((positive[:num_pos], negative[:num_neg]))
            for kind, indices in zip(masks, self.chosen[-1]):
                mask = torch.zeros_like(image_labels, dtype=torch.uint8)
                mask[indices] = 1
                kind.append(mask)
        return masks
