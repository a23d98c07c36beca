#!/usr/bin/env python3
"""Time and peak memory of this crate against torchvision: both sides alternately, in one go, on the same work.

    compare_torchvision.py [CASE...] [--rounds 3] [--threads 2] [--rust FOLDER]
    compare_torchvision.py gpu --device cuda [--tf32] [--bf16] --rust FOLDER
    compare_torchvision.py --torch inference|train|onnxruntime|openvino|start|roi-align|nms|data [--batch N] [--size 640] ...

Without cases it runs them all; `ops` is all of single operations, `data` all of loading, `gpu` all that needs a GPU. The last form is one
measurement of the other side; the others start it, and its Rust counterpart, as subprocesses in turn:

    cargo run --release --example measure -- inference|train|roi-align|nms|data --batch N --iterations K ...

Either prints, as the last line of its standard output, `{"seconds": [one per iteration], "cpu_seconds": [the same,
summed over all threads], "peak_rss_bytes": N, "outcome": [...]}`. One iteration more than K is run; the first is a
warm-up and not in the lists. The outcome is that of the first iteration: the number of detections and the sum of their
scores, the four losses, mean squares, the number of boxes that stay and the sum of their indices, or the number of
images and the sum of their values. Both sides' have to agree to 1e-3, else one of them does other work than the
other, and no time means anything.

The work, on both sides: Faster R-CNN ResNet-50-FPN, 7 classes, weights of the generator with seed 10
(tests/reference/weights.py), images "bench0", "bench1", ... of it, S x S, min_size = max_size = S, f32, two threads.

* inference: frozen batch norms, no gradients, the whole of `model(images)` from image tensors to detections; against
  torchvision, and against ONNX Runtime and OpenVINO, which run the model that torchvision exports for this size;
* export: one runtime on both sides; here with what this crate exports of the same weights for the same size, there with what
  torchvision exports. The number of nodes of both files is printed, too;
* train: 8 boxes per image, forward, backward, one step of SGD with momentum 0.9. The learning rate is 1e-6, so that
  every iteration does the same work. Of the candidates that may be drawn for a loss, the first ones are, not random
  ones. Frozen or batch norm, five or three stages trainable;
* start: a process that reads a detector of 91 classes from a .pth and a 640x640 image from a .png, and prints what it
  finds: the program's `predict`, and a script of a few lines. The time is that of the whole process;
* roi_align_forward, roi_align_backward: MultiScaleRoIAlign of 512 boxes on P2..P5 of a 640x640 image, 256 channels, and
  from the gradient of its output to those of the maps. nms_1000, nms_4000, nms_12000: NMS of so many boxes, IoU 0.7.
  The boxes, inside the image and with sides of 8 to 600 pixels, are the same on both sides (benches/work/boxes.rs).
* data_grey_1, data_grey_2, data_colour_1, data_colour_2: an epoch of the loader with one or two workers, from JPEG files of
  640x640 pixels to floating point numbers in 0..1, [3, H, W] an image, which are summed up. torchvision's loader is that
  of its detection reference: PIL's `convert("RGB")`, `to_tensor`, batches of two images, a list each; its workers stay
  between epochs. Ours ends with `Image::data()`, which training does not need: there the transform takes the bytes. The
  data_tables_grey_1 and so on: ours reads the same files out of a Parquet table that the program made (feature `tables`). The
  grey boards are DeepPCB's, where DEEPPCB_DIR names the folder that holds them, else those of `faster-rcnn synth`; the
  colour ones are the same boards as a camera sees them, at quality 90.

* gpu_...: inference and training of larger batches, RoIAlign and NMS with `--device cuda` on both sides. Images start in the host's
  memory; the device is synchronised in every round. `--tf32` and `--bf16` (autocast) let torch's side compute with fewer digits.
  The sides need not agree then.

On a machine that others use too, wall time says little: a thread that waits in a barrier for one that was descheduled
loses both their time, and OpenMP spins while it waits. The ratio of CPU time is printed for that case; with
`--threads 1`, where nobody waits for anybody, it compares the work itself.

Peak memory is that of the process (`ru_maxrss`): libraries, weights, everything, but not the worker processes of
torchvision's loader. This driver stays small, because
Linux lets a child inherit its parent's peak across exec.

Exit status 1 when a ratio (ours / theirs, medians) is over its bar, 2 when a side fails or they do not agree.
"""

