"""Data sets, the numbers that pycocotools computes for them, and the numbers of a second DeepPCB metric.

DeepPCB's metric is the ICDAR 2015 text-detection script with an IoU of 0.33 and class names instead of words. Here it
is written a second time from its description, as plainly as possible: matching is done again at every threshold. Both
versions could misread the description in the same way; a comparison with the script itself would show that.

Writes `evaluation.json`. Coordinates are multiples of 1/4 and scores multiples of 1/64, so both are exact in
f32 and scores often tie. Stand-alone: `python evaluation.py [directory]`.
"""

import contextlib
import io
import json
import pathlib
import random
import sys
from importlib.metadata import version

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

SEED = 20
SIZE = 640


# ---------------------------------------------------------------- data sets

def quarter(value: float) -> float:
    return round(value * 4) / 4


def random_box(rng: random.Random, sides=(8, 160)) -> list:
    width, height = quarter(rng.uniform(*sides)), quarter(rng.uniform(*sides))
    x, y = quarter(rng.uniform(0, SIZE - width)), quarter(rng.uniform(0, SIZE - height))
    return [x, y, x + width, y + height]


def moved(rng: random.Random, box: list, amount: float) -> list:
    """The same box found a bit wrongly, each side off by up to `amount` of the box's size."""
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    off = [quarter(rng.uniform(-amount, amount) * side) for side in (width, height, width, height)]
    out = [max(a + b, 0.0) for a, b in zip(box, off)]
    return [out[0], out[1], max(out[2], out[0] + 1), max(out[3], out[1] + 1)]


def random_image(rng, classes, truths=6, extra=4, crowd=0.0, wrong_class=0.1, missed=0.15, sides=(8, 160),
                 levels=64, doubles=0.3) -> dict:
    """Annotations, and detections of most of them among false alarms, in shuffled order."""
    annotations, detections = [], []
    score = lambda: rng.randint(1, levels) / levels
    for _ in range(rng.randint(0, truths)):
        box, label = random_box(rng, sides), rng.choice(classes)
        annotations.append([*box, label, int(rng.random() < crowd)])
        if rng.random() < missed:
            continue
        while True:
            found = rng.choice(classes) if rng.random() < wrong_class else label
            detections.append([*moved(rng, box, rng.choice([0, 0.02, 0.1, 0.3])), found, score()])
            if rng.random() > doubles:
                break
    for _ in range(rng.randint(0, extra)):
        detections.append([*random_box(rng, sides), rng.choice(classes), score()])
    rng.shuffle(detections)
    return {"annotations": annotations, "detections": detections}


def images(rng, count, classes, **options) -> list:
    return [random_image(rng, list(range(1, classes + 1)), **options) for _ in range(count)]


def area_borders(rng) -> list:
    """Areas just below, on and just above 32^2 and 96^2; detections likewise, matched and not."""
    shapes = [(32, 32), (31.75, 32), (32.25, 32), (16, 64), (96, 96), (95.75, 96), (96.25, 96), (48, 192)]
    out = []
    for _ in range(6):
        annotations, detections = [], []
        for width, height in rng.sample(shapes, 5):
            x, y = quarter(rng.uniform(0, 400)), quarter(rng.uniform(0, 400))
            box, label = [x, y, x + width, y + height], rng.randint(1, 2)
            annotations.append([*box, label, int(rng.random() < 0.1)])
            detections.append([*moved(rng, box, rng.choice([0, 0.05])), label, rng.randint(1, 16) / 16])
            width, height = rng.choice(shapes)
            x, y = quarter(rng.uniform(0, 400)), quarter(rng.uniform(0, 400))
            detections.append([x, y, x + width, y + height, label, rng.randint(1, 16) / 16])
        out.append({"annotations": annotations, "detections": detections})
    return out


def crowd_regions(rng) -> list:
    """Big crowd regions with several detections inside, objects within them, and detections half outside."""
    out = []
    for _ in range(8):
        region = [100, 100, 400, 400]
        annotations = [[*region, 1, 1]]
        detections = []
        for _ in range(6):
            x, y = quarter(rng.uniform(60, 380)), quarter(rng.uniform(60, 380))
            box = [x, y, x + 40, y + 40]
            detections.append([*box, rng.choice([1, 1, 2]), rng.randint(1, 16) / 16])
            if rng.random() < 0.4:
                annotations.append([*moved(rng, box, 0.1), 1, int(rng.random() < 0.3)])
        rng.shuffle(annotations)
        out.append({"annotations": annotations, "detections": detections})
    return out


