"""Whole models: full-size weights from the generator, a batch of two images, and what comes out at every stage.

Files: model (ResNet-50-FPN), model_resnet18 (a quick one: frozen, batch and group norm), bodies (ResNet-34, -101).
Each JSON file is `{"format": [..], "models": {variant: {..}}}`; its `tensors` are in the safetensors file.

* A *recorded* tensor is `{"shape", "sum", "abs_sum", "l2", "stride", "samples"}`: sums over all elements (added in
  f64), and under the key `samples` the elements 0, stride, 2 stride, ... of the flat, row-major tensor, f32.
* A *whole* tensor is just a key.
* `f64_difference` of a recorded tensor: ||f32 - f64|| / ||f64|| when the same model runs in f64, i.e. how far torch's
  own f32 result is from the truth. A tolerance of a few times that, not less than 1e-6, is what f32 can promise.
* Names of images, weights' seed, sizes and every deviation from torchvision's defaults are in `config`.
* `margins`: the smallest distance of any decision of that run from going the other way, per kind of decision; f32
  noise is about 1e-6. `f64_agrees`: whether the f64 run decides alike. Lists are ordered by score, and two of 1000
  proposals may swap places when their scores differ by 1e-7: compare proposals as sets unless `proposals_in_order`,
  and feed the *recorded* proposals to the box head when comparing `pooled`, `box_features`, `class_logits`, `box_deltas`.
* Training: `recording.FirstSampler` replaces both samplers; gradients are those of the plain sum of the four losses.
  The list that `roi_sampled` points into is the recorded proposals with the ground truth, in the resized frame, appended.
  Gradients jump where a ReLU flips: `f64_difference` of a gradient may be 1e-3 although the losses agree to 1e-6.
"""

import copy
import math

import torch
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.ops import FrozenBatchNorm2d, box_iou, boxes as box_ops

from recording import FirstSampler, write
from weights import fill, image, unit

NORMS = {
    "frozen_batch_norm": FrozenBatchNorm2d,
    "batch_norm": torch.nn.BatchNorm2d,
    "group_norm": lambda channels: torch.nn.GroupNorm(32, channels),
}


def build(config) -> FasterRCNN:
    if config.get("version") == 2:
        from models_v2 import build as build_v2

        return build_v2(config)
    backbone = resnet_fpn_backbone(
        backbone_name=config["backbone"], weights=None, norm_layer=NORMS[config["norm"]], trainable_layers=5
    )
    model = FasterRCNN(
        backbone, num_classes=config["num_classes"], min_size=config["min_size"], max_size=config["max_size"],
        **config.get("arguments", {}),
    )
    return fill(model, config["seed"])


def targets_of(config):
    """Six boxes and labels 1..6 per image, in the original frame, corners on quarter pixels; sides 15 to 60 % of the image's."""
    result = []
    for name, height, width in config["images"]:
        u = torch.from_numpy(unit(f"{name}/boxes", 24).reshape(6, 4))
        size = torch.tensor([width, height], dtype=torch.float64)
        sides = (0.15 + 0.45 * u[:, 2:]) * size
        corner = u[:, :2] * (size - sides)
        boxes = torch.cat([corner, corner + sides], 1)
        result.append({"boxes": ((boxes * 4).round() / 4).float(), "labels": torch.tensor([1, 2, 3, 4, 5, 6])})
    return result


