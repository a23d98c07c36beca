"""Op fixtures: every op and pipeline step of torchvision's detector on small random and awkward input.

`ops.json` lists the cases: `{"cases": {"<op>/<case>": {"params": {..}, "inputs": {name: key}, "outputs": {name: key}}}}`
where `key` is a tensor of `ops.safetensors`: `<op>/<case>/input.<name>`,
`<op>/<case>/output.<name>`, or `<op>/<name>` where several cases share it. f32 throughout; indices, labels and
counts are i64. Booleans and scalars are in `params`; expected scalars are tensors of shape [].
"""

import itertools
import math

import numpy as np
import torch
from torch.nn import functional as F
from torchvision.models.detection import _utils as det_utils
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.models.detection.rpn import RegionProposalNetwork, concat_box_prediction_layers
from torchvision.models.detection.transform import GeneralizedRCNNTransform, resize_boxes
from torchvision.ops import MultiScaleRoIAlign, batched_nms, boxes as box_ops, nms, roi_align
from torchvision.ops.poolers import LevelMapper

from recording import FirstSampler, write
from weights import image, uniform, unit

tensors, cases = {}, {}


def put(key, tensor):
    assert key not in tensors, key
    if tensor.dtype not in (torch.float32, torch.int64):
        tensor = tensor.to(torch.int64)
    tensors[key] = tensor.detach().clone()
    return key


def case(name, params, inputs, outputs):
    """Inputs and outputs are tensors, or the key of one that is stored already."""
    assert name not in cases, name
    cases[name] = {"params": params}
    for side, group in (("input", inputs), ("output", outputs)):
        keys = {k: v if isinstance(v, str) else put(f"{name}/{side}.{k}", v) for k, v in group.items()}
        assert all(key in tensors for key in keys.values()), keys
        cases[name][f"{side}s"] = keys


def random_boxes(name, count, width, height, smallest=4.0, largest=None):
    """Boxes inside width x height; sides between `smallest` and `largest` (default: a third of the image)."""
    u = unit(name, count * 4).reshape(count, 4)
    largest = largest or min(width, height) / 3
    w, h = (smallest + u[:, i] * (largest - smallest) for i in (2, 3))
    x, y = u[:, 0] * (width - w), u[:, 1] * (height - h)
    return torch.from_numpy(np.stack([x, y, x + w, y + h], 1)).float()


def distinct_scores(name, count, low=0.0, high=1.0):
    """A random order of evenly spaced values: no two within (high - low) / count of each other."""
    order = torch.from_numpy(unit(name, count)).argsort(stable=True).argsort(stable=True)
    return ((order.double() + 0.5) / count * (high - low) + low).float()


def box_coder():
    references, proposals = random_boxes("gt", 12, 300, 200), random_boxes("proposals", 12, 300, 200)
    degenerate_gt = torch.tensor([[5.0, 5, 5, 9], [5, 5, 9, 5], [1, 1, 3, 3]])
    degenerate_proposal = torch.tensor([[1.0, 1, 3, 3], [1, 1, 3, 3], [7, 7, 7, 7]])
    put("box_coder/references", references)
    put("box_coder/proposals", proposals)
    for weights in [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)]:
        coder, tag = det_utils.BoxCoder(weights), f"weights_{int(weights[0])}"
        params = {"weights": weights}
        shared = {"reference_boxes": "box_coder/references", "proposals": "box_coder/proposals"}
        case(f"box_coder_encode/{tag}", params, shared, {"deltas": coder.encode_single(references, proposals)})
        # a size of zero gives infinities and NaN
        case(f"box_coder_encode/degenerate_{tag}", params,
             {"reference_boxes": degenerate_gt, "proposals": degenerate_proposal},
             {"deltas": coder.encode_single(degenerate_gt, degenerate_proposal)})
        deltas = uniform(f"deltas{tag}", (12, 3 * 4), -1, 1) * torch.tensor(weights).repeat(3)
        case(f"box_coder_decode/three_classes_{tag}", params, {"deltas": deltas, "proposals": "box_coder/proposals"},
             {"boxes": coder.decode(deltas, [proposals])})
        clip = math.log(1000 / 16)
        extreme = torch.tensor([[0.1, -0.2, 4.0, 4.2], [0, 0, clip, clip], [0, 0, 5, -5], [0, 0, 100, 1],
                                [3, -3, -100, 4.13], [0.5, 0.5, 1, 1], [0.5, 0.5, 9, 9]]) * torch.tensor(weights)
        boxes = torch.cat([proposals[:5], torch.tensor([[10.0, 20, 10, 20], [10, 20, 10, 30]])])  # last two: zero size
        case(f"box_coder_decode/clamp_and_zero_size_{tag}", params, {"deltas": extreme, "proposals": boxes},
             {"boxes": coder.decode(extreme, [boxes])})
        case(f"box_coder_decode/none_{tag}", params, {"deltas": torch.zeros(0, 4), "proposals": torch.zeros(0, 4)},
             {"boxes": coder.decode(torch.zeros(0, 4), [torch.zeros(0, 4)]).reshape(0, 1, 4)})