def exact_ious(rng) -> list:
    """A 20 x 20 box found as 20 x k has IoU k/20: every COCO threshold exactly; a 10 x 10 one as 11 x 3 in it: 0.33."""
    out = []
    for k in range(9, 21):
        x, y = rng.randint(0, 300), rng.randint(0, 300)
        truth = [x, y, x + 20, y + 20]
        other = [x + 300, y, x + 400, y + 100]
        out.append({
            "annotations": [[*truth, 1, 0], [*other, 2, 0]],
            "detections": [
                [x, y, x + 20, y + k, 1, (k - 5) / 16],
                [other[0], y, other[2], y + 32 + k % 3, 2, k / 32],  # IoU 0.32, 0.33, 0.34
                [other[0], y, other[2], y + 50, 2, 1 / 64],
            ],
        })
    return out


def own_areas(rng, sets: list) -> list:
    """Objects whose masks fill a part of their boxes, as in COCO's annotations; some have no area of their own."""
    for image in sets:
        for annotation in image["annotations"]:
            if rng.random() < 0.8:
                box_area = (annotation[2] - annotation[0]) * (annotation[3] - annotation[1])
                annotation.append(rng.choice([32 ** 2, 96 ** 2, quarter(box_area * rng.uniform(0.2, 1))]))
    return sets


def no_detections(sets: list) -> list:
    return [{"annotations": image["annotations"], "detections": []} for image in sets]


def no_annotations(sets: list) -> list:
    return [{"annotations": [], "detections": image["detections"]} for image in sets]


def data_sets() -> list:
    """`(name, number of classes, images)`, always the same."""
    rng = random.Random(SEED)
    sets = [
        ("plain", 3, images(rng, 10, 3)),
        ("no detections", 2, no_detections(images(rng, 4, 2))),
        ("no annotations", 2, no_annotations(images(rng, 4, 2))),
        ("nothing at all", 2, [{"annotations": [], "detections": []} for _ in range(3)]),
        ("no images", 2, []),
        ("area borders", 2, area_borders(rng)),
        ("crowd regions", 2, crowd_regions(rng)),
        ("exact IoUs", 2, exact_ious(rng)),
        ("over 100 detections", 2, images(rng, 2, 2, truths=80, extra=200, doubles=0.6) + images(rng, 3, 1, truths=90, extra=150, missed=0.0)),
        ("one score", 2, images(rng, 8, 2, levels=1, doubles=0.6)),
        ("two scores", 3, images(rng, 8, 3, levels=2)),
        ("missing classes", 6, [random_image(rng, [2, 3, 5]) for _ in range(6)]
         + no_annotations([random_image(rng, [1, 2]) for _ in range(2)])
         + no_detections([random_image(rng, [4]) for _ in range(3)])),
        ("empty images", 3, [image for full in images(rng, 5, 3) for image in (full, {"annotations": [], "detections": []})]),
        ("mostly crowd", 3, images(rng, 10, 3, crowd=0.6)),
        ("overlapping objects", 2, images(rng, 6, 2, truths=40, sides=(100, 300), doubles=0.6)),
        ("wrong classes", 6, images(rng, 12, 6, wrong_class=0.6)),
        ("good detector", 6, images(rng, 20, 6, truths=10, extra=1, wrong_class=0.02, missed=0.02, doubles=0.05)),
        ("tiny objects", 3, images(rng, 12, 3, sides=(1, 12))),
        ("large objects", 3, images(rng, 12, 3, sides=(90, 400), crowd=0.1)),
        ("all of it", 5, images(rng, 16, 5, truths=12, extra=12, crowd=0.2, wrong_class=0.3, doubles=0.5)),
        ("own areas", 3, own_areas(rng, images(rng, 16, 3, truths=10, sides=(20, 200), crowd=0.1))),
    ]
    return sets


# ---------------------------------------------------------------- COCO

def coco_object(annotations: list, number_of_images: int, classes: int) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": [{"id": i + 1, "width": SIZE, "height": SIZE} for i in range(number_of_images)],
        "categories": [{"id": c, "name": str(c)} for c in range(1, classes + 1)],
        "annotations": [{"id": i + 1, **a} for i, a in enumerate(annotations)],  # ids from 1: 0 means "unmatched"
    }
    coco.createIndex()
    return coco


def coco_box(box: list, area=None) -> dict:
    x1, y1, x2, y2 = box
    return {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1) if area is None else area}


def mean(values):
    values = values[values > -1]
    return float(np.mean(values)) if len(values) else None


def coco_metrics(sets: list, classes: int) -> dict:
    """The twelve numbers of `COCOeval.summarize`, overall and restricted to each class; None where it has -1."""
    truths = [{"image_id": i + 1, "category_id": a[4], "iscrowd": a[5], **coco_box(a[:4], *a[6:])}
              for i, image in enumerate(sets) for a in image["annotations"]]
    found = [{"image_id": i + 1, "category_id": d[4], "score": d[5], "iscrowd": 0, **coco_box(d[:4])}
             for i, image in enumerate(sets) for d in image["detections"]]
    if not sets:  # COCOeval stops at an index error here; it has no ground truth, so nothing is known
        return {"overall": [None] * 12, "per_class": [[None] * 12] * classes}
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(coco_object(truths, len(sets), classes), coco_object(found, len(sets), classes), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]  # [T, R, K, A, M], [T, K, A, M]

    def twelve(k):
        p, r = precision[:, :, k], recall[:, k]
        return [mean(p[..., 0, 2]), mean(p[0, ..., 0, 2]), mean(p[5, ..., 0, 2]),
                *(mean(p[..., area, 2]) for area in (1, 2, 3)),
                *(mean(r[..., 0, dets]) for dets in (0, 1, 2)),
                *(mean(r[..., area, 2]) for area in (1, 2, 3))]

    overall = [None if s == -1 else float(s) for s in evaluation.stats]
    return {"overall": overall, "per_class": [twelve(slice(k, k + 1)) for k in range(classes)]}