class Watch:
    """Runs a model once and keeps what passes between its parts."""

    def __init__(self, model, images, targets=None, backward=True):
        self.seen = {}
        model = self.model = model.train(targets is not None)
        rpn, roi = model.rpn, model.roi_heads
        for sampler, owner in ((rpn.fg_bg_sampler, rpn), (roi.fg_bg_sampler, roi)):
            owner.fg_bg_sampler = FirstSampler(sampler.batch_size_per_image, sampler.positive_fraction)
        hooks = [m.register_forward_hook(self.keep(n)) for n, m in (
            ("transform", model.transform), ("body", model.backbone.body), ("fpn", model.backbone), ("head", rpn.head),
            ("rpn", rpn), ("pool", roi.box_roi_pool), ("fc", roi.box_head), ("predictor", roi.box_predictor))]
        self.calls = {}
        for owner, name in ((rpn, "filter_proposals"), (rpn, "assign_targets_to_anchors"), (roi, "assign_targets_to_proposals"),
                            (roi, "select_training_samples"), (roi, "postprocess_detections")):
            setattr(owner, name, self.spy(name, getattr(owner, name)))
        dtype = next(model.parameters()).dtype
        images = [i.to(dtype) for i in images]
        if targets is None:
            with torch.no_grad():
                self.detections = model(images)
        else:
            targets = [{"boxes": t["boxes"].to(dtype), "labels": t["labels"]} for t in targets]
            with torch.set_grad_enabled(backward):
                self.losses = model(images, targets)
            model.zero_grad()
        if targets is not None and backward:
            sum(self.losses.values()).backward()
            self.gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        for hook in hooks:
            hook.remove()
        for owner in (rpn, roi):
            for name in list(self.calls):
                owner.__dict__.pop(name, None)

    def keep(self, name):
        def hook(module, inputs, output):
            self.seen[name] = copy.copy(output)

        return hook

    def spy(self, name, function):
        def wrapped(*args):
            kept = [list(a) if isinstance(a, list) else a for a in args]
            output = function(*args)
            self.calls[name] = (kept, output)
            return output

        return wrapped

    def stages(self):
        """Name -> tensor, in the order of the pipeline."""
        out = {"images": self.seen["transform"][0].tensors}
        out |= {f"c{int(k) + 2}": v for k, v in self.seen["body"].items()}
        out |= {f"p{i + 2}": v for i, v in enumerate(self.seen["fpn"].values())}
        logits, deltas = self.seen["head"]
        out |= {f"rpn_logits_p{i + 2}": v for i, v in enumerate(logits)}
        out |= {f"rpn_deltas_p{i + 2}": v for i, v in enumerate(deltas)}
        flat = concat_box_prediction_layers(list(logits), list(deltas))
        out |= {"rpn_logits_flat": flat[0], "rpn_deltas_flat": flat[1]}
        out |= {"pooled": self.seen["pool"], "box_features": self.seen["fc"]}
        out |= {"class_logits": self.seen["predictor"][0], "box_deltas": self.seen["predictor"][1]}
        return {k: v.detach() for k, v in out.items()}

    def proposals(self):
        """Boxes and objectness (after the sigmoid) that leave the RPN, per image."""
        return self.calls["filter_proposals"][1]


# ---------------------------------------------------------------------------------------------- how fragile is it


def nms_margins(boxes, scores, groups, threshold, cut):
    """Smallest distance to another outcome: (IoU from the threshold, score order of a suppressing pair, cut after `cut`)."""
    order = scores.argsort(descending=True, stable=True)
    boxes, scores, groups = boxes[order].double(), scores[order].double(), groups[order]
    iou = box_iou(boxes, boxes).nan_to_num(0) * (groups[:, None] == groups[None])
    kept, iou_margin, order_margin, cut_margin = [], math.inf, math.inf, math.inf
    for j in range(len(boxes)):
        if kept:
            overlaps = iou[kept, j]
            iou_margin = min(iou_margin, abs(overlaps.max().item() - threshold))
            over = overlaps > threshold
            if over.any():
                order_margin = min(order_margin, (scores[kept][over] - scores[j]).max().item())
                continue
        if len(kept) == cut:
            cut_margin = (scores[kept[-1]] - scores[j]).item()
            break
        kept.append(j)
    return {"iou": iou_margin, "order": order_margin, "cut": cut_margin}


MARGINS = {
    "rpn_top_k_cut_logit": "logits of the last anchor before and the first after the per-level top-k cut",
    "rpn_small_box_pixels": "sides of the candidates from min_size 1e-3 (0.001: a box clipped to nothing)",
    "rpn_nms_iou": "over all NMS decisions that count: greatest IoU with a kept box, from the threshold",
    "rpn_nms_order_score": "score of a suppressed box below its best suppressor",
    "rpn_post_nms_cut_score": "scores before and after the cut to post_nms_top_n; null: no cut",
    "roi_level": "distance of 4 + log2(sqrt(area) / 224) from a level's border",
    "rpn_match_iou": "best IoU of an anchor from 0.3 and 0.7",
    "rpn_best_anchor_iou": "IoU of the second best anchor of a ground truth below the best, in f64 (equal ones left out)",
    "roi_match_iou": "best IoU of a proposal from 0.5",
    "roi_sampler_cut_score": "objectness of the last sampled proposal and the one after it in the list",
    "score_threshold": "class scores from the score threshold; absent when the cut to detections_per_img decides",
    "nms_iou": "as rpn_nms_iou, detections", "nms_order_score": "as rpn_nms_order_score, detections",
    "detections_cut_score": "scores before and after the cut to detections_per_img; null: no cut",
    "neighbouring_scores": "two consecutive detections",
}