import argparse
import json
import math
import multiprocessing
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
SEED = 10
LOSSES = ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg")
AGREEMENT = 1e-3  # relative; the parity tests ask for 1e-4, of images whose scores are not as close to each other

# By name: other side, mode, arguments of both sides, bars for the ratios of time and memory.
CASES = {
    "inference": ("torch", "inference", {"batch": 1, "iterations": 5}, 0.7, 0.7),
    "inference_onnxruntime": ("onnxruntime", "inference", {"batch": 1, "iterations": 5}, 1.0, None),
    "inference_openvino": ("openvino", "inference", {"batch": 1, "iterations": 5}, 1.0, None),
    "export_onnxruntime": ("onnxruntime", "export", {"batch": 1, "iterations": 5}, 0.9, None),
    "export_openvino": ("openvino", "export", {"batch": 1, "iterations": 5}, 0.9, None),
    "train": ("torch", "train", {"batch": 2, "iterations": 3, "norm": "frozen_batch"}, 0.6, 0.8),
    "train_batch_norm": ("torch", "train", {"batch": 2, "iterations": 3, "norm": "batch"}, 0.6, 0.8),
    "train_fine_tuned": ("torch", "train", {"batch": 2, "iterations": 3, "norm": "frozen_batch", "stages": 3}, 0.6, 0.8),
    "train_320": ("torch", "train", {"batch": 2, "iterations": 5, "norm": "batch", "size": 320}, 0.6, 0.8),
    "start": ("torch", "start", {"iterations": 1}, 0.3, None),
    "roi_align_forward": ("torch", "roi-align", {"iterations": 30}, 0.5, None),
    "roi_align_backward": ("torch", "roi-align", {"iterations": 30, "backward": True}, 0.5, None),
    "nms_1000": ("torch", "nms", {"boxes": 1000, "iterations": 30}, 0.5, None),
    "nms_4000": ("torch", "nms", {"boxes": 4000, "iterations": 30}, 0.5, None),
    "nms_12000": ("torch", "nms", {"boxes": 12000, "iterations": 30}, 0.5, None),
}
CASES |= {
    f"data_{colour}_{workers}": ("torch", "data", {"images": colour, "workers": workers, "batch": 2, "iterations": 3}, 1 / 3, None)
    for colour in ("grey", "colour")
    for workers in (1, 2)
}
CASES |= {case.replace("data", "data_tables"): (other, mode, {**settings, "tables": True}, *bars) for case, (other, mode, settings, *bars) in CASES.items() if mode == "data"}
GPU_CASES = {
    "gpu_inference": ("torch", "inference", {"batch": 1, "iterations": 20}, 1.0, None),
    "gpu_inference_8": ("torch", "inference", {"batch": 8, "iterations": 10}, 1.0, None),
    "gpu_inference_800": ("torch", "inference", {"batch": 1, "size": "800x1333", "iterations": 20}, 1.0, None),
    "gpu_inference_800_8": ("torch", "inference", {"batch": 8, "size": "800x1333", "iterations": 10}, 1.0, None),
    "gpu_train": ("torch", "train", {"batch": 4, "iterations": 10, "stages": 3}, 1.0, None),
}
GPU_CASES |= {f"gpu_{case}": (other, mode, {**settings, "iterations": 100}, 1.0, None) for case, (other, mode, settings, *_) in CASES.items() if mode in ("roi-align", "nms")}
CASES |= GPU_CASES
GROUPS = {
    "gpu": list(GPU_CASES),
    "ops": [case for case, (_, mode, *_) in CASES.items() if mode in ("roi-align", "nms") and case not in GPU_CASES],
    "data": [case for case, (_, mode, *_) in CASES.items() if mode == "data"],
}
BOARDS = 200
WARM_UP_ROUNDS = 5  # on a GPU, as in benches/measure.rs


def height_and_width(size: str) -> tuple:
    """Of `640` or `800x1333`."""
    height, _, width = str(size).partition("x")
    return int(height), int(width or height)


