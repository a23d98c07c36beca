#!/usr/bin/env python3
"""Each distinct convolution of Faster R-CNN ResNet-50-FPN against torch's own, forward and backward, in one run.

    compare_convolutions.py [--batch 2] [--size 640] [--rounds 3] [--iterations 5] [--threads 2] [--rust FOLDER]

Both sides' processes take turns; a figure is the median of all iterations. What is timed on the Rust side is the own
operation (`benches/measure.rs convolutions`), on torch's `conv2d` and `aten::convolution_backward` for one of the two
gradients. Their results have to agree: the mean squares of output and gradients, to 1e-3.

GFLOP/s are those of the plain algorithm, 2 * outputs * inputs of an output, whichever is used.
"""

import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
DIRECTIONS = ("forward", "input", "weight")
AGREEMENT = 1e-3


def convolutions(batch: int, size: int) -> list:
    """The distinct ones of a training step, with how often each occurs."""
    import torch
    from torchvision.models.detection import fasterrcnn_resnet50_fpn

    model = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=7)
    found = {}

    def hook(module, inputs, output):
        key = (tuple(inputs[0].shape), tuple(module.weight.shape), module.stride[0], module.padding[0])
        found[key] = found.get(key, 0) + 1

    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(hook)
    with torch.no_grad():
        features = model.backbone(torch.zeros(batch, 3, size, size))
        model.rpn.head(list(features.values()))
    return [
        {"x": x, "weight": weight, "stride": stride, "padding": padding, "count": count}
        for (x, weight, stride, padding), count in found.items()
    ]


def measure(path: str, iterations: int, threads: int) -> list:
    """The torch side, in this process."""
    sys.path.insert(0, str(ROOT / "tests" / "reference"))
    import torch
    from weights import uniform

    torch.set_num_threads(threads)
    rows = []
    for shapes in json.loads(pathlib.Path(path).read_text()):
        x, weight = uniform("x", shapes["x"]), uniform("weight", shapes["weight"])
        stride, padding = [shapes["stride"]] * 2, [shapes["padding"]] * 2

        def forward():
            with torch.no_grad():
                return torch.nn.functional.conv2d(x, weight, None, stride, padding)

        grad = uniform("grad", forward().shape)

        def backward(mask):
            arguments = (grad, x, weight, None, stride, padding, [1, 1], False, [0, 0], 1, mask)
            return torch.ops.aten.convolution_backward(*arguments)

        rounds = (forward, lambda: backward([True, False, False])[0], lambda: backward([False, True, False])[1])
        row = {"seconds": {}, "outcome": {}}
        for direction, round_ in zip(DIRECTIONS, rounds):
            row["outcome"][direction] = round_().double().square().mean().item()  # and the warm-up
            seconds = []
            for _ in range(iterations):
                start = time.perf_counter()
                round_()
                seconds.append(time.perf_counter() - start)
            row["seconds"][direction] = seconds
        rows.append(row)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rust", type=pathlib.Path, help="the target's `release` folder; default: built first")
    parser.add_argument("--torch", metavar="SHAPES", help="measure torch alone, in this process")
    arguments = parser.parse_args()
    if arguments.torch:
        print(json.dumps(measure(arguments.torch, arguments.iterations, arguments.threads)))
        return 0

    rust = arguments.rust
    if rust is None:
        subprocess.run(["cargo", "build", "--release", "--example", "measure"], cwd=ROOT, check=True)
        metadata = subprocess.run(["cargo", "metadata", "--format-version=1", "--no-deps"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
        rust = pathlib.Path(json.loads(metadata.stdout)["target_directory"]) / "release"
    threads = str(arguments.threads)
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads}
    shapes = convolutions(arguments.batch, arguments.size)
    results = {"torch": [], "rust": []}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(json.dumps(shapes))
        file.flush()
        iterations = ["--iterations", str(arguments.iterations)]
        commands = {
            "torch": [sys.executable, __file__, "--torch", file.name, "--threads", threads, *iterations],
            "rust": [str(rust.resolve() / "examples" / "measure"), "convolutions", "--shapes", file.name, *iterations],
        }
        for round_ in range(arguments.rounds):
            for side in list(commands) if round_ % 2 == 0 else list(commands)[::-1]:
                done = subprocess.run(commands[side], env=environment, stdout=subprocess.PIPE, text=True, check=True)
                results[side].append(json.loads(done.stdout.strip().splitlines()[-1]))

    print("| input | kernel | stride | times | direction | ms | GFLOP/s | torch ms | ratio |")
    print("|---|---|---|---|---|---|---|---|---|")
    total = {"rust": 0.0, "torch": 0.0}
    for index, shape in enumerate(shapes):
        (batch, _, height, width), (outputs, inputs, kernel, _) = shape["x"], shape["weight"]
        side = lambda length: (length + 2 * shape["padding"] - kernel) // shape["stride"] + 1
        flop = 2 * batch * outputs * side(height) * side(width) * inputs * kernel * kernel
        for direction in DIRECTIONS:
            a, b = (results[side_][0][index]["outcome"][direction] for side_ in ("rust", "torch"))
            if not math.isclose(a, b, rel_tol=AGREEMENT):
                print(f"{shape} {direction}: {a} is not torch's {b}", file=sys.stderr)
                return 2
            rust_s, torch_s = (
                statistics.median(s for rows in results[side_] for s in rows[index]["seconds"][direction]) for side_ in ("rust", "torch")
            )
            total["rust"] += shape["count"] * rust_s
            total["torch"] += shape["count"] * torch_s
            print(f"| {inputs}x{height}x{width} | {outputs}x{kernel}x{kernel} | {shape['stride']} | {shape['count']} | {direction} "
                  f"| {rust_s * 1e3:.2f} | {flop / rust_s / 1e9:.0f} | {torch_s * 1e3:.2f} | {rust_s / torch_s:.2f} |")
    print(f"\nall, as often as they occur: {total['rust']:.2f} s, torch {total['torch']:.2f} s, ratio {total['rust'] / total['torch']:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
