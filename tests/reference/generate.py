"""Writes the fixtures of tests/fixtures: `python tests/reference/generate.py [part ...]` (no part: all of them).

Deterministic: running it again on the same machine writes the same bytes.
"""

import importlib
import sys

import torch

PARTS = {"ops": "ops", "model": "models", "model_v2": "models_v2", "gradients": "gradients", "evaluation": "evaluation",
         "weights": "weight_files", "images": "images"}


def main():
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    for part in sys.argv[1:] or PARTS:
        torch.manual_seed(0)
        module = importlib.import_module(PARTS[part])
        if part == "evaluation":
            from recording import FIXTURES

            module.generate(FIXTURES)
        else:
            module.generate()


if __name__ == "__main__":
    main()