def detector(size, norm: str, stages: int):
    sys.path.insert(0, str(ROOT / "tests" / "reference"))
    import torch
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops import FrozenBatchNorm2d
    from weights import fill

    norms = {"frozen_batch": FrozenBatchNorm2d, "batch": torch.nn.BatchNorm2d}
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, trainable_layers=stages, norm_layer=norms[norm])
    sides = height_and_width(size)
    return fill(FasterRCNN(backbone, num_classes=7, min_size=min(sides), max_size=max(sides)), SEED)


def exported(size: int) -> pathlib.Path:
    """The detector as torchvision exports it for one image of this size, made once."""
    path = pathlib.Path(tempfile.gettempdir()) / f"fasterrcnn_resnet50_fpn_{size}.onnx"
    if not path.exists():
        # In a process of its own: its memory is not to count.
        code = (
            f"import sys; sys.path.insert(0, {str(ROOT / 'benches')!r}); import torch; from compare_torchvision import detector; "
            f"model = detector({size}, 'frozen_batch', 5).eval(); from weights import image; "
            f"torch.onnx.export(model, ([image('bench0', {size}, {size})],), {str(path) + '.part'!r}, opset_version=17, dynamo=False)"
        )
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
        os.replace(str(path) + ".part", path)
    return path


def jpegs(folder: pathlib.Path, colour: str, program: pathlib.Path) -> pathlib.Path:
    """A folder of boards of 640x640 pixels, made once."""
    files = folder / colour
    if files.exists():
        return files
    boards = os.environ.get("DEEPPCB_DIR")
    if boards is None:
        boards = folder / "synthetic"
        if not boards.exists():
            subprocess.run([program, "synth", "--images", str(BOARDS), "--output", boards], check=True)
    paths = sorted(pathlib.Path(boards).rglob("*_test.jpg"))[:BOARDS]
    files.mkdir()
    if colour == "grey":
        for path in paths:
            shutil.copy(path, files / path.name)
    else:
        # In a process of its own: its memory is not to count.
        code = f"import sys; sys.path.insert(0, {str(ROOT / 'benches')!r}); from compare_torchvision import photograph; photograph(*sys.argv[1:])"
        subprocess.run([sys.executable, "-c", code, files, *paths], check=True)
    return files


def tables(files: pathlib.Path, program: pathlib.Path) -> pathlib.Path:
    """The images of a folder in a Parquet table, made once."""
    made = files.with_name(f"{files.name}_tables")
    if not made.exists():
        coco = files.with_name(f"{files.name}_coco")
        coco.mkdir()
        (coco / "images").symlink_to(files)
        images = [{"id": index, "file_name": path.name, "width": 640, "height": 640} for index, path in enumerate(sorted(files.iterdir()))]
        (coco / "boards.json").write_text(json.dumps({"images": images, "categories": [{"id": 1, "name": "defect"}]}))
        subprocess.run([program, "convert", "--data", coco, "--to", "parquet", "--output", made], check=True, stdout=subprocess.DEVNULL)
    return made


def photograph(folder: str, *boards: str):
    """Boards in colour: copper on green, lit from the left, with a sensor's noise."""
    import numpy
    from PIL import Image

    random = numpy.random.default_rng(SEED)
    green, copper = numpy.array([20, 80, 40]), numpy.array([200, 150, 70])
    for board in boards:
        ink = numpy.asarray(Image.open(board).convert("L"))[..., None] / 255
        light = numpy.linspace(1, 0.7, ink.shape[1])[None, :, None]
        noise = random.normal(0, 4, ink.shape) + random.normal(0, 2, (*ink.shape[:2], 3))
        pixels = (green + (copper - green) * ink) * light + noise
        Image.fromarray(pixels.clip(0, 255).astype(numpy.uint8)).save(pathlib.Path(folder) / pathlib.Path(board).name, quality=90)


class Photographs:
    """The images of a folder, as torchvision's detection reference reads them."""

    def __init__(self, folder: str):
        self.paths = sorted(pathlib.Path(folder).iterdir())

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index: int):
        from PIL import Image
        from torchvision.transforms.functional import to_tensor

        return to_tensor(Image.open(self.paths[index]).convert("RGB")), {}