def least(a, b):
    return {k: min(a.get(k, math.inf), b.get(k, math.inf)) for k in {**a, **b}}


def margins(watch, only=None):
    """The smallest margins of a run (of image `only` of it); what they mean is said in `MARGINS`."""
    result = {}

    def note(**values):
        result.update(least(result, values))

    rpn, roi = watch.model.rpn, watch.model.roi_heads
    (proposals, objectness, shapes, per_level), _ = watch.calls["filter_proposals"]
    objectness = objectness.detach().reshape(len(shapes), -1)
    for i, shape in enumerate(shapes):
        if only not in (None, i):
            continue
        offset, index = 0, []
        for n in per_level:
            level = objectness[i, offset : offset + n]
            k = min(rpn.pre_nms_top_n(), n)
            top = level.topk(min(k + 1, n))
            if n > k:
                note(rpn_top_k_cut_logit=(top.values[k - 1] - top.values[k]).item())
            index.append(top.indices[:k] + offset)
            offset += n
        groups = torch.cat([torch.full_like(x, g) for g, x in enumerate(index)])
        index = torch.cat(index)
        boxes = box_ops.clip_boxes_to_image(proposals[i, index], shape)
        sides = boxes[:, 2:] - boxes[:, :2]
        note(rpn_small_box_pixels=(sides - rpn.min_size).abs().min().item())
        keep = box_ops.remove_small_boxes(boxes, rpn.min_size)
        got = nms_margins(boxes[keep], objectness[i, index].sigmoid()[keep], groups[keep], rpn.nms_thresh, rpn.post_nms_top_n())
        note(rpn_nms_iou=got["iou"], rpn_nms_order_score=got["order"], rpn_post_nms_cut_score=got["cut"])
    rois = watch.calls["select_training_samples"][1][0] if watch.model.training else watch.proposals()[0]
    levels = 4 + torch.log2(box_ops.box_area(torch.cat(list(rois) if only is None else [rois[only]]).detach().double()).sqrt() / 224)
    border = levels.round().clamp(3, 5)  # level 2 has no lower border, level 5 no upper one
    note(roi_level=(levels - border).abs().min().item())
    if watch.model.training:
        (anchors, targets), _ = watch.calls["assign_targets_to_anchors"]
        for i, (a, t) in enumerate(zip(anchors, targets)):
            if len(t["boxes"]) and only in (None, i):
                quality = box_iou(t["boxes"].double(), a.double())
                best = quality.max(0).values
                note(rpn_match_iou=min((best - x).abs().min().item() for x in (0.3, 0.7)))
                top = quality.sort(1, descending=True).values
                gaps = (top[:, :1] - top)[(top[:, :1] - top) > 1e-14]  # exact ties belong to the algorithm
                note(rpn_best_anchor_iou=gaps.min().item())
        (candidates, gt, _), (_, labels) = watch.calls["assign_targets_to_proposals"]
        for i, (p, g) in enumerate(zip(candidates, gt)):
            if len(g) and only in (None, i):
                note(roi_match_iou=(box_iou(g, p).max(0).values - 0.5).abs().min().item())
        scores = watch.proposals()[1]  # does the sampler's cut by index fall between two close scores?
        for i, (s, (pos, neg)) in enumerate(zip(scores, roi.fg_bg_sampler.chosen)):
            for chosen in (pos, neg):
                if only in (None, i) and len(chosen) and 0 < chosen[-1] < len(s) - 1:
                    note(roi_sampler_cut_score=(s[chosen[-1]] - s[chosen[-1] + 1]).item())
    else:
        (logits, deltas, proposals, shapes), (_, found, _) = watch.calls["postprocess_detections"]
        pred = roi.box_coder.decode(deltas, proposals).split([len(p) for p in proposals])
        for i, (boxes, scores, shape, final) in enumerate(zip(pred, logits.softmax(-1).split([len(p) for p in proposals]), shapes, found)):
            if only not in (None, i):
                continue
            boxes = box_ops.clip_boxes_to_image(boxes, shape)[:, 1:].reshape(-1, 4)
            classes = torch.arange(1, scores.shape[1]).expand(len(scores), -1).reshape(-1)
            scores = scores[:, 1:].reshape(-1)
            keep = torch.where(scores > roi.score_thresh)[0]
            if len(final) < roi.detections_per_img:
                note(score_threshold=(scores - roi.score_thresh).abs().min().item())
            keep = keep[box_ops.remove_small_boxes(boxes[keep], 1e-2)]
            got = nms_margins(boxes[keep], scores[keep], classes[keep], roi.nms_thresh, roi.detections_per_img)
            note(nms_iou=got["iou"], nms_order_score=got["order"], detections_cut_score=got["cut"])
            if len(final) > 1:
                note(neighbouring_scores=(final[:-1] - final[1:]).min().item())
    return result


