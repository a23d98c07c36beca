"""Other programs read the data sets that we write, and we read theirs.

    python3 -m venv ~/.cache/formats
    ~/.cache/formats/bin/pip install -r tests/reference/formats-requirements.txt
    cargo build --release
    ~/.cache/formats/bin/python tests/reference/formats.py                 # boxes, by pycocotools and supervision
    ~/.cache/formats/bin/python tests/reference/formats.py --scale         # a JSON as large as COCO's train2017
    ~/.cache/formats/bin/python tests/reference/formats.py --fixtures      # writes tests/fixtures/formats

Each line says what was compared. The exit status is 1 where something differs.
"""

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests/fixtures/formats"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PROGRAM = Path(os.environ.get("PROGRAM", TARGET / "release/faster-rcnn"))
NAMES = ["open", "short", "mousebite", "spur", "copper", "pin-hole"]
failures = 0


def run(*arguments):
    result = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{' '.join(map(str, arguments))}: {result.stderr}")
    return result.stdout


def compare(what, found, expected, tolerance):
    """Both: image name to a list of (class name, x1, y1, x2, y2)."""
    global failures
    worst, boxes = 0.0, 0
    ok = found.keys() == expected.keys()
    for name in expected.keys() & found.keys():
        ours, theirs = sorted(found[name]), sorted(expected[name])
        ok &= [box[0] for box in ours] == [box[0] for box in theirs]
        if len(ours) == len(theirs):
            for a, b in zip(ours, theirs):
                worst = max(worst, *(abs(x - y) for x, y in zip(a[1:], b[1:])))
                boxes += 1
    ok &= worst <= tolerance
    failures += not ok
    print(f"{'ok  ' if ok else 'FAIL'} {what}: {len(expected)} images, {boxes} boxes, at most {worst:.2g} px apart")


def deep_pcb(folder):
    """The boards of `faster-rcnn synth`, read by hand."""
    boards = {}
    for labels in Path(folder).glob("group*/*_not/*.txt"):
        boxes = []
        for line in labels.read_text().splitlines():
            *box, label = line.split()
            boxes.append((NAMES[int(label) - 1], *map(float, box)))
        boards[f"{labels.stem}_test.jpg"] = boxes
    return boards


def of_coco(files):
    """By pycocotools."""
    from pycocotools.coco import COCO

    boards = {}
    for file in files:
        with open(os.devnull, "w") as quiet:
            out, sys.stdout = sys.stdout, quiet
            coco = COCO(str(file))
            sys.stdout = out
        for image in coco.imgs.values():
            boxes = []
            for annotation in coco.loadAnns(coco.getAnnIds(imgIds=image["id"])):
                x, y, w, h = annotation["bbox"]
                boxes.append((coco.cats[annotation["category_id"]]["name"], x, y, x + w, y + h))
            boards[Path(image["file_name"]).name] = boxes
    return boards


def of_supervision(*data_sets):
    boards = {}
    for data in data_sets:
        for path, _, detections in data:
            boards[Path(path).name] = [
                (data.classes[label], *xyxy) for xyxy, label in zip(detections.xyxy.tolist(), detections.class_id)
            ]
    return boards


def exchange(folder, images=20, size=320):
    import supervision as sv

    boards = folder / "boards"
    run("synth", "--output", boards, "--images", images, "--seed", 5, "--size", size)
    expected = deep_pcb(boards)
    for form in ("coco", "voc", "yolo"):
        run("convert", "--data", boards, "--to", form, "--output", folder / form)

    sides = ("train", "test")
    files = [folder / f"coco/annotations/instances_{side}.json" for side in sides]
    compare("our COCO read by pycocotools", of_coco(files), expected, 1e-3)
    images = [str(folder / f"coco/images/{side}") for side in sides]
    read = [sv.DetectionDataset.from_coco(i, str(f)) for i, f in zip(images, files)]
    # supervision keeps boxes as f32 and masks out nothing.
    compare("our COCO read by supervision", of_supervision(*read), expected, 1e-3)
    # supervision does not look into folders of a folder.
    def leaves(folder):
        return sorted({path.parent for path in folder.rglob("*.jpg")})

    yolo = folder / "yolo"
    read = [
        sv.DetectionDataset.from_yolo(str(i), str(yolo / "labels" / i.relative_to(yolo / "images")), str(yolo / "data.yaml"))
        for i in leaves(yolo / "images")
    ]
    compare("our YOLO read by supervision", of_supervision(*read), expected, 1e-3)
    voc = folder / "voc"
    read = [
        sv.DetectionDataset.from_pascal_voc(str(i), str(voc / "Annotations" / i.relative_to(voc / "JPEGImages")))
        for i in leaves(voc / "JPEGImages")
    ]
    compare("our VOC read by supervision", of_supervision(*read), expected, 1e-3)

    # What supervision writes, read by us and given back as COCO. It has one side.
    theirs = folder / "theirs"
    merged = sv.DetectionDataset.merge(read)
    expected = of_supervision(merged)
    merged.as_coco(str(theirs / "coco/images"), str(theirs / "coco/annotations/instances_default.json"))
    merged.as_yolo(str(theirs / "yolo/images"), str(theirs / "yolo/labels"), str(theirs / "yolo/data.yaml"))
    (theirs / "yolo/data.yaml").write_text((theirs / "yolo/data.yaml").read_text() + "\ntrain: images\n")
    merged.as_pascal_voc(str(theirs / "voc/JPEGImages"), str(theirs / "voc/Annotations"))
    for form, rounding in (("coco", 1e-3), ("yolo", 1e-2), ("voc", 1e-3)):
        run("convert", "--data", theirs / form, "--to", "coco", "--output", theirs / f"{form}-ours")
        found = of_coco(sorted((theirs / f"{form}-ours/annotations").glob("*.json")))
        compare(f"supervision's {form} read by us", found, expected, rounding)
    return theirs