def iou_and_boxes():
    a, b = random_boxes("iou_a", 9, 100, 100), random_boxes("iou_b", 13, 100, 100)
    a = torch.cat([a, b[:2], torch.tensor([[3.0, 3, 3, 3], [10, 10, 10, 20]])])
    # both of zero area: NaN in torchvision
    case("box_iou/random_equal_and_empty", {}, {"a": a, "b": torch.cat([b, torch.tensor([[3.0, 3, 3, 3]])])},
         {"iou": box_ops.box_iou(a, torch.cat([b, torch.tensor([[3.0, 3, 3, 3]])]))})
    wild = uniform("clip", (16, 4), -80, 180)
    case("clip_boxes_to_image/random", {"height": 60, "width": 100}, {"boxes": wild},
         {"boxes": box_ops.clip_boxes_to_image(wild, (60, 100))})
    sides = torch.tensor([[0, 0, 1e-3, 1], [0, 0, 0.9e-3, 1], [0, 0, 1.1e-3, 1], [0, 0, 0.0, 0], [5, 5, 9, 5], [1, 1, 4, 4]])
    case("remove_small_boxes/border", {"min_size": 1e-3}, {"boxes": sides}, {"keep": box_ops.remove_small_boxes(sides, 1e-3)})


def matcher():
    gt = random_boxes("match_gt", 40, 400, 300, 10)
    near = gt.repeat(4, 1) + uniform("match_jitter", (160, 4), -12, 12)
    predictions = torch.cat([near, random_boxes("match_far", 60, 400, 300, 10)])
    random = box_ops.box_iou(gt, predictions)
    ties = torch.tensor([  # gt 0 and 1 tie on several predictions; gt 2 overlaps none; gt 3 best below the low threshold
        [0.75, 0.75, 0.20, 0.50, 0.30, 0.00, 0.10, 0.70, 0.0, 0.25],
        [0.75, 0.60, 0.20, 0.50, 0.30, 0.00, 0.20, 0.69, 0.0, 0.10],
        [0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.0, 0.00],
        [0.10, 0.00, 0.20, 0.00, 0.00, 0.15, 0.20, 0.00, 0.0, 0.00],
    ])
    single = random[:1]
    for name, quality in [("random", random), ("ties", ties), ("single_gt", single), ("all_zero", torch.zeros(2, 5))]:
        put(f"matcher/{name}_quality", quality)
        for high, low, allow in [(0.7, 0.3, True), (0.5, 0.5, False)]:
            matches = det_utils.Matcher(high, low, allow)(quality.clone())
            tag = "rpn" if allow else "roi"
            # of equal qualities the ground truth with the lowest index wins
            case(f"matcher/{name}_{tag}", {"high": high, "low": low, "allow_low_quality": allow},
                 {"quality": f"matcher/{name}_quality"}, {"matches": matches})
    # whole step, with and without ground truth
    labels = (torch.arange(40) % 6) + 1
    empty, no_labels = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    rpn, roi = small_rpn(), small_roi_heads()
    put("assign/gt_boxes", gt)
    put("assign/gt_labels", labels)
    put("assign/boxes", predictions)
    put("assign/no_boxes", empty)
    put("assign/no_labels", no_labels)
    for name, keys, boxes, classes in [("many", ("gt_boxes", "gt_labels"), gt, labels), ("no_gt", ("no_boxes", "no_labels"), empty, no_labels)]:
        got, matched = rpn.assign_targets_to_anchors([predictions], [{"boxes": boxes}])
        case(f"assign_targets_to_anchors/{name}", {"fg": 0.7, "bg": 0.3},
             {"anchors": "assign/boxes", "gt_boxes": f"assign/{keys[0]}"},
             {"labels": got[0], "matched_gt_boxes": matched[0]})
        idx, got = roi.assign_targets_to_proposals([predictions], [boxes], [classes])
        case(f"assign_targets_to_proposals/{name}", {"fg": 0.5, "bg": 0.5},
             {"proposals": "assign/boxes", "gt_boxes": f"assign/{keys[0]}", "gt_labels": f"assign/{keys[1]}"},
             {"matched_idxs": idx[0], "labels": got[0]})