# ---------------------------------------------------------------- DeepPCB

IOU = 0.33
CROWD_SHARE = 0.5


def cut(box: list) -> list:
    return [int(v) for v in box[:4]]


def overlap(a: list, b: list) -> int:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0


def size(a: list) -> int:
    return overlap(a, a)


def iou(a: list, b: list) -> float:
    union = size(a) + size(b) - overlap(a, b)
    return overlap(a, b) / union if union else 0.0


def judge(sets: list, threshold: float, label=None) -> tuple:
    """The number of ground truths, and (score, correct) of every detection that counts, image after image.

    As the script has it: for each ground truth, for each detection by falling score, the first free pair is taken.
    """
    number, verdicts = 0, []
    for image in sets:
        annotations = [a for a in image["annotations"] if label in (None, a[4])]
        regions = [cut(a) for a in annotations if a[5]]
        truths = [a for a in annotations if not a[5]]
        detections = [d for d in image["detections"] if label in (None, d[4]) and d[5] >= threshold]
        detections.sort(key=lambda d: -d[5])  # stable
        detections = [d for d in detections
                      if not any(overlap(cut(d), r) > CROWD_SHARE * size(cut(d)) for r in regions)]
        taken, correct = [False] * len(detections), [False] * len(detections)
        for truth in truths:
            for i, detection in enumerate(detections):
                if not taken[i] and iou(cut(truth), cut(detection)) > IOU:
                    taken[i], correct[i] = True, truth[4] == detection[4]
                    break
        number += len(truths)
        verdicts += [(d[5], c) for d, c in zip(detections, correct)]
    return number, verdicts


def average_precision(number: int, verdicts: list):
    if number == 0:
        return None
    right, total = 0, 0.0
    for n, (_, correct) in enumerate(sorted(verdicts, key=lambda v: -v[0]), 1):
        if correct:
            right += 1
            total += right / n
    return total / number


def f_score(number: int, verdicts: list) -> tuple:
    right = sum(correct for _, correct in verdicts)
    precision = right / len(verdicts) if verdicts else 0.0
    recall = right / number
    return (2 * precision * recall / (precision + recall) if right else 0.0), precision, recall


def deep_pcb_metrics(sets: list, classes: int) -> dict:
    everything = judge(sets, 0.0)
    per_class = [average_precision(*judge(sets, 0.0, c)) for c in range(1, classes + 1)]
    known = [ap for ap in per_class if ap is not None]
    f, precision, recall, threshold = None, None, None, None
    if everything[0]:
        f, precision, recall = f_score(everything[0], [])
        for candidate in sorted({score for score, _ in everything[1]}, reverse=True):
            at = f_score(*judge(sets, candidate))
            if threshold is None or at[0] > f:
                f, precision, recall, threshold = *at, candidate
    return {
        "map": average_precision(*everything),
        "class_mean_ap": sum(known) / len(known) if known else None,
        "f_score": f, "precision": precision, "recall": recall, "threshold": threshold,
        "per_class": per_class,
    }


# ---------------------------------------------------------------- the file

def compact(value):
    """The same without the `.0` of whole numbers, most of the file otherwise."""
    if isinstance(value, dict):
        return {k: compact(v) for k, v in value.items()}
    if isinstance(value, list):
        return [compact(v) for v in value]
    return int(value) if value == int(value) else value


def generate(output_dir: pathlib.Path) -> None:
    """Writes `evaluation.json`, the same bytes every time."""
    sets = []
    for name, classes, pictures in data_sets():
        sets.append({"name": name, "classes": classes, "images": compact(pictures),
                     "coco": coco_metrics(pictures, classes), "deep_pcb": deep_pcb_metrics(pictures, classes)})
    made_by = {"pycocotools": version("pycocotools"), "script": "tests/reference/evaluation.py"}
    output_dir.mkdir(parents=True, exist_ok=True)
    path = output_dir / "evaluation.json"
    path.write_text(json.dumps({"made_by": made_by, "sets": sets}, separators=(",", ":")) + "\n")
    print(f"{path.name}: {path.stat().st_size:,} bytes, {len(sets)} data sets")


if __name__ == "__main__":
    generate(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[1] / "fixtures")
