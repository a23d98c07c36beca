#!/usr/bin/env python3
"""Time and peak memory of this crate against torchvision: both sides alternately, in one go, on the same work.

    compare_torchvision.py [--modes inference train] [--rounds 3] [--threads 2] [--rust PATH]
    compare_torchvision.py --torch inference|train [--batch N] [--size 640] [--iterations K] [--threads 2]

The second form is one torch measurement; the first starts it, and its Rust counterpart, as subprocesses in turn:

    cargo run --release --example measure -- inference|train --batch N --size S --iterations K

Either prints, as the last line of its standard output, `{"seconds": [one per iteration], "cpu_seconds": [the same,
summed over all threads], "peak_rss_bytes": N, "outcome": [...]}`. One iteration more than K is run; the first is a
warm-up and not in the lists. The outcome is that of the first iteration: the number of detections and the sum of their
scores, or the four losses. Both sides' have to agree to 1e-3, else one of them does other work than the other, and no
time means anything.

The work, on both sides: Faster R-CNN ResNet-50-FPN, frozen batch norms, 7 classes, weights of the generator with seed
10 (tests/reference/weights.py), images "bench0", "bench1", ... of it, S x S, min_size = max_size = S, f32, two threads.

* inference: eval, no gradients, the whole of `model(images)` from image tensors to detections;
* train: all five stages trainable, 8 boxes per image, forward, backward, one step of SGD with momentum 0.9. The
  learning rate is 1e-6, so that every iteration does the same work. Of the candidates that may be drawn for a loss,
  the first ones are, not random ones.

On a machine that others use too, wall time says little: a thread that waits in a barrier for one that was descheduled
loses both their time, and OpenMP spins while it waits. The ratio of CPU time is printed for that case; with
`--threads 1`, where nobody waits for anybody, it compares the work itself.

Peak memory is that of the process (`ru_maxrss`): libraries, weights, everything. This driver stays small, because
Linux lets a child inherit its parent's peak across exec.

Exit status 1 when a ratio (ours / torch, medians) is over its bar, 2 when a side fails or they do not agree.
"""

import argparse
import json
import math
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
SEED = 10
BATCH = {"inference": 1, "train": 2}
ITERATIONS = {"inference": 5, "train": 3}
LOSSES = ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg")
AGREEMENT = 1e-3  # relative; the parity tests ask for 1e-4, of images whose scores are not as close to each other


