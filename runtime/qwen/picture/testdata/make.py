"""Makes picture files of every kind and says what Pillow reads in them.

    python make.py files DIR WIDTHxHEIGHT...   pictures in DIR and DIR/expected.json
    python make.py resized FILE                a small picture at other sizes
    python make.py processor FILE              what Qwen2VLImageProcessor makes of a small picture

The committed files are those of `files golden 17x13`, `resized resized.json` and `processor
processor.json`, made with the versions that verify/interoptest/pictures.txt pins. Seeds are fixed.
"""

import base64, io, json, os, struct, sys, zlib

import numpy as np
from PIL import Image, ImageOps


def source(w, h, channels, seed=1):
    """Waves with a little noise: what photographs and codecs are about."""
    rng = np.random.default_rng(seed * 1000003 + w * 1009 + h)
    y, x = np.mgrid[0:h, 0:w]
    out = [127 + 100 * np.sin(x / (5 + 2 * c) + c) * np.cos(y / (7 - c)) + rng.normal(0, 8, (h, w)) for c in range(channels)]
    return np.clip(np.stack(out, -1), 0, 255).astype(np.uint8)


def saved(image, fmt, **options):
    b = io.BytesIO()
    image.save(b, fmt, **options)
    return b.getvalue()


def exif(orientation, endian):
    e = Image.Exif()
    e.endian = endian
    e[0x010F] = "a camera with a long name"
    e[0x0112] = orientation
    return e.tobytes()


