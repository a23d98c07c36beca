"""The direction of each parameter's gradient in the training runs of `models.py` and `models_v2.py`.

File: gradients.json, `{"format": [..], "models": {file/variant/run: {parameter: [four numbers]}}}`. Each number is the sum of
the gradient's elements, each with a sign. The signs of the element at index i are the four lowest bits of `floor(16 u_i)`,
plus where a bit is 0, minus where it is 1; `u` is the sequence of `weights.unit("signs:PARAMETER")`.

A sum with random signs is about as large as the norm of what is summed. So where each of four sums is right to a small part
of the norm, the gradient differs by no more than a small part of its norm, whatever its number of elements.
"""

import json

import numpy
import torch
import torchvision

import models
import models_v2
from recording import FIXTURES
from weights import image, unit


def signed_sums(name, gradient):
    flat = gradient.detach().double().reshape(-1).numpy()
    bits = numpy.floor(16 * unit(f"signs:{name}", flat.size)).astype(numpy.int64)
    return [float(((1 - 2 * (bits >> bit & 1)) * flat).sum()) for bit in range(4)]


def run(config, targets):
    images = [image(*spec) for spec in config["images"]]
    watch = models.Watch(models.build(config), images, targets)
    return {name: signed_sums(name, gradient) for name, gradient in watch.gradients.items()}


def generate():
    runs = {}
    for file, variant, config in [
        ("model", "frozen", models.RESNET50),
        *(("model_resnet18", variant, {**models.RESNET18, "norm": norm}) for variant, norm in models.RESNET18_NORMS),
        ("model_v2", "resnet18", models_v2.V2_RESNET18),
    ]:
        targets = models.targets_of(config)
        runs[f"{file}/{variant}/train"] = run(config, targets)
        if variant == "frozen":
            runs[f"{file}/{variant}/train_without_gt_in_second_image"] = run(config, models.without_second(targets))
    made_by = {"torch": torch.__version__, "torchvision": torchvision.__version__, "script": "tests/reference/generate.py"}
    # A parameter a line.
    lines = (f'  "{run}": {{\n' + ",\n".join(f"   {json.dumps(n)}: {json.dumps(v)}" for n, v in sums.items()) + "\n  }" for run, sums in runs.items())
    head = json.dumps({"made_by": made_by, "format": __doc__.strip().splitlines()}, indent=1)[:-2]
    path = FIXTURES / "gradients.json"
    path.write_text(head + ',\n "models": {\n' + ",\n".join(lines) + "\n }\n}\n")
    print(f"{path.name}: {path.stat().st_size:,} bytes")