def collate(batch):
    return tuple(zip(*batch))


def exported_here(size: int, program: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """The same detector as the program exports it for one image of this size."""
    weights, path = folder / "detector.safetensors", folder / "detector.onnx"
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'benches')!r}); from compare_torchvision import detector; "
        f"from safetensors.torch import save_file; save_file(detector({size}, 'frozen_batch', 5).state_dict(), {str(weights)!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    sides = [word for name in ("min_size", "max_size") for word in ("--set", f"model.transform.{name}={size}")]
    options = ["--batch", "1", "--size", f"{size}x{size}", "--full-images"]
    subprocess.run([program, "export", "--weights", weights, "--output", path, *options, *sides], check=True, stdout=subprocess.DEVNULL)
    return path


def node_count(path: pathlib.Path) -> int:
    """In a process of its own: its memory is not to count."""
    code = f"import onnx; print(len(onnx.load({str(path)!r}, load_external_data=False).graph.node))"
    return int(subprocess.check_output([sys.executable, "-c", code]))


def measure(arguments) -> dict:
    """One measurement of the other side, in this process."""
    mode, batch, size, iterations, device = arguments.torch, arguments.batch, arguments.size, arguments.iterations, arguments.device
    sys.path.insert(0, str(ROOT / "tests" / "reference"))
    if mode == "onnxruntime":
        import onnxruntime
        from weights import image

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = arguments.threads
        session = onnxruntime.InferenceSession(str(arguments.model or exported(size)), options, providers=["CPUExecutionProvider"])
        pixels = image("bench0", *height_and_width(size)).numpy()
        feed = {session.get_inputs()[0].name: pixels[None] if arguments.model else pixels}
        names = [output.name for output in session.get_outputs()]

        def iteration():
            scores = session.run(names, feed)[2]
            return [int((scores > 0).sum()), float(scores.sum())]  # what this crate exports fills up with zeros
    elif mode == "openvino":
        import openvino
        from weights import image

        settings = {"INFERENCE_NUM_THREADS": arguments.threads, "INFERENCE_PRECISION_HINT": "f32"}
        model = openvino.Core().compile_model(str(arguments.model or exported(size)), "CPU", settings)
        pixels = image("bench0", *height_and_width(size)).numpy()
        feed = [pixels[None] if arguments.model else pixels]

        def iteration():
            scores = model(feed)[2]
            return [int((scores > 0).sum()), float(scores.sum())]
    else:
        import torch
        from weights import image, unit

        torch.set_num_threads(arguments.threads)
        torch.manual_seed(0)
        if mode == "start":
            from torchvision.io import ImageReadMode, decode_image
            from torchvision.models.detection import fasterrcnn_resnet50_fpn

            model = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None).eval()
            model.load_state_dict(torch.load(arguments.weights, weights_only=True))
            with torch.no_grad():
                scores = model([decode_image(arguments.image, ImageReadMode.RGB) / 255])[0]["scores"]
            return {"outcome": [len(scores), scores.sum().item()]}
        if mode == "data":
            torch.set_num_threads(1)  # the sums: several threads would spin beside the workers
            loader = torch.utils.data.DataLoader(
                Photographs(arguments.data), batch_size=batch, num_workers=arguments.workers, collate_fn=collate, persistent_workers=True
            )
            sums = lambda: [image.sum().item() for images, _ in loader for image in images]
            return time_rounds(sums, lambda sums: [len(sums), sum(sums)], iterations)
        if mode in ("roi-align", "nms"):
            return time_rounds(*operation(mode, arguments.boxes, arguments.backward, device), iterations, device)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = arguments.tf32
        model = detector(size, arguments.norm, arguments.stages).to(device)
        height, width = height_and_width(size)
        images = [image(f"bench{i}", height, width) for i in range(batch)]
        autocast = lambda: torch.autocast(device, torch.bfloat16, enabled=arguments.bf16)
        on_device = lambda: [image.to(device) for image in images]
    if mode == "inference":
        model.eval()

        def iteration():
            with torch.no_grad(), autocast():
                scores = torch.cat([detections["scores"] for detections in model(on_device())])
            return [len(scores), scores.sum().item()]
    elif mode == "train":
        from recording import FirstSampler

        model.train()
        for owner in (model.rpn, model.roi_heads):
            sampler = owner.fg_bg_sampler
            owner.fg_bg_sampler = FirstSampler(sampler.batch_size_per_image, sampler.positive_fraction)
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-6, momentum=0.9)
        targets = []
        for i in range(batch):
            # 8 boxes: sides 5 to 30 % of the image's, anywhere inside it; labels 1..6, 1, 2
            u = torch.from_numpy(unit(f"bench{i}/boxes", 32).reshape(8, 4))
            image_sides = torch.tensor([width, height])
            sides = (0.05 + 0.25 * u[:, 2:]) * image_sides
            corner = u[:, :2] * (image_sides - sides)
            boxes = torch.cat([corner, corner + sides], 1).float()
            targets.append({"boxes": boxes.to(device), "labels": (torch.arange(8) % 6 + 1).to(device)})

        def iteration():
            with autocast():
                losses = model(on_device(), targets)
            loss = sum(losses.values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if not torch.isfinite(loss):
                sys.exit("the loss is not finite")
            return [losses[name].item() for name in LOSSES]

    return time_rounds(iteration, lambda outcome: outcome, iterations, "cpu" if mode in ("onnxruntime", "openvino") else device)


def operation(mode: str, count: int, backward: bool, device: str):
    """What runs one of torchvision's operations, and what turns its result into the outcome."""
    import torch
    from collections import OrderedDict
    from torchvision.ops import MultiScaleRoIAlign, nms
    from weights import uniform, unit

    x, y, width, height = torch.from_numpy(unit("boxes", 4 * count).reshape(count, 4)).unbind(1)
    width, height = 8 * 75**width, 8 * 75**height
    x, y = x * (640 - width), y * (640 - height)
    boxes = torch.stack([x, y, x + width, y + height], 1).float().to(device)
    if mode == "nms":
        scores = torch.from_numpy(unit("scores", count)).float().to(device)
        return lambda: nms(boxes, scores, 0.7), lambda kept: [len(kept), kept.sum().item()]
    pool = MultiScaleRoIAlign(["0", "1", "2", "3"], output_size=7, sampling_ratio=2)
    maps = [uniform(f"p{side}", (1, 256, side, side)).to(device).requires_grad_(backward) for side in (160, 80, 40, 20)]
    forward = lambda: pool(OrderedDict((str(level), map_) for level, map_ in enumerate(maps)), [boxes], [(640, 640)])
    if not backward:
        return forward, lambda pooled: [pooled.double().square().mean().item()]
    pooled, grad = forward(), uniform("grad", (count, 256, 7, 7)).to(device)
    return (
        lambda: torch.autograd.grad(pooled, maps, grad, retain_graph=True),
        lambda grads: [grad.double().square().mean().item() for grad in grads],
    )


def cpu_time() -> float:
    """What this process and its children, a loader's workers, have computed so far."""
    ticks = 0
    for child in multiprocessing.active_children():
        statistics_ = pathlib.Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(statistics_[11]) + int(statistics_[12])  # in user mode, and in the kernel
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def time_rounds(iteration, outcome, iterations: int, device: str = "cpu") -> dict:
    """Times the rounds after the first, whose outcome is what the other side has to agree with."""
    outcome = outcome(iteration())
    synchronize = lambda: None
    if device != "cpu":
        import torch

        synchronize = torch.cuda.synchronize
        for _ in range(WARM_UP_ROUNDS):
            iteration()
    synchronize()
    seconds, cpu_seconds = [], []
    for _ in range(iterations):
        start, cpu_start = time.perf_counter(), cpu_time()
        iteration()
        synchronize()
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(cpu_time() - cpu_start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_rss_bytes": peak, "outcome": outcome}


def run(side: str, command: list, environment: dict) -> dict:
    started = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - started
    try:
        if done.returncode:
            raise ValueError(f"exit status {done.returncode}")
        if "predict" in command:
            scores = [found["score"] for image in json.loads(done.stdout) for found in image["detections"]]
            result = {"outcome": [len(scores), sum(scores)]}
        else:
            result = json.loads(done.stdout.strip().splitlines()[-1])
        if "seconds" not in result:  # the whole process is what is timed
            usage = resource.getrusage(resource.RUSAGE_CHILDREN)
            result |= {"seconds": [seconds], "cpu_seconds": [usage.ru_utime + usage.ru_stime - run.cpu_before], "peak_rss_bytes": 0}
        elif not result["seconds"] or not result["cpu_seconds"] or result["peak_rss_bytes"] <= 0:
            raise ValueError("an empty measurement")
        return result
    except (ValueError, IndexError, KeyError, TypeError) as error:
        print(f"{side} side failed ({error!r}): {' '.join(map(str, command))}", file=sys.stderr)
        sys.exit(2)
    finally:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        run.cpu_before = usage.ru_utime + usage.ru_stime


run.cpu_before = 0.0


def start_commands(folder: pathlib.Path, program: pathlib.Path, threads: int) -> dict:
    """Weights and an image on disk, and what is to be run with them."""
    weights, image = folder / "detector.pth", folder / "bench0.png"
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'tests/reference')!r}); import torch; from torchvision.io import write_png; "
        "from torchvision.models.detection import fasterrcnn_resnet50_fpn; from weights import fill, image; "
        f"torch.save(fill(fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None), {SEED}).state_dict(), {str(weights)!r}); "
        f"write_png((image('bench0', 640, 640) * 255).round().to(torch.uint8), {str(image)!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    return {
        "torch": [sys.executable, __file__, "--threads", str(threads), "--torch", "start", "--weights", weights, "--image", image],
        "rust": [program, "predict", "--weights", weights, "--json", "/dev/stdout", image],
    }


