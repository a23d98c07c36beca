"""Exported detectors: ONNX Runtime and OpenVINO find what torchvision and this crate find.

    cargo build --release --bins
    pip install -r tests/reference/requirements.txt -r tests/reference/onnx-requirements.txt
    python tests/reference/onnx_files.py [--program target/release/faster-rcnn] [CASE...]

Every file passes onnx.checker with full checks and strict shape inference. Detections of both runtimes are torchvision's:
same count and labels, boxes within 0.05 pixels, scores within 1e-4, for batches of 1, 2 and 5 images of different sizes and
content. Weights are those of the generator (weights.py); the bias of the background decides how much is found.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
import openvino
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.models.detection import fasterrcnn_resnet50_fpn_v2

import models
from full_size_weights import check, compare, failures
from weight_files import v1
from weights import fill, image

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIDES = [(160, 160), (160, 224), (208, 160), (150, 170), (320, 200)]
# What is stored as f16 is rounded by 2^-11. 98 % of the detections have a counterpart of f32 weights within this. The rest are
# those that come or go where another score is as high.
HALF = {"pixels": 1.0, "score": 0.02}


class Bench:
    def __init__(self, folder, program):
        self.folder, self.program = folder, program

    def export(self, model, *arguments):
        """The checked file of a torchvision model, and its number of nodes."""
        weights, path = self.folder / "weights.safetensors", self.folder / "model.onnx"
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, weights)
        self.run("export", "--weights", weights, "--output", path, *arguments)
        onnx.checker.check_model(str(path), full_check=True)
        if "--external-data" not in arguments:
            inferred = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True, data_prop=True)
            assert len(inferred.graph.output) == 4
        return path

    def run(self, *arguments):
        result = subprocess.run([self.program, *map(str, arguments)], capture_output=True, text=True)
        if result.returncode:
            sys.exit(f"{' '.join(map(str, arguments))}: {result.stderr}")
        return result.stdout

    def predict(self, pixels, *arguments):
        """What this crate finds with the weights of the last export, image by image."""
        paths = []
        for index, image_ in enumerate(pixels):
            paths.append(self.folder / f"{index}.png")
            Image.fromarray((image_.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)).save(paths[-1])
        said = self.run("predict", "--weights", self.folder / "weights.safetensors", *arguments, *paths)
        return [entry["detections"] for entry in json.loads(said)]


def resized(model, images):
    """As torchvision resizes them, before it normalises them; and their scales, x and y."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (model.transform.image_mean, model.transform.image_std))
    batch, _ = model.transform(images)
    frames = [(pixels[:, :h, :w] * std + mean).numpy() for pixels, (h, w) in zip(batch.tensors, batch.image_sizes)]
    return frames, [(frame.shape[2] / full.shape[2], frame.shape[1] / full.shape[1]) for frame, full in zip(frames, images)]


