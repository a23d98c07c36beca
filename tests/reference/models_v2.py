"""Detectors built as torchvision's `fasterrcnn_resnet50_fpn_v2`, with thin layers: what comes out at every stage.

Batch norm in the backbone, the pyramid and the box head; two convolutions in the RPN; four in the box head. The file is
laid out as those of `models.py` say.

The box head's ReLUs have millions of inputs, of which some are within 1e-7 of zero. So torch's own gradients in f32 differ
from those in f64 by 1e-3 with a ResNet-18, and by 3e-2 with a ResNet-50 (`gradient_f64_difference`), where the losses agree to
1e-6. The gradients are compared where they are determined: with the ResNet-18.
"""

import torch
from torchvision.models import resnet18, resnet50
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.models.detection.rpn import RPNHead

import models
from recording import write
from weights import fill

V2 = {"backbone": "resnet50", "norm": "batch_norm", "version": 2, "fpn_channels": 64, "representation_size": 128,
      "num_classes": 7, "min_size": 96, "max_size": 160, "seed": 21, "images": [["image3", 80, 117], ["image2", 180, 144]],
      "arguments": {"rpn_post_nms_top_n_test": 100, "box_score_thresh": 0.3, "rpn_pre_nms_top_n_train": 300,
                    "rpn_post_nms_top_n_train": 150}}
V2_RESNET18 = {**V2, "backbone": "resnet18", "seed": 24}
SLICES = ["backbone.body.layer2.0.conv2.weight", "backbone.fpn.inner_blocks.1.1.weight", "backbone.fpn.layer_blocks.0.0.weight",
          "rpn.head.conv.1.0.weight", "roi_heads.box_head.0.0.weight", "roi_heads.box_head.3.1.bias", "roi_heads.box_head.5.weight"]
RUNNING = [f"{n}.{k}" for n in ("backbone.body.bn1", "backbone.fpn.inner_blocks.3.1", "roi_heads.box_head.2.1")
           for k in ("running_mean", "running_var", "num_batches_tracked")]


def build(config):
    """`torchvision.models.detection.fasterrcnn_resnet50_fpn_v2` with the sizes of `config`."""
    norm, channels, hidden = torch.nn.BatchNorm2d, config["fpn_channels"], config["representation_size"]
    layers = {f"layer{i}": str(i - 1) for i in (1, 2, 3, 4)}
    body = {"resnet18": resnet18, "resnet50": resnet50}[config["backbone"]](norm_layer=norm)
    inputs = [body.inplanes >> i for i in (3, 2, 1, 0)]
    backbone = BackboneWithFPN(body, layers, inputs, channels, norm_layer=norm)
    head = FastRCNNConvFCHead((channels, 7, 7), [channels] * 4, [hidden], norm_layer=norm)
    model = FasterRCNN(
        backbone, rpn_head=RPNHead(channels, 3, conv_depth=2), box_head=head,
        box_predictor=FastRCNNPredictor(hidden, config["num_classes"]), min_size=config["min_size"],
        max_size=config["max_size"], **config["arguments"],
    )
    return fill(model, config["seed"])


def generate():
    tensors, entries = {}, {}
    for variant, config in (("resnet50", V2), ("resnet18", V2_RESNET18)):
        recorder = models.Recorder(variant, tensors, 512)
        entry = entries[variant] = {"config": config, "eval": models.infer(recorder, config)}
        entry["train"] = models.train(recorder, config, models.targets_of(config), "train", SLICES, RUNNING)
        models.report(f"v2 {variant}", entry)
    write("model_v2", tensors, {"format": models.__doc__.strip().splitlines(), "margins": models.MARGINS, "models": entries})
