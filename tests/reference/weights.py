"""Weights and images that Python and Rust both compute, so that 41.8 M numbers need no file.

Element `i` (flat, row-major) of the tensor called `name` is made of nothing but its name and `i`:

    key  = FNV-1a, 64 bit, of the UTF-8 bytes of `name`
    z    = key + (i + 1) * 0x9E3779B97F4A7C15                 (everything modulo 2^64)
    z    = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9               (splitmix64's finaliser)
    z    = (z ^ (z >> 27)) * 0x94D049BB133111EB
    z    =  z ^ (z >> 31)
    u    = (z >> 40) / 2^24                                   in [0, 1), exact in f32
    f32 value = round( offset + (2 u - 1) * bound )           two f64 roundings (no fused multiply-add), one to f32

`name` is "<seed>:<key of torchvision's state_dict>", for example "3:backbone.body.conv1.weight";
`(offset, bound)` comes from `rule`.
"""

import math

import numpy as np
import torch

SQRT_2 = math.sqrt(2.0)
MASK = (1 << 64) - 1


def key(name: str) -> int:
    """FNV-1a, 64 bit."""
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = ((state ^ byte) * 0x100000001B3) & MASK
    return state


def unit(name: str, count: int, first: int = 0) -> np.ndarray:
    """Values `u` number `first` to `first + count` of `name`, in [0, 1), f64."""
    with np.errstate(over="ignore"):
        z = np.uint64(key(name)) + np.arange(first + 1, first + count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / float(1 << 24)


def uniform(name: str, shape, low: float = -1.0, high: float = 1.0) -> torch.Tensor:
    """f32 tensor: `low + u * (high - low)`; for inputs of the op fixtures, which are stored whole."""
    shape = tuple(shape)
    values = low + unit(name, math.prod(shape)) * (high - low)
    return torch.from_numpy(values.astype(np.float32)).reshape(shape)


def rule(name: str, shape) -> tuple[float, float]:
    """(offset, bound) of the tensor `name`. THE table; Rust has the same one.

    Matrices and kernels are zero-mean with standard deviation gain / sqrt(fan_in),
    fan_in = product of all dimensions but the first; vectors are norms and biases.
    """
    if len(shape) > 1:
        last_two = ".".join(name.split(".")[-2:])  # "conv1.weight", "cls_score.weight", "0.weight", ...
        gain = GAINS.get(last_two, 1.0)  # 1: FPN, and `downsample.0.weight`
        return 0.0, gain * math.sqrt(3.0 / math.prod(shape[1:]))
    if name.endswith("running_mean"):
        return 0.0, 0.1
    if name.endswith("running_var"):
        return 1.0, 0.5
    if name.endswith("cls_logits.bias"):
        return -2.0, 0.1  # keeps sigmoids off 1, where f32 has no room
    if name.endswith(".bias"):
        return 0.0, 0.1
    if name.endswith(".bn2.weight"):  # one per residual branch, of either block type: keeps the sum from growing
        return 0.25, 0.125
    return 1.0, 0.5  # every other norm's weight


GAINS = {
    "conv1.weight": SQRT_2,  # ResNet; ReLU halves the second moment, these restore it
    "conv2.weight": SQRT_2,
    "conv3.weight": SQRT_2,
    "fc6.weight": SQRT_2,
    "fc7.weight": SQRT_2,
    "cls_logits.weight": 1.0,
    "bbox_pred.weight": 0.3,
    "cls_score.weight": 1.0,
}


def fill(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Overwrites every floating point parameter and buffer of `model`; counters become zero.

    The generator's name of a tensor is "<seed>:<key of the state_dict>"; `rule` sees the key alone.
    """
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if not tensor.is_floating_point():
                tensor.zero_()
                continue
            offset, bound = rule(name, tensor.shape)
            flat, block = tensor.view(-1), 1 << 20  # by blocks: the benchmark's peak memory shall not be this one's
            for first in range(0, len(flat), block):
                count = min(block, len(flat) - first)
                values = offset + (2.0 * unit(f"{seed}:{name}", count, first) - 1.0) * bound
                flat[first : first + count] = torch.from_numpy(values.astype(np.float32))
    return model


def image(name: str, height: int, width: int) -> torch.Tensor:
    """f32 image [3, height, width] in [0, 1): blocks of 32x32 pixels under blocks of 8x8 pixels.

    pixel(c, y, x) = (coarse(c, y / 32, x / 32) + fine(c, y / 8, x / 8)) / 2 in f64, rounded to f32, where
    coarse is `u` of "<name>/coarse", shape [3, ceil(height / 32), ceil(width / 32)], fine likewise with 8.
    """

    def blocks(kind: str, size: int) -> np.ndarray:
        rows, columns = -(-height // size), -(-width // size)
        grid = unit(f"{name}/{kind}", 3 * rows * columns).reshape(3, rows, columns)
        return grid.repeat(size, 1).repeat(size, 2)[:, :height, :width]

    return torch.from_numpy(((blocks("coarse", 32) + blocks("fine", 8)) / 2.0).astype(np.float32))