def anchors():
    sizes, ratios = ((32,), (64,), (128,), (256,), (512,)), ((0.5, 1.0, 2.0),) * 5
    generator = AnchorGenerator(sizes, ratios)
    case("cell_anchors/default", {"sizes": sizes, "ratios": ratios[0]}, {}, {f"level{i}": c for i, c in enumerate(generator.cell_anchors)})
    odd = AnchorGenerator(((16, 24), (90,)), ((0.33, 0.7, 3.0), (1.5,)))
    case("cell_anchors/two_sizes_odd_ratios", {"sizes": odd.sizes, "ratios": odd.aspect_ratios}, {}, {f"level{i}": c for i, c in enumerate(odd.cell_anchors)})

    def run(name, padded, grids, whole):
        features = [torch.zeros(1, 1, *g) for g in grids]
        out = generator(ImageList(torch.zeros(1, 3, *padded), [padded]), features)[0]
        params = {"padded_image": padded, "grids": grids, "strides": [[padded[0] // g[0], padded[1] // g[1]] for g in grids], "count": len(out)}
        if whole:
            outputs = {"anchors": out}
        else:
            stride = len(out) // 200
            params["row_stride"] = stride  # rows 0, stride, 2 stride, ...
            outputs = {"rows": out[::stride], "column_sums": out.double().sum(0).float()}
        case(f"anchors/{name}", params, {}, outputs)

    run("small", (64, 96), [(16, 24), (8, 12), (4, 6), (2, 3), (1, 2)], False)
    run("tiny", (32, 64), [(3, 5), (2, 4), (1, 2), (1, 1), (1, 1)], True)  # strides that are no powers of two
    run("deep_pcb", (640, 640), [(160, 160), (80, 80), (40, 40), (20, 20), (10, 10)], False)
    run("coco", (800, 1088), [(200, 272), (100, 136), (50, 68), (25, 34), (13, 17)], False)  # 25 -> 13: stride 61


def level_mapping():
    boxes = []
    for side in (56.0, 112.0, 224.0, 448.0):
        boxes += [[0, 0, side, side], [3, 5, 3 + side * 2, 5 + side / 2], [0, 0, side, side - 0.001], [0, 0, side, side + 0.001],
                  [0, 0, side, side - side * 2**-22], [0.5, 0.25, side + 0.5, side + 0.25]]
    boxes += [[0, 0, 1, 1], [0, 0, 1e-3, 1e-3], [0, 0, 5000, 5000], [7, 7, 7, 9], [7, 7, 7, 7]]
    boxes = torch.cat([torch.tensor(boxes), random_boxes("levels", 60, 1300, 800, 5, 700)])
    for lo, hi in [(2, 5), (3, 4)]:
        case(f"level_mapper/k{lo}_{hi}", {"k_min": lo, "k_max": hi, "canonical_scale": 224, "canonical_level": 4, "eps": 1e-6},
             {"boxes": boxes}, {"levels": LevelMapper(lo, hi)([boxes])})


def suppression():
    boxes = random_boxes("nms", 200, 100, 100, 10)
    scores = distinct_scores("nms_scores", 200)
    put("nms/boxes", boxes)
    put("nms/scores", scores)
    for threshold in (0.3, 0.5, 0.7):
        case(f"nms/random_{int(threshold * 10)}", {"iou_threshold": threshold}, {"boxes": "nms/boxes", "scores": "nms/scores"}, {"keep": nms(boxes, scores, threshold)})
    # equal scores: the order is stable, lower index first (torchvision sorts with stable=True on the CPU)
    tied = (scores * 4).floor() / 4
    case("nms/equal_scores", {"iou_threshold": 0.5}, {"boxes": "nms/boxes", "scores": tied}, {"keep": nms(boxes, tied, 0.5)})
    case("nms/all_scores_equal", {"iou_threshold": 0.5}, {"boxes": "nms/boxes", "scores": torch.full((200,), 0.5)}, {"keep": nms(boxes, torch.full((200,), 0.5), 0.5)})
    same = torch.tensor([[1.0, 2, 30, 40]]).repeat(7, 1)
    case("nms/identical_boxes", {"iou_threshold": 0.5}, {"boxes": same, "scores": scores[:7]}, {"keep": nms(same, scores[:7], 0.5)})
    case("nms/identical_boxes_threshold_1", {"iou_threshold": 1.0}, {"boxes": same, "scores": scores[:7]}, {"keep": nms(same, scores[:7], 1.0)})
    # two boxes of zero area: IoU is 0/0 = NaN, NaN > threshold is false, both stay
    flat = torch.tensor([[5.0, 5, 5, 5], [5, 5, 5, 5], [0, 0, 10, 10], [2, 2, 2, 8], [0, 0, 10, 10]])
    case("nms/zero_area", {"iou_threshold": 0.5}, {"boxes": flat, "scores": scores[:5]}, {"keep": nms(flat, scores[:5], 0.5)})
    case("nms/zero_area_threshold_0", {"iou_threshold": 0.0}, {"boxes": flat, "scores": scores[:5]}, {"keep": nms(flat, scores[:5], 0.0)})
    # IoU is computed in f32 and compared, as f64, with an f64 threshold: n/10 in f32 is above 0.1, 0.2, 0.3, 0.6, 0.8
    # (suppressed) but not above 0.5, 0.7, 0.9, 0.4 (kept)
    for n in range(1, 10):
        pair = torch.tensor([[0.0, 0, 10, 1], [0, 0, n, 1]])
        case(f"nms/iou_exactly_{n}_tenths", {"iou_threshold": n / 10}, {"boxes": pair, "scores": torch.tensor([0.9, 0.8])}, {"keep": nms(pair, torch.tensor([0.9, 0.8]), n / 10)})
    case("nms/none", {"iou_threshold": 0.5}, {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0)}, {"keep": nms(torch.zeros(0, 4), torch.zeros(0), 0.5)})

    classes = (torch.from_numpy(unit("nms_classes", 200)) * 4).long()
    # up to 1000 boxes torchvision shifts each class by class * (max coordinate + 1) in f32, above it works class by class;
    # both give this order: decreasing score over all classes
    case("batched_nms/random", {"iou_threshold": 0.5}, {"boxes": "nms/boxes", "scores": "nms/scores", "classes": classes}, {"keep": batched_nms(boxes, scores, classes, 0.5)})
    case("batched_nms/one_class", {"iou_threshold": 0.5}, {"boxes": "nms/boxes", "scores": "nms/scores", "classes": torch.full((200,), 3)}, {"keep": batched_nms(boxes, scores, torch.full((200,), 3), 0.5)})
    big, big_scores = random_boxes("nms_big", 1100, 300, 200, 10), distinct_scores("nms_big_scores", 1100)
    big_classes = (torch.from_numpy(unit("nms_big_classes", 1100)) * 5).long()
    case("batched_nms/over_1000", {"iou_threshold": 0.5}, {"boxes": big, "scores": big_scores, "classes": big_classes}, {"keep": batched_nms(big, big_scores, big_classes, 0.5)})
    case("batched_nms/none", {"iou_threshold": 0.5}, {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "classes": torch.zeros(0).long()}, {"keep": batched_nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long(), 0.5)})


def pooling():
    features = uniform("roi_align/features", (2, 3, 13, 18))
    put("roi_align/input", features)
    rois = {  # in feature coordinates, multiplied by 1 / spatial_scale below
        "inside": [[0, 1.3, 2.1, 9.7, 8.4], [1, 0.0, 0.0, 18.0, 13.0], [1, 4.25, 3.5, 6.75, 11.125], [0, 10.1, 1.2, 12.9, 12.3]],
        "awkward": [
            [0, -5.5, -4.2, 6.1, 5.3],  # left of and above the image
            [1, 12.4, 8.6, 30.2, 25.1],  # right of and below
            [0, 40.0, 40.0, 60.0, 50.0],  # wholly outside: zeros
            [1, -30.0, -20.0, -10.0, -8.0],  # wholly outside
            [0, 5.0, 5.0, 5.0, 5.0],  # zero area: size 1 when not aligned
            [1, 5.3, 2.0, 5.3, 9.0],  # zero width
            [0, 17.0, 12.0, 18.0, 13.0],  # last cell
            [0, 17.5, 12.5, 18.5, 13.5],  # across the border
            [1, -1.0, -1.0, 0.0, 0.0],  # samples at -1 < y < 0 clamp to the first row
            [0, 3.2, 3.3, 3.7, 3.4],  # far smaller than a cell
        ],
        "none": [],
    }
    rois = {k: torch.tensor(v, dtype=torch.float32).reshape(-1, 5) for k, v in rois.items()}
    for kind, scale in itertools.product(rois, (1.0, 0.25)):
        put(f"roi_align/rois_{kind}_scale_{scale}", rois[kind] * torch.tensor([1, 1 / scale, 1 / scale, 1 / scale, 1 / scale]))
    combinations = [  # output size, sampling ratio, aligned, scale
        ((7, 7), 2, False, 0.25), ((7, 7), 2, True, 1.0), ((7, 7), -1, False, 1.0), ((7, 7), 0, True, 0.25),
        ((3, 5), 2, False, 1.0), ((3, 5), 2, True, 0.25), ((3, 5), -1, True, 1.0), ((3, 5), 0, False, 0.25), ((1, 1), 3, False, 1.0),
    ]
    for (size, sampling, aligned, scale), kind in itertools.product(combinations, rois):
        boxes = tensors[f"roi_align/rois_{kind}_scale_{scale}"]
        x = features.clone().requires_grad_()
        y = roi_align(x, boxes, size, scale, sampling, aligned)
        grad = uniform(f"roi_align/grad_{size}_{kind}", y.shape)
        grad_key = f"roi_align/grad_output_{size[0]}x{size[1]}_{kind}"
        if grad_key not in tensors:
            put(grad_key, grad)
        y.backward(grad)
        case(f"roi_align/{kind}_{size[0]}x{size[1]}_sampling_{sampling}_{'aligned' if aligned else 'legacy'}_scale_{scale}",
             {"output_size": size, "spatial_scale": scale, "sampling_ratio": sampling, "aligned": aligned},
             {"input": "roi_align/input", "rois": f"roi_align/rois_{kind}_scale_{scale}", "grad_output": grad_key},
             {"output": y, "grad_input": x.grad})

    # four maps, two images of which the larger is 128 x 192
    maps = {str(i): uniform(f"multi/map{i}", (2, 4, 32 >> i, 48 >> i)).requires_grad_() for i in range(4)}
    boxes = [torch.cat([random_boxes("multi0", 14, 192, 128, 5, 120), torch.tensor([[0.0, 0, 112, 112], [0, 0, 56, 56], [-50, -60, 250, 240], [-600, -600, 600, 600]])]),
             random_boxes("multi1", 9, 160, 100, 5, 90)]
    shapes = [(128, 192), (100, 160)]
    pooler = MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)
    y = pooler(maps, boxes, shapes)
    grad = uniform("multi/grad", y.shape)
    y.backward(grad)
    assert set(pooler.map_levels(boxes).tolist()) >= {0, 1, 2, 3}
    case("multi_scale_roi_align/four_maps_two_images",
         {"image_shapes": shapes, "output_size": [7, 7], "sampling_ratio": 2, "scales": pooler.scales},
         {f"map{k}": v for k, v in maps.items()} | {f"boxes{i}": b for i, b in enumerate(boxes)} | {"grad_output": grad},
         {"output": y} | {f"grad_map{k}": v.grad for k, v in maps.items()} | {"levels": pooler.map_levels(boxes)})
    none = pooler({k: v.detach() for k, v in maps.items()}, [torch.zeros(0, 4), boxes[1][:2]], shapes)
    case("multi_scale_roi_align/first_image_without_boxes", {"image_shapes": shapes, "output_size": [7, 7], "sampling_ratio": 2},
         {f"map{k}": f"multi_scale_roi_align/four_maps_two_images/input.map{k}" for k in maps} | {"boxes0": "assign/no_boxes", "boxes1": boxes[1][:2]}, {"output": none})


MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def transform():
    table = [(480, 640), (640, 640), (427, 640), (600, 1000), (333, 500), (1080, 1920), (1, 1), (7, 2000), (2000, 7), (799, 801), (100, 101), (37, 53)]
    # floor(side * (min / side)) may be one less than min: sides for which f64 rounding does that
    table += [(s, s + 3) for s in range(100, 1000) if math.floor(s * (800 / s)) == 799][:4]
    rows = []
    for (h, w), (lo, hi) in itertools.product(table, [(800, 1333), (640, 640), (256, 400)]):
        if min(h, w) * min(lo / min(h, w), hi / max(h, w)) < 1:
            continue  # torchvision fails on an output size of zero
        resized = GeneralizedRCNNTransform(lo, hi, MEAN, STD).eval().resize(torch.zeros(1, h, w))[0].shape[-2:]
        rows.append([h, w, lo, hi, *resized])
    assert any(r[4] == 799 for r in rows)
    case("transform/size_table", {"columns": ["height", "width", "min_size", "max_size", "resized_height", "resized_width"]}, {}, {"table": torch.tensor(rows)})

    for name, (h, w), lo, hi in [("upscale", (13, 20), 24, 60), ("downscale", (40, 61), 22, 60), ("same", (17, 23), 17, 23), ("max_size_binds", (12, 50), 30, 64)]:
        source = image(f"transform/{name}", h, w) * 0.5 + uniform(f"transform/{name}/noise", (3, h, w), 0, 0.5)
        module = GeneralizedRCNNTransform(lo, hi, MEAN, STD).eval()
        boxes = random_boxes(f"transform/{name}/boxes", 5, w, h, 1)
        images, targets = module([source], [{"boxes": boxes}])
        (rh, rw), back = images.image_sizes[0], random_boxes(f"transform/{name}/back", 5, 60, 60, 1)
        case(f"transform/{name}", {"min_size": lo, "max_size": hi, "image_mean": MEAN, "image_std": STD, "size_divisible": 32,
                                   "image_size": [rh, rw], "padded_size": list(images.tensors.shape[-2:])},
             {"image": source, "boxes": boxes, "detected_boxes": back},
             {"resized": images.tensors[0, :, :rh, :rw], "boxes": targets[0]["boxes"], "detected_boxes_in_original": resize_boxes(back, (rh, rw), (h, w))})
        assert images.tensors[0, :, rh:].abs().sum() == 0 and images.tensors[0, :, :, rw:].abs().sum() == 0

    shapes = [[(480, 640), (640, 480)], [(100, 100), (90, 300), (33, 64)], [(64, 96)]]
    batches = []
    for group in shapes:
        module = GeneralizedRCNNTransform(96, 160, MEAN, STD).eval()
        images, _ = module([torch.zeros(3, *s) for s in group])
        batches.append({"sizes": group, "resized": [list(s) for s in images.image_sizes], "padded": list(images.tensors.shape)})
    case("transform/padded_batches", {"min_size": 96, "max_size": 160, "size_divisible": 32, "batches": batches}, {}, {})


