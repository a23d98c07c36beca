"""Weight files as torch and torchvision write them: the small ones of tests/fixtures/weights.

`layouts_*` hold a few tensors of every type and stride; tensor NAME is `uniform(NAME, shape)` of
weights.py. The others have the names and shapes of whole models, yet every tensor is one element of one
shared storage, expanded: element number 0 of `uniform(NAME, [1])`. The legacy layout calls storages by
their addresses: those files have other bytes each time.
"""

import argparse

import torch
from safetensors.torch import save_file
from torchvision.models import resnet18, resnet34, resnet50, resnet101
from torchvision.models.detection import FasterRCNN, fasterrcnn_resnet50_fpn_v2
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from weights import uniform


def v1(num_classes, **arguments):
    """As torchvision builds it for pre-trained weights, which needs none here: with frozen batch norm."""
    return FasterRCNN(resnet_fpn_backbone(backbone_name="resnet50", weights=None), num_classes, **arguments)


def published_names(state):
    """The names of torchvision's published v1 file: the opposite of its `_load_from_state_dict`."""
    renamed = {}
    for name, tensor in state.items():
        if name.startswith(("backbone.fpn.inner_blocks.", "backbone.fpn.layer_blocks.")):
            name = name.replace(".0.weight", ".weight").replace(".0.bias", ".bias")
        renamed[name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")] = tensor
    return renamed


def legacy(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def layout_tensors():
    matrix, kernel = uniform("transposed", (5, 3)), uniform("channels_last", (4, 3, 2, 2))
    large = uniform("slice", (6, 8))
    return {
        "contiguous": uniform("contiguous", (4, 3, 2, 2)),
        "transposed": matrix.t().contiguous().t(),
        "channels_last": kernel.to(memory_format=torch.channels_last),
        "slice": large[1:4, ::2],
        "scalar": uniform("scalar", ()),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(uniform("parameter", (7,))),
        "half": uniform("half", (3, 3)).half(),
        "bfloat": uniform("bfloat", (3, 3)).bfloat16(),
        "double": uniform("double", (2, 2)).double(),
        "counter": torch.tensor(3),
    }


def constants(state):
    values = torch.cat([uniform(name, (1,)) for name in state])
    return {
        name: values[i : i + 1].reshape((1,) * tensor.dim()).expand(tensor.shape)
        if tensor.is_floating_point() else torch.tensor(0)
        for i, (name, tensor) in enumerate(state.items())
    }


def checkpoint(state):
    """What torchvision's references/detection/train.py saves."""
    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.02, momentum=0.9)
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [16, 22])
    return {
        "model": state, "optimizer": optimizer.state_dict(), "lr_scheduler": schedule.state_dict(),
        "args": argparse.Namespace(lr=0.02, data_path="coco"), "epoch": 3,
    }


def generate():
    from recording import FIXTURES

    folder = FIXTURES / "weights"
    folder.mkdir(parents=True, exist_ok=True)
    tensors = layout_tensors()
    torch.save(tensors, folder / "layouts_zip.pth")
    # A reader of archives once failed at names of this length.
    torch.save(tensors, folder / "layouts_21_characters.pth")
    legacy(tensors, folder / "layouts_legacy.pth")
    plain = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
    save_file(plain, folder / "layouts.safetensors")

    for build in (resnet18, resnet34, resnet50, resnet101):
        torch.save(constants(build(weights=None).state_dict()), folder / f"{build.__name__}.pth")
    legacy(constants(resnet18(weights=None).state_dict()), folder / "resnet18_legacy.pth")
    today = v1(91).state_dict()
    published = published_names(today)
    torch.save(constants(published), folder / "v1_published.pth")
    legacy(constants(published), folder / "v1_published_legacy.pth")
    torch.save(constants(today), folder / "v1.pth")
    torch.save(checkpoint(constants(v1(7).state_dict())), folder / "v1_checkpoint.pth")
    distributed = {f"module.{name}": tensor for name, tensor in constants(today).items()}
    legacy(checkpoint(distributed), folder / "v1_checkpoint_legacy.pth")
    v2 = fasterrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None).state_dict()
    torch.save(constants(v2), folder / "v2.pth")
    legacy(constants(v2), folder / "v2_legacy.pth")
    seven = constants(v1(7).state_dict())
    lightning = {"state_dict": {f"model.{name}": tensor for name, tensor in seven.items()}, "epoch": 3,
                 "pytorch-lightning_version": "2.5.0", "hyper_parameters": {"lr": 0.005}}
    torch.save(lightning, folder / "v1_lightning.ckpt")
    wrapped = {f"module._orig_mod.{name}": tensor for name, tensor in seven.items()}
    torch.save({"net": wrapped}, folder / "v1_compiled.pth")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), folder / "torchscript.pt")
    program = torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),))
    torch.export.save(program, folder / "exported.pt2")
    for path in sorted(folder.iterdir()):
        path.chmod(0o644)
        print(f"{path.name}: {path.stat().st_size:,} bytes")
