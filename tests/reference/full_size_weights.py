"""Full-size weight files: torchvision writes them, the program reads them, and the other way round.

    cargo build --release --bins --examples
    python tests/reference/full_size_weights.py [--program target/release/faster-rcnn]

For every layout that torch writes: `inspect` tells what it is, and `predict` finds on 5 images what torchvision finds
with it. For every file that the program writes, by `convert` or `train`: torchvision loads it with strict=True and
finds what `predict` finds. Same count and labels, boxes within 0.05 pixels, scores within 1e-4. Then loads the 160 MB
files again and again: at most 1.5 s, at most 1.2 times the model's size. Also holds weights/manifest.toml against
torchvision's own list. Needs 2 GB of disk for a while; the exit status is 1 if anything differs.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import tomllib

import numpy as np
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision.models import get_model, get_weight
from torchvision.models.detection import fasterrcnn_resnet50_fpn, fasterrcnn_resnet50_fpn_v2
from torchvision.models.detection._utils import overwrite_eps

from weight_files import checkpoint, legacy, published_names, v1
from weights import fill, image

ROOT = pathlib.Path(__file__).resolve().parents[2]
IMAGES = [("board 1", 240, 320), ("board 2", 320, 240), ("board 3", 300, 300), ("board 4", 200, 333), ("board 5", 256, 256)]
SIZE = {"min_size": 320, "max_size": 533}  # the detector's own is 800: many times slower, and the same code
SECONDS, MEMORY = 1.5, 1.2
CLASSIFIERS = ["resnet18", "resnet34", "resnet50", "resnet101"]

failures = []


def check(holds, message):
    print(("ok      " if holds else "FAILED  ") + message, flush=True)
    if not holds:
        failures.append(message)


class Bench:
    """A folder of files, the images in it, and the program."""

    def __init__(self, folder, program):
        self.folder, self.program = folder, program
        self.images = [folder / f"{name.replace(' ', '_')}.png" for name, _, _ in IMAGES]
        for path, entry in zip(self.images, IMAGES):
            pixels = (image(*entry).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
            Image.fromarray(pixels).save(path)

    def run(self, *arguments):
        result = subprocess.run([self.program, *map(str, arguments)], capture_output=True, text=True)
        if result.returncode != 0:
            sys.exit(f"{' '.join(map(str, arguments))}: {result.stderr}")
        return result.stdout

    def predict(self, path):
        sizes = ["--min-size", SIZE["min_size"], "--max-size", SIZE["max_size"]]
        return [entry["detections"] for entry in json.loads(self.run("predict", "--weights", path, *sizes, *self.images))]

    def torchvision(self, model):
        """What torchvision finds, in the form of `predict`."""
        model.eval()
        found = []
        for path in self.images:
            pixels = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1).float() / 255
            with torch.no_grad():
                result = {key: value.tolist() for key, value in model([pixels])[0].items()}
            boxes = zip(result["boxes"], result["labels"], result["scores"])
            found.append([{"box": box, "label": label, "score": score} for box, label, score in boxes])
        return found


def compare(name, ours, theirs):
    """Each detection has its counterpart, whatever the order of those whose scores are equal but for rounding."""
    count, pixels, scores, alone = sum(map(len, theirs)), 0.0, 0.0, 0
    for ours_here, theirs_here in zip(ours, theirs, strict=True):
        left = list(theirs_here)
        for found in ours_here:
            def distance(other):
                return max(abs(a - b) for a, b in zip(found["box"], other["box"]))

            near = [o for o in left if o["label"] == found["label"] and distance(o) <= 0.05 and abs(o["score"] - found["score"]) <= 1e-4]
            if not near:
                alone += 1
                continue
            best = min(near, key=distance)
            left.remove(best)
            pixels, scores = max(pixels, distance(best)), max(scores, abs(best["score"] - found["score"]))
        alone += len(left)
    labels = {found["label"] for theirs_here in theirs for found in theirs_here}
    check(
        alone == 0 and count > 0,
        f"{name}: {count} detections of {len(labels)} classes, {alone} alone, at most {pixels:.1e} pixels and {scores:.1e} of score apart",
    )


def detectors(bench):
    published = fill(v1(91, **SIZE), 1)
    overwrite_eps(published, 0.0)
    today, second = fill(v1(91, **SIZE), 2), fill(fasterrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, **SIZE), 3)
    state = today.state_dict()
    strided = {
        name: t.to(memory_format=torch.channels_last) if t.dim() == 4 else t.t().contiguous().t() if t.dim() == 2 else t
        for name, t in state.items()
    }
    halved = {name: tensor.half() for name, tensor in state.items()}
    names = published_names(published.state_dict())

    def half():
        model = v1(91, **SIZE)
        model.load_state_dict(halved)
        return model

    files = [
        ("v1_published.pth", published, lambda path: torch.save(names, path)),
        ("v1_published_legacy.pth", published, lambda path: legacy(names, path)),
        ("v1_strided_checkpoint.pth", today, lambda path: torch.save(checkpoint(strided), path)),
        ("v1_checkpoint_legacy.pth", today, lambda path: legacy(checkpoint(state), path)),
        ("v1.safetensors", today, lambda path: save_file(state, path)),
        ("v1_half.pth", half(), lambda path: torch.save(halved, path)),
        ("v2.pth", second, lambda path: torch.save(second.state_dict(), path)),
        ("v2_legacy.pth", second, lambda path: legacy(second.state_dict(), path)),
    ]
    expected = {}
    for name, model, write in files:
        path, converted = bench.folder / name, bench.folder / "converted.safetensors"
        write(path)
        norm = "batch norm;" if name.startswith("v2") else f"frozen batch norm, epsilon {'0e0' if model is published else '1e-5'};"
        said = bench.run("weights", "inspect", path)
        check(f"detector, ResNet-50, {norm}" in said and "90 and the background" in said, f"{name}: inspect")
        theirs = expected.setdefault(id(model), bench.torchvision(model))
        ours = bench.predict(path)
        compare(name, ours, theirs)

        bench.run("weights", "convert", path, converted)
        compare(f"{name}, converted", bench.predict(converted), ours)
        again = fasterrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, **SIZE) if name.startswith("v2") else v1(91, **SIZE)
        again.load_state_dict(load_file(converted), strict=True)
        if model is published:
            overwrite_eps(again, 0.0)
        compare(f"{name}, converted and loaded in torchvision", ours, bench.torchvision(again))
        if "v1" in name and "checkpoint" not in name and "half" not in name:
            measure(bench, path)
        if name == "v1.safetensors":
            measure(bench, converted)
        path.unlink()
        converted.unlink()


def measure(bench, path):
    program = pathlib.Path(bench.program).parent / "examples/load_weights"
    runs = [json.loads(subprocess.check_output([program, path])) for _ in range(5)]
    seconds = sorted(run["seconds"] for run in runs)
    memory = max(run["extra_bytes"] / run["model_bytes"] for run in runs)
    size = path.stat().st_size / 1e6
    check(
        seconds[-1] <= SECONDS and memory <= MEMORY,
        f"{path.name}: {size:.0f} MB load in {seconds[0]:.2f} to {seconds[-1]:.2f} s, {memory:.2f} times the model's size at most",
    )


def classifiers(bench):
    for name in CLASSIFIERS:
        model = fill(get_model(name, weights=None), 4)
        path, converted = bench.folder / f"{name}.pth", bench.folder / "converted.safetensors"
        for layout, write in [("zip", torch.save), ("legacy", legacy)]:
            write(model.state_dict(), path)
            said = bench.run("weights", "inspect", path)
            check(f"classifier, ResNet-{name[6:]}" in said, f"{name} ({layout}): inspect")
            bench.run("weights", "convert", path, converted)
            again = get_model(name, weights=None)
            again.load_state_dict(load_file(converted), strict=True)
            same = all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
            check(same, f"{name} ({layout}): converted and loaded in torchvision, every element the same")
        if name != "resnet50":
            path.unlink()


def training(bench):
    """A run that starts from a classifier, in half precision and a checkpoint; its own checkpoint goes to torchvision."""
    state = torch.load(bench.folder / "resnet50.pth")
    path, boards, run = bench.folder / "start.pth", bench.folder / "boards", bench.folder / "run"
    torch.save({"state_dict": {f"module.{name}": tensor.half() for name, tensor in state.items()}, "epoch": 90}, path)
    bench.run("synth", "--output", boards, "--images", 6, "--size", 128)
    sizes = ["--set", "model.transform.min_size=128", "--set", "model.transform.max_size=128"]
    settings = ["--set", "train.epochs=1", "--set", "model.anchors.sizes=[32,64,128,256,512]",
                "--set", "model.roi_heads.exclusive_iou=1", "--set", "model.norm=\"frozen_batch\"", "--set", "model.backbone=\"resnet50\"", *sizes]
    said = bench.run("train", "--config", ROOT / "configs/deep_pcb.toml", "--data", boards, "--output", run, "--weights", path, *settings)
    check("left out: " in said and "missing" not in said and "unused" not in said, "train from resnet50: the report")
    best = run / "checkpoints/best.safetensors"
    model = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=7, **SIZE)  # the README's
    tensors = load_file(best)
    model.load_state_dict(tensors, strict=True)
    compare("a run's checkpoint, loaded in torchvision", bench.predict(best), bench.torchvision(model))
    stem = torch.equal(tensors["backbone.body.conv1.weight"], state["conv1.weight"].half().float())
    check(stem, "a run's checkpoint: the frozen layers are the classifier's")


def manifest():
    published = tomllib.loads((ROOT / "weights/manifest.toml").read_text())["file"]
    for file in [file for file in published if file["url"].startswith("https://download.pytorch.org/")]:
        family = {"resnet50": "ResNet50", "resnet18": "ResNet18", "resnet34": "ResNet34", "resnet101": "ResNet101",
                  "fasterrcnn_resnet50_fpn": "FasterRCNN_ResNet50_FPN"}
        base, version = (file["name"][:-3], 2) if file["name"].endswith("_v2") else (file["name"], 1)
        if file["kind"] == "detector":
            weight = get_weight(f"{family[base]}{'_V2' if version == 2 else ''}_Weights.COCO_V1")
            figures = f"COCO val2017 box AP {weight.meta['_metrics']['COCO-val2017']['box_map']:.1f}"
        else:
            weight = get_weight(f"{family[base]}_Weights.IMAGENET1K_V{version}")
            metrics = weight.meta["_metrics"]["ImageNet-1K"]
            figures = f"ImageNet top-1 {metrics['acc@1']:.2f} %, top-5 {metrics['acc@5']:.2f} %"
        same = (file["url"], file["size_mib"], file["figures"]) == (weight.url, weight.meta["_file_size"], figures)
        check(same, f"manifest: {file['name']} is as torchvision {torchvision.__version__} has it")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=ROOT / "target/release/faster-rcnn", help="the built program")
    program = parser.parse_args().program
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(pathlib.Path(folder), program)
        manifest()
        detectors(bench)
        classifiers(bench)
        training(bench)
    if failures:
        sys.exit(f"{len(failures)} of the checks failed")


if __name__ == "__main__":
    main()