def small_rpn(**overrides):
    arguments = dict(fg_iou_thresh=0.7, bg_iou_thresh=0.3, batch_size_per_image=16, positive_fraction=0.5,
                     pre_nms_top_n={"training": 40, "testing": 25}, post_nms_top_n={"training": 30, "testing": 20}, nms_thresh=0.7)
    rpn = RegionProposalNetwork(None, None, **{**arguments, **overrides})
    rpn.fg_bg_sampler = FirstSampler(rpn.fg_bg_sampler.batch_size_per_image, rpn.fg_bg_sampler.positive_fraction)
    return rpn


def small_roi_heads(**overrides):
    arguments = dict(fg_iou_thresh=0.5, bg_iou_thresh=0.5, batch_size_per_image=32, positive_fraction=0.25, bbox_reg_weights=None,
                     score_thresh=0.05, nms_thresh=0.5, detections_per_img=100)
    heads = RoIHeads(None, None, None, **{**arguments, **overrides})
    heads.fg_bg_sampler = FirstSampler(heads.fg_bg_sampler.batch_size_per_image, heads.fg_bg_sampler.positive_fraction)
    return heads


def losses():
    difference = torch.cat([uniform("smooth_l1", (40,), -2, 2), torch.tensor([0.0, 1 / 9, -1 / 9, 0.1111, 0.1112, 1e-6, 50.0])])
    for beta in (1 / 9, 1.0):
        x = difference.clone().requires_grad_()
        loss = F.smooth_l1_loss(x, torch.zeros_like(x), beta=beta, reduction="sum")
        loss.backward()
        case(f"smooth_l1/beta_{'one' if beta == 1 else 'ninth'}", {"beta": beta, "reduction": "sum"}, {"input": difference, "target": torch.zeros_like(difference)}, {"loss": loss, "grad_input": x.grad})

    def box_head(name, labels, scale=1.0):
        n = sum(len(l) for l in labels)
        logits = (uniform(f"{name}/logits", (n, 5), -3, 3) * scale).requires_grad_()
        deltas = (uniform(f"{name}/deltas", (n, 20), -1, 1) * scale).requires_grad_()
        targets = [uniform(f"{name}/targets{i}", (len(l), 4), -1, 1) for i, l in enumerate(labels)]
        c, b = fastrcnn_loss(logits, deltas, labels, targets)
        (c + 2 * b).backward()
        case(f"fastrcnn_loss/{name}", {"gradient_of": "loss_classifier + 2 * loss_box_reg"},
             {"class_logits": logits, "box_regression": deltas} | {f"labels{i}": l for i, l in enumerate(labels)} | {f"regression_targets{i}": t for i, t in enumerate(targets)},
             {"loss_classifier": c, "loss_box_reg": b, "grad_class_logits": logits.grad, "grad_box_regression": deltas.grad})

    box_head("two_images", [torch.tensor([1, 0, 4, 0, 2, 0, 0]), torch.tensor([0, 3, 0, 0])])
    box_head("no_positives", [torch.zeros(6, dtype=torch.int64), torch.zeros(3, dtype=torch.int64)])
    box_head("all_positives", [torch.tensor([1, 2, 3, 4])])
    box_head("large_logits", [torch.tensor([1, 0, 4]), torch.tensor([2])], 40.0)  # softmax must not overflow

    def rpn_loss(name, labels, scale=1.0):
        rpn = small_rpn()
        n = sum(len(l) for l in labels)
        objectness = (uniform(f"{name}/objectness", (n, 1), -3, 3) * scale).requires_grad_()
        deltas = uniform(f"{name}/rpn_deltas", (n, 4), -1, 1).requires_grad_()
        targets = [uniform(f"{name}/rpn_targets{i}", (len(l), 4), -1, 1) for i, l in enumerate(labels)]
        o, b = rpn.compute_loss(objectness, deltas, labels, targets)
        (o + 2 * b).backward()
        chosen = rpn.fg_bg_sampler.chosen
        case(f"rpn_loss/{name}", {"batch_size_per_image": 16, "positive_fraction": 0.5, "gradient_of": "loss_objectness + 2 * loss_rpn_box_reg", "sampler": "first by index"},
             {"objectness": objectness, "deltas": deltas} | {f"labels{i}": l for i, l in enumerate(labels)} | {f"regression_targets{i}": t for i, t in enumerate(targets)},
             {"loss_objectness": o, "loss_rpn_box_reg": b, "grad_objectness": objectness.grad, "grad_deltas": deltas.grad}
             | {f"sampled_pos{i}": c[0] for i, c in enumerate(chosen)} | {f"sampled_neg{i}": c[1] for i, c in enumerate(chosen)})

    mixed = [(torch.from_numpy(unit(f"rpn_labels{i}", 30)) * 3).floor().float() - 1 for i in range(2)]
    rpn_loss("two_images", mixed)
    rpn_loss("no_positives", [mixed[0].clamp(max=0), torch.zeros(30)])
    rpn_loss("second_image_ignored", [mixed[0], torch.full((30,), -1.0)])
    rpn_loss("large_logits", mixed, 60.0)


