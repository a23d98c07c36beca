"""A small detector as `faster-rcnn export` writes it, with two images and what torchvision finds in them.

    cargo build --release --bins
    pip install -r tests/reference/requirements.txt -r tests/reference/onnx-requirements.txt
    python tests/reference/exported_detector.py [--program target/release/faster-rcnn]

writes tests/fixtures/onnx/detector.onnx.gz and case.json.gz, which tests/onnx reads. A ResNet-18 has 11 million weights, 45 MB.
So that a repository can hold them, each tensor repeats 1,021 numbers of the generator (weights.py), and all channels of a norm
have the same scale: compressed, this is a hundredth.

ONNX Runtime must find the same before anything is written: boxes within 0.05 pixels, scores within 1e-4.
"""

import argparse
import gzip
import json
import pathlib
import subprocess
import tempfile

import numpy as np
import onnxruntime
import torch
from safetensors.torch import save_file

import weights
from models_v2 import V2_RESNET18, build
from onnx_files import inputs, resized

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "fixtures" / "onnx"
PERIOD = 1021  # a prime: channels differ in where they begin
# Of the first 24 seeds, the one with the highest scores. Above this threshold they lie apart from each other.
SEED, SCORE_THRESHOLD = 2, 0.4


def fill(model, seed):
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            tensor.zero_()
            continue
        offset, bound = weights.rule(name, tensor.shape)
        flat = tensor.view(-1)
        if tensor.dim() == 1 and not name.endswith("bias"):
            flat.fill_(offset)
            continue
        period = weights.unit(f"{seed}:{name}", min(PERIOD, len(flat)))
        values = offset + (2.0 * np.resize(period, len(flat)) - 1.0) * bound
        flat.copy_(torch.from_numpy(values.astype(np.float32)))
    return model.eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=ROOT / "target" / "release" / "faster-rcnn", type=pathlib.Path)
    program = parser.parse_args().program
    config = V2_RESNET18
    model = fill(build(config), SEED)
    model.roi_heads.score_thresh = SCORE_THRESHOLD
    images = [weights.image(*words) for words in config["images"]]
    with torch.no_grad():
        frames, scales = resized(model, images)
        found = model(images)
    feed = inputs(frames)
    height, width = feed["images"].shape[2:]
    with tempfile.TemporaryDirectory() as folder:
        state, path = pathlib.Path(folder) / "detector.safetensors", pathlib.Path(folder) / "detector.onnx"
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, state)
        arguments = config["arguments"]
        settings = {
            "model.transform.min_size": config["min_size"], "model.transform.max_size": config["max_size"],
            "model.roi_heads.score_thresh": SCORE_THRESHOLD,
            "model.rpn.post_nms_top_n_test": arguments["rpn_post_nms_top_n_test"],
        }
        words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        sizes = ["--batch", "2", "--size", f"{height}x{width}"]
        subprocess.run([program, "export", "--weights", state, "--output", path, *sizes, *words], check=True)
        onnx = path.read_bytes()
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    counts, boxes, scores, labels = session.run(["num_detections", "boxes", "scores", "labels"], feed)
    expected = []
    for index, (entry, scale) in enumerate(zip(found, scales)):
        in_frame = entry["boxes"].numpy() * np.array(scale * 2, np.float32)
        count = counts[index]
        assert count == len(in_frame) > 0, (count, len(in_frame))
        assert np.array_equal(labels[index, :count], entry["labels"].numpy())
        assert np.abs(boxes[index, :count] - in_frame).max() <= 0.05
        assert np.abs(scores[index, :count] - entry["scores"].numpy()).max() <= 1e-4
        print(f"image {index}: {count} objects, scores {entry['scores'].min():.3f} to {entry['scores'].max():.3f}")
        expected.append({"boxes": in_frame.flatten().tolist(), "scores": entry["scores"].tolist(), "labels": entry["labels"].tolist()})
    tensor = lambda array: {"shape": list(array.shape), "values": array.flatten().tolist()}
    case = {"images": tensor(feed["images"]), "sizes": tensor(feed["sizes"]), "expected": expected}
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, content in (("detector.onnx", onnx), ("case.json", json.dumps(case).encode())):
        packed = gzip.compress(content, mtime=0)
        (FOLDER / f"{name}.gz").write_bytes(packed)
        print(f"{name}: {len(content)} bytes, {len(packed)} packed")


if __name__ == "__main__":
    main()
