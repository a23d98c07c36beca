"""What an exported detector finds in an image: `python detect.py model.onnx board.png [reference.png]`.

Needs numpy, onnxruntime and pillow. The model takes f32 images of any size: export it without `--size`.
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image


def resized(image, height, width):
    """Bilinear with half-pixel centres and without antialiasing, as in training. `image` is [H, W, 3]."""

    def along(old, new):
        at = np.maximum((np.arange(new) + 0.5) * (old / new) - 0.5, 0).astype(np.float32)
        low = np.minimum(at.astype(int), old - 1)
        return low, np.minimum(low + 1, old - 1), at - low

    (top, bottom, down), (left, right, over) = along(image.shape[0], height), along(image.shape[1], width)
    rows = image[top] * (1 - down)[:, None, None] + image[bottom] * down[:, None, None]
    return rows[:, left] * (1 - over)[:, None] + rows[:, right] * over[:, None]


session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
settings = session.get_modelmeta().custom_metadata_map
if settings["reference"] == "difference":  # the detector sees the image, its reference, and what differs, all grey
    pair = [np.asarray(Image.open(path).convert("RGB")) @ [2126, 7152, 722] // 10000 for path in sys.argv[2:4]]
    image = np.stack([*pair, abs(pair[0] - pair[1])], 2).astype(np.float32) / 255
else:
    image = np.asarray(Image.open(sys.argv[2]).convert("RGB"), np.float32) / 255

short, long = min(image.shape[:2]), max(image.shape[:2])
scale = min(int(settings["min_size"]) / short, int(settings["max_size"]) / long)
height, width = int(image.shape[0] * scale), int(image.shape[1] * scale)
padded = np.zeros((1, 3, -(-height // 32) * 32, -(-width // 32) * 32), np.float32)
padded[0, :, :height, :width] = resized(image, height, width).transpose(2, 0, 1)

inputs = {"images": padded, "sizes": np.array([[height, width]])}
count, boxes, scores, labels = session.run(["num_detections", "boxes", "scores", "labels"], inputs)
boxes *= [image.shape[1] / width, image.shape[0] / height] * 2
names = json.loads(settings["class_names"])
for box, score, label in zip(boxes[0, : count[0]], scores[0], labels[0]):
    name = names[label - 1] if names else str(label)
    print(json.dumps({"box": [round(float(side), 3) for side in box], "name": name, "score": round(float(score), 6)}))