def selections():
    per_level = [60, 24, 6]
    boxes = torch.stack([random_boxes(f"filter{i}", 90, 140, 110, 8, 60) for i in range(2)]) - 8
    boxes[0, 3] = torch.tensor([-20.0, 5, -4, 30])  # outside: clipped to zero width and dropped
    boxes[1, 7] = torch.tensor([30.0, 40, 30.0005, 60])  # thinner than min_size
    objectness = torch.stack([distinct_scores(f"filter_scores{i}", 90, -4, 3) for i in range(2)])
    shapes = [(100, 120), (90, 110)]
    put("filter_proposals/proposals", boxes)
    put("filter_proposals/objectness", objectness)
    shared = {"proposals": "filter_proposals/proposals", "objectness": "filter_proposals/objectness"}

    def filtered(name, rpn, training, inputs, b, o):
        rpn.train(training)
        got, scores = rpn.filter_proposals(b.clone(), o.clone(), shapes, per_level)
        case(f"filter_proposals/{name}", {"image_shapes": shapes, "num_anchors_per_level": per_level, "pre_nms_top_n": rpn.pre_nms_top_n(),
             "post_nms_top_n": rpn.post_nms_top_n(), "nms_thresh": rpn.nms_thresh, "score_thresh": rpn.score_thresh, "min_size": rpn.min_size},
             inputs, {f"boxes{i}": g for i, g in enumerate(got)} | {f"scores{i}": s for i, s in enumerate(scores)})
        return [len(g) for g in got]

    filtered("testing", small_rpn(), False, shared, boxes, objectness)
    filtered("training", small_rpn(), True, shared, boxes, objectness)
    filtered("nms_binds", small_rpn(nms_thresh=0.2), True, shared, boxes, objectness)
    filtered("score_thresh", small_rpn(score_thresh=0.6), False, shared, boxes, objectness)
    assert filtered("none_by_score", small_rpn(score_thresh=0.999), False, shared, boxes, objectness) == [0, 0]
    outside = boxes.clone()
    outside[1] += 500
    assert filtered("none_in_second_image", small_rpn(), False, {"proposals": outside, "objectness": shared["objectness"]}, outside, objectness)[1] == 0

    proposals = [random_boxes("post0", 12, 120, 100, 10, 60), random_boxes("post1", 9, 110, 90, 10, 60)]
    proposals[0][6:] = proposals[0][:6] + uniform("post_jitter", (6, 4), -3, 3)
    logits = uniform("post/logits", (21, 4), -3, 3)
    deltas = uniform("post/deltas", (21, 16), -1, 1)
    put("postprocess/class_logits", logits)
    put("postprocess/box_regression", deltas)
    for i, p in enumerate(proposals):
        put(f"postprocess/proposals{i}", p)

    def detected(name, heads, chosen=None, logits_=None):
        chosen, l = chosen or proposals, logits if logits_ is None else logits_
        inputs = {"class_logits": "postprocess/class_logits" if logits_ is None else l, "box_regression": "postprocess/box_regression"}
        inputs |= {f"proposals{i}": f"postprocess/proposals{i}" if chosen is proposals else p for i, p in enumerate(chosen)}
        b, s, c = heads.postprocess_detections(l, deltas[: len(l)], chosen, shapes)
        if len(l) != len(deltas):
            inputs["box_regression"] = deltas[: len(l)]
        case(f"postprocess_detections/{name}", {"image_shapes": shapes, "bbox_reg_weights": [10, 10, 5, 5], "score_thresh": heads.score_thresh,
             "nms_thresh": heads.nms_thresh, "detections_per_img": heads.detections_per_img, "min_size": 1e-2}, inputs,
             {f"boxes{i}": x for i, x in enumerate(b)} | {f"scores{i}": x for i, x in enumerate(s)} | {f"labels{i}": x for i, x in enumerate(c)})
        for x in s:
            assert len(x) < 2 or (x[:-1] - x[1:]).min() > 1e-5, (x[:-1] - x[1:]).min()
        return [len(x) for x in b]

    detected("default", small_roi_heads())
    assert detected("cut_at_5", small_roi_heads(detections_per_img=5)) == [5, 5]
    detected("low_nms", small_roi_heads(nms_thresh=0.1))
    sure_background = logits.clone()
    sure_background[:, 0] += 20
    assert detected("none_by_score", small_roi_heads(), None, sure_background) == [0, 0]
    detected("second_image_without_proposals", small_roi_heads(), [proposals[0], torch.zeros(0, 4)], logits[:12].clone())