def fixtures(folder):
    """Keeps small data sets that supervision wrote, and what is in them."""
    theirs = exchange(folder, images=3, size=128)
    shutil.rmtree(FIXTURES, ignore_errors=True)
    for form in ("coco", "yolo", "voc"):
        shutil.copytree(theirs / form, FIXTURES / form)
    boards = {name: sorted(boxes) for name, boxes in sorted(deep_pcb(folder / "boards").items())}
    (FIXTURES / "expected.json").write_text(json.dumps(boards, indent=1) + "\n")
    print(f"wrote {FIXTURES.relative_to(ROOT)}")


def big_json(folder, images, annotations):
    """As large as train2017's: polygons of about 100 numbers, and a file for each image."""
    rng = random.Random(0)
    (folder / "images").mkdir(parents=True)
    first = folder / "images/000000000000.jpg"
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(first)
    for index in range(1, images):
        path = folder / f"images/{index:012}.jpg"
        if index % 60_000 == 0:  # a file system has a limit of links
            first = Path(shutil.copy(first, path))
        else:
            os.link(first, path)
    (folder / "annotations").mkdir()
    path = folder / "annotations/instances_train2017.json"
    with path.open("w") as file:
        file.write('{"info": {"year": 2017}, "images": [')
        file.write(", ".join(
            f'{{"license": 3, "file_name": "{i:012}.jpg", "coco_url": "http://images.example.org/{i:012}.jpg",'
            f' "height": 64, "width": 64, "date_captured": "2013-11-14 11:18:45", "id": {i * 5 + 3}}}'
            for i in range(images)
        ))
        file.write('], "annotations": [')
        for index in range(annotations):
            x, y = rng.uniform(0, 40), rng.uniform(0, 40)
            w, h = rng.uniform(1, 20), rng.uniform(1, 20)
            polygon = ", ".join(f"{rng.uniform(0, 64):.2f}" for _ in range(60))
            file.write(", " if index else "")
            file.write(
                f'{{"segmentation": [[{polygon}]], "area": {w * h:.4f}, "iscrowd": 0,'
                f' "image_id": {rng.randrange(images) * 5 + 3}, "bbox": [{x:.2f}, {y:.2f}, {w:.2f}, {h:.2f}],'
                f' "category_id": {rng.randrange(80) + 1}, "id": {index + 1}}}'
            )
        file.write('], "categories": [')
        file.write(", ".join(f'{{"supercategory": "x", "id": {i + 1}, "name": "class {i}"}}' for i in range(80)))
        file.write("]}")
    return path


def measured(command):
    """Seconds and MiB of a process that ends by itself."""
    before = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - before
    if status:
        sys.exit(f"{command}: status {status}")
    return seconds, usage.ru_maxrss / 1024


def scale(folder, images, annotations):
    path = big_json(folder / "data", images, annotations)
    print(f"{path.stat().st_size / 2**20:.0f} MiB, {images} images, {annotations} annotations")
    ours, theirs = [], []
    for _ in range(3):
        theirs.append(measured([sys.executable, "-c", f"from pycocotools.coco import COCO; COCO({str(path)!r})"]))
        ours.append(measured([PROGRAM, "stats", "--data", path]))
    for name, runs in (("pycocotools", theirs), ("faster-rcnn stats", ours)):
        print(f"{name}: " + "; ".join(f"{seconds:.2f} s, {memory:.0f} MiB" for seconds, memory in runs))
    ratio = [min(run[i] for run in ours) / min(run[i] for run in theirs) for i in (0, 1)]
    print(f"ours to theirs: time {ratio[0]:.2f}, memory {ratio[1]:.2f} (at most 0.5)")

    # Training begins when the run's folder appears; before that, the data set is read and checked.
    output = folder / "run"
    settings = ["model.backbone=resnet18", "model.fpn_channels=16", "model.roi_heads.representation_size=16"]
    settings = [word for setting in settings for word in ("--set", setting)]
    before = time.perf_counter()
    log = folder / "log"
    with log.open("w") as file:
        command = [PROGRAM, "train", "-v", "--data", path, "--output", output, *settings]
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    metrics = output / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size):
        if process.poll() is not None:
            sys.exit(log.read_text())
        time.sleep(0.02)
    print(f"train: its first step was done {time.perf_counter() - before:.2f} s after the program was started")
    process.kill()
    process.wait()
    for line in log.read_text().splitlines():
        if "read a data set" in line or "images to train on" in line:
            print("  " + line.strip()[:160])
    global failures
    failures += max(ratio) > 0.5


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", action="store_true")
    parser.add_argument("--fixtures", action="store_true")
    parser.add_argument("--images", type=int, default=118_000)
    parser.add_argument("--annotations", type=int, default=860_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.scale:
            scale(Path(folder), arguments.images, arguments.annotations)
        elif arguments.fixtures:
            fixtures(Path(folder))
        else:
            exchange(Path(folder))
    sys.exit(failures > 0)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