def compare(arguments) -> int:
    rust = arguments.rust
    if rust is None:
        subprocess.run(["cargo", "build", "--release", "--features", "tables", "--bins", "--example", "measure"], cwd=ROOT, check=True)
        metadata = subprocess.run(["cargo", "metadata", "--format-version=1", "--no-deps"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
        rust = pathlib.Path(json.loads(metadata.stdout)["target_directory"]) / "release"
    threads = str(arguments.threads)
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads}
    over = []
    with tempfile.TemporaryDirectory() as folder:
        for case in arguments.cases:
            other, mode, settings, time_bar, memory_bar = CASES[case]
            if mode == "start":
                commands = start_commands(pathlib.Path(folder), rust / "faster-rcnn", arguments.threads)
            else:
                if mode == "data":
                    settings = {**settings, "data": jpegs(pathlib.Path(folder), settings["images"], rust / "faster-rcnn")}
                    del settings["images"]
                    in_tables = settings.pop("tables", False)
                work = [word for name, value in settings.items() for word in ([f"--{name}"] if value is True else [f"--{name}", str(value)])]
                torch_mode = mode if other == "torch" else other
                digits = [f"--{name}" for name in ("tf32", "bf16") if getattr(arguments, name)]
                work += ["--device", arguments.device]
                commands = {
                    other: [sys.executable, __file__, "--threads", threads, "--torch", torch_mode, *work, *digits],
                    "rust": [str(rust / "examples" / "measure"), mode, *work],
                }
                if mode == "data" and in_tables:
                    commands["rust"][commands["rust"].index("--data") + 1] = tables(settings["data"], rust / "faster-rcnn")
                if other != "torch":
                    exported(arguments.size)
                if mode == "export":
                    path = exported_here(arguments.size, rust / "faster-rcnn", pathlib.Path(folder))
                    commands["rust"] = [*commands[other], "--model", path]
                    print(f"{case}, nodes: rust {node_count(path)}, torchvision {node_count(exported(arguments.size))}", flush=True)
            agreement = math.inf if arguments.tf32 or arguments.bf16 else AGREEMENT
            over += compare_case(case, commands, arguments.rounds, environment, time_bar, memory_bar, agreement)
    if over:
        print("over the bar: " + ", ".join(over))
    return 1 if over else 0


def compare_case(case: str, commands: dict, rounds: int, environment: dict, time_bar: float, memory_bar, agreement: float) -> list:
    results = {side: [] for side in commands}
    for round_ in range(rounds):
        order = list(commands) if round_ % 2 == 0 else list(commands)[::-1]  # neither side always goes first
        for side in order:
            result = run(side, commands[side], environment)
            results[side].append(result)
            print(f"{case} round {round_ + 1} {side}: median {statistics.median(result['seconds']):.4g} s of "
                  f"{['%.4g' % s for s in result['seconds']]}, peak {result['peak_rss_bytes'] / 2**20:.0f} MiB", flush=True)
    outcomes = {side: rounds[0]["outcome"] for side, rounds in results.items()}
    print(f"{case} outcome: {outcomes}", flush=True)
    if not all(math.isclose(a, b, rel_tol=agreement) for a, b in zip(*outcomes.values(), strict=True)):
        print(f"{case}: the sides do not agree", file=sys.stderr)
        sys.exit(2)

    def median(key):
        return {side: statistics.median(t for r in rounds for t in r[key]) for side, rounds in results.items()}

    if CASES[case][1] == "data":
        rates = {side: outcomes[side][0] / seconds for side, seconds in median("seconds").items()}
        print(f"{case}, images per second: rust {rates['rust']:.0f}, torch {rates['torch']:.0f}", flush=True)
    memory = {s: statistics.median(r["peak_rss_bytes"] for r in rounds) for s, rounds in results.items()}
    rows = [("time", median("seconds"), "s", 1, time_bar), ("CPU time", median("cpu_seconds"), "s", 1, None)]
    if all(memory.values()):
        rows.append(("memory", memory, "MiB", 2**20, memory_bar))
    (other,) = set(results) - {"rust"}
    over = []
    for what, values, unit_, scale, bar in rows:
        ratio = values["rust"] / values[other]
        verdict = "" if bar is None else f" (bar {bar:g}) {'ok' if ratio <= bar else 'OVER THE BAR'}"
        print(f"{case}, {what}: rust {values['rust'] / scale:.4g} {unit_}, {other} {values[other] / scale:.4g} {unit_}, "
              f"ratio {ratio:.2f}{verdict}", flush=True)
        if bar is not None and ratio > bar:
            over.append(f"{case} {what}")
    return over


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join([*CASES, *GROUPS]))
    parser.add_argument("--rust", type=pathlib.Path, help="the target's `release` folder; default: built first")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu or cuda, of both sides")
    parser.add_argument("--tf32", action="store_true", help="for torch's products on the GPU")
    parser.add_argument("--bf16", action="store_true", help="torch's autocast")
    other = parser.add_argument_group("one measurement of the other side")
    other.add_argument("--torch", choices=("inference", "train", "onnxruntime", "openvino", "start", "roi-align", "nms", "data"), metavar="MODE")
    other.add_argument("--batch", type=int, default=1)
    other.add_argument("--size", default="640", help="a side, or HEIGHTxWIDTH")
    other.add_argument("--iterations", type=int, default=3)
    other.add_argument("--norm", choices=("frozen_batch", "batch"), default="frozen_batch")
    other.add_argument("--stages", type=int, default=5)
    other.add_argument("--boxes", type=int, default=512)
    other.add_argument("--backward", action="store_true")
    other.add_argument("--data")
    other.add_argument("--workers", type=int, default=1)
    other.add_argument("--weights")
    other.add_argument("--image")
    other.add_argument("--model", help="a file of `faster-rcnn export`, in place of torchvision's own")
    arguments = parser.parse_args()
    if arguments.torch:
        print(json.dumps(measure(arguments)))
        return 0
    if unknown := set(arguments.cases) - CASES.keys() - GROUPS.keys():
        parser.error(f"no case {', '.join(sorted(unknown))}")
    arguments.cases = [case for name in arguments.cases or CASES if name not in GPU_CASES or arguments.cases for case in GROUPS.get(name, [name])]
    if arguments.rust is not None:
        arguments.rust = arguments.rust.resolve()
    return compare(arguments)


if __name__ == "__main__":
    sys.exit(main())