def measure_torch(mode: str, batch: int, size: int, iterations: int, threads: int) -> dict:
    """One measurement of the torch side, in this process."""
    sys.path.insert(0, str(ROOT / "tests" / "reference"))
    import torch
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    from recording import FirstSampler
    from weights import fill, image, unit

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, trainable_layers=5)
    model = fill(FasterRCNN(backbone, num_classes=7, min_size=size, max_size=size), SEED)
    images = [image(f"bench{i}", size, size) for i in range(batch)]

    if mode == "inference":
        model.eval()

        def iteration():
            with torch.no_grad():
                scores = torch.cat([detections["scores"] for detections in model(images)])
            return [len(scores), scores.sum().item()]
    else:
        model.train()
        for owner in (model.rpn, model.roi_heads):
            sampler = owner.fg_bg_sampler
            owner.fg_bg_sampler = FirstSampler(sampler.batch_size_per_image, sampler.positive_fraction)
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-6, momentum=0.9)
        targets = []
        for i in range(batch):
            # 8 boxes: sides 5 to 30 % of the image's, anywhere inside it; labels 1..6, 1, 2
            u = torch.from_numpy(unit(f"bench{i}/boxes", 32).reshape(8, 4))
            sides = (0.05 + 0.25 * u[:, 2:]) * size
            corner = u[:, :2] * (size - sides)
            targets.append({"boxes": torch.cat([corner, corner + sides], 1).float(), "labels": torch.arange(8) % 6 + 1})

        def iteration():
            losses = model(images, targets)
            loss = sum(losses.values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if not torch.isfinite(loss):
                sys.exit("the loss is not finite")
            return [losses[name].item() for name in LOSSES]

    outcome = iteration()
    seconds, cpu_seconds = [], []
    for _ in range(iterations):
        start, cpu_start = time.perf_counter(), time.process_time()
        iteration()
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu_start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_rss_bytes": peak, "outcome": outcome}


def run(side: str, command: list, environment: dict) -> dict:
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    lines = done.stdout.strip().splitlines()
    try:
        if done.returncode:
            raise ValueError(f"exit status {done.returncode}")
        result = json.loads(lines[-1])
        if not result["seconds"] or not result["cpu_seconds"] or result["peak_rss_bytes"] <= 0:
            raise ValueError("an empty measurement")
        return result
    except (ValueError, IndexError, KeyError, TypeError) as error:
        print(f"{side} side failed ({error!r}): {' '.join(map(str, command))}", file=sys.stderr)
        sys.exit(2)


def compare(arguments) -> int:
    rust = arguments.rust
    if rust is None:
        subprocess.run(["cargo", "build", "--release", "--example", "measure"], cwd=ROOT, check=True)
        metadata = subprocess.run(["cargo", "metadata", "--format-version=1", "--no-deps"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
        rust = pathlib.Path(json.loads(metadata.stdout)["target_directory"]) / "release" / "examples" / "measure"
    threads = str(arguments.threads)
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads}
    over = []
    for mode in arguments.modes:
        batch, iterations = arguments.batch or BATCH[mode], arguments.iterations or ITERATIONS[mode]
        work = [mode, "--batch", str(batch), "--size", str(arguments.size), "--iterations", str(iterations)]
        sides = {"torch": [sys.executable, __file__, "--threads", threads, "--torch", *work], "rust": [str(rust), *work]}
        results = {side: [] for side in sides}
        for round_ in range(arguments.rounds):
            order = list(sides) if round_ % 2 == 0 else list(sides)[::-1]  # neither side always goes first
            for side in order:
                result = run(side, sides[side], environment)
                results[side].append(result)
                print(f"{mode} round {round_ + 1} {side:5}: median {statistics.median(result['seconds']):.3f} s of "
                      f"{['%.3f' % s for s in result['seconds']]}, peak {result['peak_rss_bytes'] / 2**20:.0f} MiB", flush=True)
        outcomes = {side: rounds[0]["outcome"] for side, rounds in results.items()}
        print(f"{mode} outcome: {outcomes}", flush=True)
        if not all(math.isclose(a, b, rel_tol=AGREEMENT) for a, b in zip(*outcomes.values(), strict=True)):
            print(f"{mode}: the sides do not agree", file=sys.stderr)
            return 2
        def median(key):
            return {side: statistics.median(t for r in rounds for t in r[key]) for side, rounds in results.items()}

        memory = {s: statistics.median(r["peak_rss_bytes"] for r in rounds) for s, rounds in results.items()}
        time_bar = arguments.max_inference if mode == "inference" else arguments.max_train
        rows = (
            ("time", median("seconds"), "s", 1, time_bar),
            ("CPU time", median("cpu_seconds"), "s", 1, None),
            ("memory", memory, "MiB", 2**20, arguments.max_memory),
        )
        for what, values, unit_, scale, bar in rows:
            ratio = values["rust"] / values["torch"]
            verdict = "" if bar is None else f" (bar {bar:g}) {'ok' if ratio <= bar else 'OVER THE BAR'}"
            print(f"{mode}, batch {batch}, {arguments.size}x{arguments.size}, {what}: rust {values['rust'] / scale:.3f} {unit_}, "
                  f"torch {values['torch'] / scale:.3f} {unit_}, ratio {ratio:.2f}{verdict}", flush=True)
            if bar is not None and ratio > bar:
                over.append(f"{mode} {what}")
    if over:
        print("over the bar: " + ", ".join(over))
    return 1 if over else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", choices=list(BATCH), metavar="MODE", help="measure torch alone, in this process")
    parser.add_argument("--rust", type=pathlib.Path, help="the executable of the Rust side; default: builds examples/measure")
    parser.add_argument("--modes", nargs="+", choices=list(BATCH), default=list(BATCH))
    parser.add_argument("--batch", type=int, help="default: 1 for inference, 2 for train")
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--iterations", type=int, help="timed iterations of one process; default: 5 for inference, 3 for train")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-inference", type=float, default=2.5)
    parser.add_argument("--max-train", type=float, default=4.0)
    parser.add_argument("--max-memory", type=float, default=1.5)
    arguments = parser.parse_args()
    if arguments.torch:
        mode = arguments.torch
        print(json.dumps(measure_torch(mode, arguments.batch or BATCH[mode], arguments.size, arguments.iterations or ITERATIONS[mode], arguments.threads)))
        return 0
    if arguments.rust is not None:
        arguments.rust = arguments.rust.resolve()
    return compare(arguments)


if __name__ == "__main__":
    sys.exit(main())