def sampler_counts():
    rows = []
    for batch, fraction in [(256, 0.5), (512, 0.25), (7, 0.25), (10, 0.0), (10, 1.0)]:
        for pos, neg in [(0, 0), (0, 5), (3, 0), (3, 5), (1000, 0), (1000, 1000), (64, 5000), (0, 5000), (128, 128), (129, 127)]:
            labels = torch.cat([torch.ones(pos), torch.zeros(neg), -torch.ones(11)])
            p, n = det_utils.BalancedPositiveNegativeSampler(batch, fraction)([labels])
            q, m = FirstSampler(batch, fraction)([labels])
            counts = [int(x[0].sum()) for x in (p, n)]
            assert counts == [int(x[0].sum()) for x in (q, m)]
            rows.append([batch, round(fraction * 100), pos, neg, *counts])
    case("sampler_counts/table", {"columns": ["batch_size_per_image", "positive_fraction_percent", "positives", "negatives", "sampled_positives", "sampled_negatives"]}, {}, {"table": torch.tensor(rows)})


def generate():
    tensors.clear()
    cases.clear()
    for part in (box_coder, iou_and_boxes, matcher, anchors, level_mapping, suppression, pooling, transform, losses, selections, sampler_counts):
        part()
    write("ops", tensors, {"format": __doc__.strip().splitlines(), "cases": cases})