def inputs(frames, size=None, u8=False, full=False):
    height, width = size or (max(-(-frame.shape[axis] // 32) * 32 for frame in frames) for axis in (1, 2))
    batch = np.zeros((len(frames), 3, height, width), np.float32)
    for row, frame in zip(batch, frames):
        row[:, : frame.shape[1], : frame.shape[2]] = frame
    batch = (batch * 255).round().astype(np.uint8) if u8 else batch
    return {"images": batch} if full else {"images": batch, "sizes": np.array([frame.shape[1:] for frame in frames])}


def onnx_runtime(path):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda feed: session.run(["num_detections", "boxes", "scores", "labels"], feed)


def open_vino(path):
    # On processors with AMX, OpenVINO computes in bf16 unless it is told otherwise.
    model = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda feed: list(model(feed).values())


RUNTIMES = {"ONNX Runtime": onnx_runtime, "OpenVINO": open_vino}


def detections(outputs, scales):
    """In the form of `predict`; what comes after the last detection must be zero."""
    result = []
    for count, boxes, scores, labels, scale in zip(*outputs, scales):
        assert not (boxes[count:].any() or scores[count:].any() or labels[count:].any()), "rows without a detection are zero"
        boxes = boxes[:count] / np.array(scale * 2, np.float32)
        rows = zip(boxes.tolist(), labels.tolist(), scores.tolist())
        result.append([{"box": box, "label": label, "score": score} for box, label, score in rows])
    return result


def torchvision(model, images):
    with torch.no_grad():
        found = model(images)
    rows = [zip(*(result[key].tolist() for key in ("boxes", "labels", "scores"))) for result in found]
    return [[{"box": box, "label": label, "score": score} for box, label, score in rows_here] for rows_here in rows]


def equal(name, path, model, batches, crate=None, **options):
    for title, runtime in RUNTIMES.items():
        run = runtime(path)
        for images in batches:
            frames, scales = resized(model, images)
            found = detections(run(inputs(frames, **options)), scales)
            compare_even_nothing(f"{name}, {title}, {len(images)} images", found, torchvision(model, images))
            if crate and len(images) == 1:
                compare_even_nothing(f"{name}, {title}, this crate", found, crate(images))


def compare_even_nothing(name, ours, theirs):
    if any(theirs):
        compare(name, ours, theirs)
    else:
        check(not any(ours), f"{name}: nothing is found on either side")


def rounded(name, height, width):
    """An image whose values are bytes."""
    return (image(name, height, width) * 255).round() / 255


def background(model, more):
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.bias[0] += more
    return model


SIZE = {"min_size": 160, "max_size": 256}
SETTINGS = ["--set", "model.transform.min_size=160", "--set", "model.transform.max_size=256"]
RESNET18 = {"backbone": "resnet18", "num_classes": 7, **SIZE, "seed": 10}
IMAGES = [rounded(f"board {index}", *sides) for index, sides in enumerate(SIDES)]
BATCHES = [IMAGES[:1], IMAGES[1:3], IMAGES]


def v1_detector(bench):
    """Full size, 91 classes; more than 100 objects, a few, none."""
    for more, objects in ((0.0, 300), (19.0, 100), (40.0, 100)):
        model = background(fill(v1(91, **SIZE, box_detections_per_img=objects), 1), more).eval()
        settings = [*SETTINGS, "--set", f"model.roi_heads.detections_per_img={objects}"]
        path = bench.export(model, *settings)
        equal(f"v1, background + {more:g}", path, model, BATCHES, lambda images: bench.predict(images, *settings))


def v2_detector(bench):
    model = fill(fasterrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, **SIZE), 3).eval()
    equal("v2", bench.export(model, *SETTINGS), model, BATCHES, lambda images: bench.predict(images, *SETTINGS))


def sizes(bench):
    """Three sizes with one file, and fixed sizes and batches."""
    model = models.build({**RESNET18, "norm": "frozen_batch_norm"}).eval()
    path = bench.export(model, *SETTINGS)
    for side in (96, 160, 288):
        model.transform.min_size, model.transform.max_size = (side,), side * 2
        equal(f"{side} pixels", path, model, [[rounded("a", side, side), rounded("b", side, side + 40)]])
    model.transform.min_size, model.transform.max_size = (160,), 256
    path = bench.export(model, *SETTINGS, "--batch", 2, "--size", "160x224")
    equal("fixed", path, model, [[rounded("a", 160, 160), rounded("b", 160, 224)]], size=(160, 224))
    path = bench.export(model, *SETTINGS, "--input", "u8", "--full-images")
    equal("bytes, full images", path, model, [[rounded("a", 160, 160), rounded("b", 160, 160)]], u8=True, full=True)
    path = bench.export(model, *SETTINGS, "--external-data")
    equal("weights beside the graph", path, model, BATCHES[:1])


def norms(bench):
    model = models.build({**RESNET18, "norm": "group_norm"}).eval()
    equal("group norm", bench.export(model, *SETTINGS, "--set", 'model.norm="group"'), model, BATCHES)
    model = models.build({**RESNET18, "norm": "batch_norm"}).eval()
    equal("batch norm", bench.export(model, *SETTINGS, "--set", 'model.norm="batch"'), model, BATCHES)


def nothing(bench):
    """No proposal at all: no anchor has a score of 1."""
    model = models.build({**RESNET18, "norm": "frozen_batch_norm"}).eval()
    model.rpn.score_thresh = 1.0
    path = bench.export(model, *SETTINGS, "--set", "model.rpn.score_thresh=1.0")
    equal("no proposals", path, model, BATCHES, lambda images: bench.predict(images, *SETTINGS, "--set", "model.rpn.score_thresh=1.0"))


def equal_scores(bench):
    """Of equal scores the first counts, here and there; torchvision leaves the order open. One colour gives many equal scores,
    and weights of zero give nothing else."""
    model = models.build({**RESNET18, "norm": "frozen_batch_norm"}).eval()
    predictor = model.roi_heads.box_predictor
    for name in ("of one colour", "with weights of zero"):
        images = [torch.full((3, 160, 160), 102 / 255)] if name == "of one colour" else IMAGES[:1]
        if name != "of one colour":
            torch.nn.init.zeros_(predictor.cls_score.weight)
            torch.nn.init.zeros_(predictor.cls_score.bias)
        path = bench.export(model, *SETTINGS)
        for title, runtime in RUNTIMES.items():
            frames, scales = resized(model, images)
            found = detections(runtime(path)(inputs(frames)), scales)
            distinct = len({detection["score"] for detection in found[0]})
            compare(f"equal scores, {name}, {title}: {distinct} different ones", found, bench.predict(images, *SETTINGS))


def half(bench):
    """f16 against f32: each detection has a counterpart of its class near it."""
    model = background(fill(v1(91, **SIZE), 1), 3.0).eval()
    frames, scales = resized(model, IMAGES)
    sizes_ = {}
    for title, runtime in RUNTIMES.items():
        found = {}
        for kind, arguments in (("f32", []), ("f16", ["--half"])):
            path = bench.export(model, *SETTINGS, *arguments)
            sizes_[kind] = path.stat().st_size
            found[kind] = detections(runtime(path)(inputs(frames)), scales)
        pixels, scores, alone, count = 0.0, 0.0, 0, 0
        for ours, theirs in zip(found["f16"], found["f32"]):
            for detection in ours:
                same = [other for other in theirs if other["label"] == detection["label"]]
                far = lambda other: max(abs(a - b) for a, b in zip(detection["box"], other["box"]))
                near = min(same, key=far, default=None)
                count += 1
                if near is None or far(near) > HALF["pixels"] or abs(near["score"] - detection["score"]) > HALF["score"]:
                    alone += 1
                    continue
                pixels, scores = max(pixels, far(near)), max(scores, abs(near["score"] - detection["score"]))
        check(
            alone <= count * 0.02 and count > 100 and sizes_["f16"] < 0.51 * sizes_["f32"],
            f"f16, {title}: {count} detections, {alone} alone, at most {pixels:.2f} pixels and {scores:.4f} of score apart; "
            f"{sizes_['f16'] / 1e6:.0f} of {sizes_['f32'] / 1e6:.0f} MB",
        )


def example(bench):
    """The program of examples/onnx finds what `predict` finds, in an image that is resized."""
    model = models.build({**RESNET18, "norm": "frozen_batch_norm"}).eval()
    path = bench.export(model, *SETTINGS)
    images = [rounded("example", 333, 250)]
    theirs = bench.predict(images, *SETTINGS)
    said = subprocess.check_output([sys.executable, ROOT / "examples/onnx/detect.py", path, bench.folder / "0.png"], text=True)
    found = [json.loads(line) for line in said.splitlines()]
    ours = [[{"box": row["box"], "label": int(row["name"]), "score": row["score"]} for row in found]]
    compare("examples/onnx/detect.py", ours, theirs)


def exclusive(bench):
    """Classes that exclude each other, which torchvision does not know: as this crate does it."""
    model = models.build({**RESNET18, "norm": "frozen_batch_norm"}).eval()
    settings = [*SETTINGS, "--set", "model.roi_heads.exclusive_iou=0.3"]
    path = bench.export(model, *settings)
    for title, runtime in RUNTIMES.items():
        run = runtime(path)
        for images in [[image_] for image_ in IMAGES]:
            frames, scales = resized(model, images)
            ours = bench.predict(images, *settings)
            compare(f"exclusive classes, {title}", detections(run(inputs(frames)), scales), ours)
            check(ours != bench.predict(images, *SETTINGS), "exclusive classes change what is found")


CASES = {case.__name__: case for case in (v1_detector, v2_detector, sizes, norms, nothing, equal_scores, half, exclusive, example)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=ROOT / "target/release/faster-rcnn", help="the built program")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(pathlib.Path(folder), arguments.program)
        for case in arguments.cases or CASES:
            CASES[case](bench)
    if failures:
        sys.exit(f"{len(failures)} of the checks failed")


if __name__ == "__main__":
    main()