def png(w, h, depth, colour, samples, extra=b""):
    """A PNG that Pillow cannot write."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    rows = b"".join(b"\0" + samples[y].tobytes() for y in range(h))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, 0))
            + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")), chunk


def pngs(w, h):
    rgb = Image.fromarray(source(w, h, 3))
    yield "rgb.png", saved(rgb, "PNG")
    yield "rgba.png", saved(Image.fromarray(source(w, h, 4)), "PNG")
    grey = Image.fromarray(source(w, h, 1)[:, :, 0])
    yield "grey.png", saved(grey, "PNG")
    yield "grey-transparent.png", saved(grey, "PNG", transparency=int(np.asarray(grey)[0, 0]))
    yield "rgb-transparent.png", saved(rgb, "PNG", transparency=tuple(int(v) for v in np.asarray(rgb)[0, 0]))
    yield "grey-alpha.png", saved(Image.fromarray(source(w, h, 2), "LA"), "PNG")
    yield "bits.png", saved(grey.convert("1"), "PNG")
    palette = rgb.quantize(13)
    yield "palette.png", saved(palette, "PNG")
    yield "palette-transparent.png", saved(palette, "PNG", transparency=bytes(range(0, 250, 20)))
    wide = (source(w, h, 4).astype(np.uint16) * 256 + source(w, h, 4, seed=2)).astype(">u2")
    low = wide[:, :, 0].copy()
    low[::2] = low[::2].astype(np.uint16) // 200
    low = low.astype(">u2")
    for name, colour, samples in (("grey16", 0, low), ("grey16-alpha", 4, wide[:, :, :2]), ("rgb16", 2, wide[:, :, :3]), ("rgba16", 6, wide)):
        yield name + ".png", png(w, h, 16, colour, samples)[0]
    chunk = png(1, 1, 8, 0, np.zeros((1, 1), np.uint8))[1]
    yield "grey16-transparent.png", png(w, h, 16, 0, low, chunk(b"tRNS", low[0, 0].tobytes()))[0]
    yield "grey4.png", png(w, h, 4, 0, source((w + 1) // 2, h, 1)[:, :, 0])[0]
    yield "grey2.png", png(w, h, 2, 0, source((w + 3) // 4, h, 1)[:, :, 0])[0]


def jpegs(w, h):
    rgb = Image.fromarray(source(w, h, 3))
    for name, sampling in (("444", "4:4:4"), ("422", "4:2:2"), ("420", "4:2:0")):
        yield name + ".jpg", saved(rgb, "JPEG", quality=90, subsampling=sampling)
    # Samplings that Pillow does not write: a square file read with another order of its
    # blocks is a valid one, of a scrambled picture.
    side = (max(w, h) + 31) // 32 * 32
    square = Image.fromarray(source(side, side, 3))
    for name, sampling, old, new in (("440", "4:2:2", 0x21, 0x12), ("411", "4:2:0", 0x22, 0x41)):
        data = bytearray(saved(square, "JPEG", quality=90, subsampling=sampling))
        at = data.index(b"\xff\xc0") + 11
        assert data[at] == old
        data[at] = new
        yield name + ".jpg", bytes(data)
    yield "progressive.jpg", saved(rgb, "JPEG", quality=75, progressive=True)
    yield "restarts.jpg", saved(rgb, "JPEG", quality=75, restart_marker_blocks=1)
    yield "grey.jpg", saved(rgb.convert("L"), "JPEG", quality=80)
    yield "rgb.jpg", saved(rgb, "JPEG", quality=90, keep_rgb=True)
    cmyk = saved(Image.fromarray(source(w, h, 4), "CMYK"), "JPEG", quality=90)
    yield "cmyk.jpg", cmyk
    at = cmyk.index(b"Adobe") + 11  # the transform: 0 is none, 2 is YCCK
    yield "ycck.jpg", cmyk[:at] + b"\2" + cmyk[at + 1:]


def bmps(w, h):
    rgb = Image.fromarray(source(w, h, 3))
    yield "rgb.bmp", saved(rgb, "BMP")
    yield "rgba.bmp", saved(Image.fromarray(source(w, h, 4)), "BMP")
    yield "grey.bmp", saved(rgb.convert("L"), "BMP")
    yield "palette.bmp", saved(rgb.quantize(100), "BMP")


def webps(w, h):
    for channels, name in ((3, "rgb"), (4, "rgba")):
        image = Image.fromarray(source(w, h, channels))
        yield name + ".webp", saved(image, "WEBP", quality=80)
        yield name + "-lossless.webp", saved(image, "WEBP", lossless=True, exact=True)


def turned(w, h):
    rgb = Image.fromarray(source(w, h, 3))
    for o in range(1, 9):
        note = exif(o, "<" if o % 2 else ">")
        yield f"turned{o}.png", saved(rgb, "PNG", exif=note)
        yield f"turned{o}.jpg", saved(rgb, "JPEG", quality=90, exif=note)
        yield f"turned{o}.webp", saved(rgb, "WEBP", lossless=True, exif=note)


def files(folder, sizes):
    os.makedirs(folder, exist_ok=True)
    expected = {}
    for size in sizes:
        w, h = map(int, size.split("x"))
        for kind in (pngs, jpegs, bmps, webps, turned):
            for name, data in kind(w, h):
                name = size + "-" + name
                with open(os.path.join(folder, name), "wb") as f:
                    f.write(data)
                image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
                expected[name] = {"W": image.width, "H": image.height, "Pix": base64.b64encode(image.tobytes()).decode()}
    with open(os.path.join(folder, "expected.json"), "w") as f:
        json.dump(expected, f, indent=1)
        f.write("\n")


def resized(path):
    pix = source(23, 19, 3)
    cases = []
    for w, h in ((23, 19), (46, 19), (23, 7), (11, 40), (1, 1), (60, 1), (8, 8)):
        for name, code in (("lanczos", Image.Resampling.LANCZOS), ("bicubic", Image.Resampling.BICUBIC)):
            out = Image.fromarray(pix).resize((w, h), code)
            cases.append({"filter": name, "W": w, "H": h, "Pix": base64.b64encode(out.tobytes()).decode()})
    with open(path, "w") as f:
        json.dump({"picture": {"W": 23, "H": 19, "Pix": base64.b64encode(pix.tobytes()).decode()}, "resized": cases}, f, indent=1)
        f.write("\n")


SMALL = {
    "image_processor_type": "Qwen2VLImageProcessor", "min_pixels": 256, "max_pixels": 4096, "patch_size": 4, "temporal_patch_size": 2,
    "merge_size": 2, "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
}


def patches(config, image):
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
    out = Qwen2VLImageProcessor(**{k: v for k, v in config.items() if k != "image_processor_type"}).preprocess(image, return_tensors="np")
    return out["image_grid_thw"][0].tolist(), np.ascontiguousarray(out["pixel_values"], dtype="<f4")


def processor(path):
    pix = source(31, 22, 3)
    grid, values = patches(SMALL, Image.fromarray(pix))
    with open(path, "w") as f:
        json.dump({"config": SMALL, "picture": {"W": 31, "H": 22, "Pix": base64.b64encode(pix.tobytes()).decode()},
                   "grid": grid, "patches": base64.b64encode(values.tobytes()).decode()}, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    if sys.argv[1] == "files":
        files(sys.argv[2], sys.argv[3:])
    elif sys.argv[1] == "resized":
        resized(sys.argv[2])
    elif sys.argv[1] == "processor":
        processor(sys.argv[2])
    else:
        sys.exit(f"{sys.argv[1]!r} is not files, resized or processor")
