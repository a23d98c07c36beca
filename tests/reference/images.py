"""Small image files of the kinds that people have, and what Pillow makes of them.

Each `NAME.EXT` of tests/fixtures/images has `expected/NAME_EXT.png` beside it, without loss: the pixels of
`ImageOps.exif_transpose(image).convert("RGB")`, or of 16 bits a channel, which Pillow's convert cuts off at 255, the
values divided by 257. Pillow is the version that torchvision's requirements install.
"""

import io
import pathlib
import shutil
import struct

import numpy as np
from PIL import Image, ImageOps

FOLDER = pathlib.Path(__file__).parent.parent / "fixtures" / "images"
SIZE = (41, 30)  # width, height: neither is a multiple of a JPEG's blocks


def picture(seed):
    """Smooth colours with some noise, uint8 [H, W, 3]."""
    rng = np.random.default_rng(seed)
    width, height = SIZE
    y, x = np.mgrid[:height, :width]
    planes = [120 + 80 * np.sin(x / (5 + c) + y / (7 - c) + c) for c in range(3)]
    return np.clip(np.stack(planes, 2) + rng.integers(-20, 20, (height, width, 3)), 0, 255).astype(np.uint8)


def jpegs(colour):
    colour.save(FOLDER / "progressive.jpg", quality=90, progressive=True)
    colour.save(FOLDER / "s420.jpg", quality=85, subsampling=2)
    colour.save(FOLDER / "s422.jpg", quality=85, subsampling=1)
    colour.save(FOLDER / "s444_restart.jpg", quality=85, subsampling=0, restart_marker_rows=1)
    colour.convert("L").save(FOLDER / "grey.jpg", quality=90)
    colour.save(FOLDER / "rgb_adobe.jpg", quality=95, keep_rgb=True)
    colour.convert("CMYK").save(FOLDER / "cmyk.jpg", quality=95)
    # Without Adobe's marker the values are taken as they are.
    cmyk = (FOLDER / "cmyk.jpg").read_bytes()
    start = cmyk.index(b"\xff\xee")
    length = struct.unpack(">H", cmyk[start + 2:start + 4])[0]
    (FOLDER / "cmyk_no_adobe.jpg").write_bytes(cmyk[:start] + cmyk[start + 2 + length:])


def pngs(colour):
    rng = np.random.default_rng(6)
    palette = colour.quantize(64)
    palette.save(FOLDER / "palette.png")
    palette.save(FOLDER / "palette_transparent.png", transparency=3)
    rgba = colour.copy()
    rgba.putalpha(Image.fromarray(rng.integers(0, 256, SIZE[::-1], dtype=np.uint8)))
    rgba.save(FOLDER / "rgba.png")
    rgba.convert("LA").save(FOLDER / "la.png")
    colour.convert("1").save(FOLDER / "one_bit.png")
    colour.convert("L").save(FOLDER / "grey.png")
    ramp = np.linspace(0, 65535, SIZE[0] * SIZE[1]).reshape(SIZE[::-1]).astype(np.uint16)
    Image.fromarray(ramp).save(FOLDER / "grey16.png")


def others(colour):
    colour.save(FOLDER / "colour.bmp")
    colour.convert("L").save(FOLDER / "grey.bmp")
    colour.save(FOLDER / "colour.tif")
    colour.save(FOLDER / "lzw.tif", compression="tiff_lzw")
    colour.convert("L").save(FOLDER / "grey.tif")
    colour.save(FOLDER / "lossy.webp", quality=90)
    colour.save(FOLDER / "lossless.webp", lossless=True)


def turned(colour):
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        colour.save(FOLDER / f"exif{orientation}.jpg", quality=95, subsampling=0, exif=exif)
    exif[0x0112] = 6
    colour.save(FOLDER / "exif6.png", exif=exif)
    colour.save(FOLDER / "exif6.webp", lossless=True, exif=exif)
    colour.save(FOLDER / "exif6.tif", exif=exif)


def generate():
    shutil.rmtree(FOLDER, ignore_errors=True)
    (FOLDER / "expected").mkdir(parents=True)
    colour = Image.fromarray(picture(1))
    jpegs(colour)
    pngs(colour)
    others(colour)
    turned(colour)
    for path in sorted(path for path in FOLDER.iterdir() if path.is_file()):
        image = Image.open(io.BytesIO(path.read_bytes()))
        image.load()
        if image.mode == "I;16":
            upright = Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8)).convert("RGB")
        else:
            upright = ImageOps.exif_transpose(image).convert("RGB")
        upright.save(FOLDER / "expected" / (path.name.replace(".", "_") + ".png"))