def pairs_up(a, b, tolerance=1e-2):
    """Same number of boxes, and each has exactly one partner within `tolerance` pixels."""
    return all(
        len(x) == len(y) and (len(x) == 0 or ((torch.cdist(x.double(), y.double(), p=float("inf")) < tolerance).any(1).all()
                               and (torch.cdist(x.double(), y.double(), p=float("inf")) < tolerance).any(0).all()))
        for x, y in zip(a, b)
    )


# ------------------------------------------------------------------------------------------------------- recording


class Recorder:
    def __init__(self, prefix, tensors, samples):
        self.prefix, self.tensors, self.samples = prefix, tensors, samples

    def whole(self, name, tensor):
        key = f"{self.prefix}/{name}"
        assert key not in self.tensors
        self.tensors[key] = tensor.detach()
        return key

    def record(self, name, tensor, exact=None, samples=None):
        flat = tensor.detach().reshape(-1)
        stride = max(1, -(-flat.numel() // (samples or self.samples)))
        while stride > 1 and math.gcd(stride, flat.numel()) > 1:  # else samples would fall on the same columns
            stride += 1
        wide = flat.double()
        entry = {"shape": list(tensor.shape), "sum": wide.sum().item(), "abs_sum": wide.abs().sum().item(), "l2": wide.norm().item(),
                 "stride": stride, "samples": self.whole(name, flat[::stride])}
        if exact is not None and exact.shape == tensor.shape:
            entry["f64_difference"] = float(f"{((wide - exact.reshape(-1)).norm() / exact.norm()).item():.2e}")
        return entry


def run(config, targets=None):
    images = [image(*spec) for spec in config["images"]]
    model = build(config)
    exact = Watch(copy.deepcopy(model).double(), images, targets)
    return Watch(model, images, targets), exact


def rounded(values):
    return {k: float(f"{v:.2e}") if math.isfinite(v) else None for k, v in sorted(values.items())}


def infer(recorder, config):
    watch, exact = run(config)
    (boxes, scores), (exact_boxes, _) = watch.proposals(), exact.proposals()
    agree = pairs_up(boxes, exact_boxes)
    same_order = agree and all((a - b).abs().max() < 1e-2 for a, b in zip(boxes, exact_boxes))
    found, exact_found = watch.detections, exact.detections
    detections_agree = pairs_up([d["boxes"] for d in found], [d["boxes"] for d in exact_found]) and all(
        d["labels"].equal(e["labels"]) for d, e in zip(found, exact_found))
    others, roi = exact.stages(), exact.model.roi_heads  # the box head in f64 on the same, f32, proposals
    with torch.no_grad():
        others["pooled"] = roi.box_roi_pool(exact.seen["fpn"], [b.double() for b in boxes], exact.seen["transform"][0].image_sizes)
        others["box_features"] = roi.box_head(others["pooled"])
        others["class_logits"], others["box_deltas"] = roi.box_predictor(others["box_features"])
    out = {
        "image_sizes": [list(s) for s in watch.seen["transform"][0].image_sizes],
        "stages": {n: recorder.record(f"eval/{n}", t, others[n]) for n, t in watch.stages().items()},
        "proposals": [{"boxes": recorder.whole(f"eval/proposals{i}/boxes", b), "scores": recorder.whole(f"eval/proposals{i}/scores", s), "count": len(b)}
                      for i, (b, s) in enumerate(zip(boxes, scores))],
        "detections": [{k: recorder.whole(f"eval/detections{i}/{k}", d[k]) for k in ("boxes", "labels", "scores")} | {"count": len(d["boxes"])}
                       for i, d in enumerate(found)],
        "margins": rounded(margins(watch)),
        "f64_agrees": {"proposals": bool(agree), "proposals_in_order": bool(same_order), "detections_in_order": bool(detections_agree)},
    }
    return out


def train(recorder, config, targets, tag, slices=(), running=()):
    watch, exact = run(config, targets)
    (boxes, scores), (exact_boxes, _) = watch.proposals(), exact.proposals()
    agree = pairs_up(boxes, exact_boxes)
    (candidates, _, _), (_, labels) = watch.calls["assign_targets_to_proposals"]
    anchors_labels = watch.calls["assign_targets_to_anchors"][1][0]
    exact_labels = exact.calls["assign_targets_to_anchors"][1][0]
    norm = {n: g.double().norm().item() for n, g in watch.gradients.items()}
    apart = {n: ((g.double() - exact.gradients[n]).norm() / exact.gradients[n].norm().clamp(min=1e-30)).item() for n, g in watch.gradients.items()}
    rpn_chosen, roi_chosen = watch.model.rpn.fg_bg_sampler.chosen, watch.model.roi_heads.fg_bg_sampler.chosen
    stages = watch.stages()
    kept_stages = ["class_logits", "box_deltas"] + (["c5", "p2"] if running else [])
    out = {
        "targets": [{k: recorder.whole(f"{tag}/targets{i}/{k}", t[k]) for k in ("boxes", "labels")} for i, t in enumerate(targets)],
        "losses": {k: v.item() for k, v in watch.losses.items()},
        "losses_f64": {k: v.item() for k, v in exact.losses.items()},
        "proposals": [{"boxes": recorder.whole(f"{tag}/proposals{i}/boxes", b), "scores": recorder.whole(f"{tag}/proposals{i}/scores", s), "count": len(b)}
                      for i, (b, s) in enumerate(zip(boxes, scores))],
        "proposals_with_gt": [len(c) for c in candidates],
        "anchor_labels": [{str(v): int((l == v).sum()) for v in (-1, 0, 1)} for l in anchors_labels],
        "rpn_sampled": [{k: recorder.whole(f"{tag}/rpn_sampled{i}/{k}", x) for k, x in zip(("positive", "negative"), c)} for i, c in enumerate(rpn_chosen)],
        "roi_sampled": [{k: recorder.whole(f"{tag}/roi_sampled{i}/{k}", x) for k, x in zip(("positive", "negative"), c)} for i, c in enumerate(roi_chosen)],
        "counts": {"rpn": [[len(p), len(n)] for p, n in rpn_chosen], "roi": [[len(p), len(n)] for p, n in roi_chosen]},
        "stages": {n: recorder.record(f"{tag}/{n}", stages[n]) for n in kept_stages},
        "gradient_norms": norm,
        "gradient_f64_difference": {"worst": float(f"{max(apart.values()):.2e}"), "worst_name": max(apart, key=apart.get),
                                    "median": float(f"{sorted(apart.values())[len(apart) // 2]:.2e}")},
        "gradient_slices": {n: recorder.record(f"{tag}/gradients/{n}", watch.gradients[n], exact.gradients[n], 256) for n in slices},
        "margins": rounded(margins(watch)),
        "f64_agrees": {"anchor_labels": all(torch.equal(a, b) for a, b in zip(anchors_labels, exact_labels)),
                       "proposals": bool(agree), "proposals_in_order": bool(agree and all((a - b).abs().max() < 1e-2 for a, b in zip(boxes, exact_boxes)))},
    }
    if running:
        state = watch.model.state_dict()
        out["running_statistics_after_step"] = {n: recorder.whole(f"{tag}/{n}", state[n]) for n in running}
    return out


SLICES_50 = [
    "backbone.body.conv1.weight", "backbone.body.layer1.0.conv2.weight", "backbone.body.layer2.0.downsample.0.weight",
    "backbone.body.layer3.5.conv3.weight", "backbone.body.layer4.2.conv1.weight", "backbone.fpn.inner_blocks.0.0.weight",
    "backbone.fpn.inner_blocks.3.0.bias", "backbone.fpn.layer_blocks.2.0.weight", "rpn.head.conv.0.0.weight", "rpn.head.cls_logits.weight",
    "rpn.head.cls_logits.bias", "rpn.head.bbox_pred.weight", "roi_heads.box_head.fc6.weight", "roi_heads.box_head.fc7.bias",
    "roi_heads.box_predictor.cls_score.weight", "roi_heads.box_predictor.bbox_pred.bias",
]
SLICES_18 = ["backbone.body.conv1.weight", "backbone.body.layer3.0.downsample.0.weight", "backbone.body.layer4.1.conv2.weight",
             "backbone.fpn.layer_blocks.0.0.weight", "rpn.head.bbox_pred.weight", "roi_heads.box_head.fc7.weight"]
RESNET50 = {"backbone": "resnet50", "norm": "frozen_batch_norm", "num_classes": 7, "min_size": 160, "max_size": 256, "seed": 10,
            "images": [["image2", 125, 165], ["image0", 330, 240]]}
RESNET18 = {"backbone": "resnet18", "norm": "frozen_batch_norm", "num_classes": 7, "min_size": 96, "max_size": 160, "seed": 0,
            "images": [["image3", 80, 117], ["image2", 180, 144]], "arguments": {"rpn_post_nms_top_n_test": 100, "box_score_thresh": 0.3, "rpn_pre_nms_top_n_train": 300, "rpn_post_nms_top_n_train": 150}}

RESNET18_NORMS = [("frozen", "frozen_batch_norm"), ("batch_norm", "batch_norm"), ("group_norm", "group_norm")]


def without_second(targets):
    return [targets[0], {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}]


def report(name, entry):
    for mode, values in entry.items():
        if isinstance(values, dict) and "margins" in values:
            print(f"  {name} {mode}:", values.get("losses", [d["count"] for d in values.get("detections", [])]), "proposals", [p["count"] for p in values["proposals"]],
                  values.get("counts", ""), values["f64_agrees"], "\n    ", values["margins"], values.get("gradient_f64_difference", ""))


def resnet50():
    tensors, config = {}, RESNET50
    recorder = Recorder("frozen", tensors, 2048)
    targets = targets_of(config)
    entry = {"config": config, "eval": infer(recorder, config)}
    entry["train"] = train(recorder, config, targets, "train", SLICES_50)
    entry["train_without_gt_in_second_image"] = train(recorder, config, without_second(targets), "train_no_gt")
    report("resnet50", entry)
    write("model", tensors, {"format": __doc__.strip().splitlines(), "margins": MARGINS, "models": {"frozen": entry}})


def resnet18():
    tensors, models = {}, {}
    for variant, norm in RESNET18_NORMS:
        config = {**RESNET18, "norm": norm}
        recorder = Recorder(variant, tensors, 512)
        entry = models[variant] = {"config": config, "eval": infer(recorder, config)}
        running = [f"backbone.body.{n}.{k}" for n in ("bn1", "layer2.0.downsample.1", "layer4.1.bn2") for k in ("running_mean", "running_var", "num_batches_tracked")]
        entry["train"] = train(recorder, config, targets_of(config), "train", SLICES_18, running if variant == "batch_norm" else ())
        if variant == "frozen":
            entry["train_without_gt_in_second_image"] = train(recorder, config, without_second(targets_of(config)), "train_no_gt")
        report(f"resnet18 {variant}", entry)
    write("model_resnet18", tensors, {"format": __doc__.strip().splitlines(), "margins": MARGINS, "models": models})


def bodies():
    tensors, models = {}, {}
    for name in ("resnet34", "resnet101"):
        recorder = Recorder(name, tensors, 512)
        backbone = fill(torch.nn.ModuleDict({"backbone": resnet_fpn_backbone(backbone_name=name, weights=None, trainable_layers=5)}), 0)["backbone"]
        x = image("image0", 64, 64)[None]  # neither normalised nor resized
        with torch.no_grad():
            got, exact = backbone.eval().body(x), copy.deepcopy(backbone).double().body(x.double())
        models[name] = {"config": {"backbone": name, "norm": "frozen_batch_norm", "seed": 0, "images": [["image0", 64, 64]], "normalised": False},
                        "stages": {f"c{int(k) + 2}": recorder.record(f"c{int(k) + 2}", v, exact[k]) for k, v in got.items()}}
        print(" ", name, {k: round(v.pow(2).mean().sqrt().item(), 2) for k, v in got.items()})
    write("bodies", tensors, {"format": __doc__.strip().splitlines(), "margins": MARGINS, "models": models})


def generate():
    resnet50()
    resnet18()
    bodies()
