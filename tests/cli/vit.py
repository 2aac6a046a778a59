#!/usr/bin/env python3
"""A Vision Transformer in float64, small files to try it on, and images.

vit.py make FOLDER [NAME=VALUE...]  a ViTForImageClassification of transformers with random weights; values for preprocessor_config.json
vit.py make-wide FOLDER             the same, wider: a head that is learned on its vectors tells shapes apart
vit.py shapes FOLDER N SEED         N images of a circle, a cross, a square or a triangle on noise, and shapes.csv with their names
vit.py scene FILE SEED A B C D      an image of two by two shapes
vit.py images FOLDER N              N images of different sizes, as PNG files 0.png, 1.png, ...
vit.py check FOLDER EVENER IMAGES... -- OPTIONS...   runs evener embed and evener classify on the images; vectors and probabilities
                                    must be those of this file
vit.py tiles FOLDER EVENER 2x3 JOIN SPLIT:TAKEN IMAGES... -- OPTIONS...   the same for tiles, and for what is joined from them; each
                                    rank must take so many
"""

import json
import math
import os
import struct
import subprocess
import sys
import zlib

sys.dont_write_bytecode = True
import numpy as np

LAYERS, DIM, HEADS, FF, SIZE, PATCH = 2, 48, 3, 96, 40, 8
LABELS = ["circle", "square", "a triangle"]
PLACES, SHARP = 0.7, 1.0  # the size of places' rows, and of queries and keys


def layer_shapes():
    square = ("attention.attention.query", "attention.attention.key", "attention.attention.value", "attention.output.dense")
    return {n: (DIM, DIM) for n in square} | {"intermediate.dense": (FF, DIM), "output.dense": (DIM, FF)}


# ---- files --------------------------------------------------------------------------------------------------------

def random_tensors():
    g = np.random.default_rng(11)
    n = (SIZE // PATCH) ** 2 + 1
    out = {"vit.embeddings.cls_token": g.normal(0, 0.7, (1, 1, DIM)), "vit.embeddings.position_embeddings": g.normal(0, PLACES, (1, n, DIM)),
           "vit.embeddings.patch_embeddings.projection.weight": g.normal(0, 1.5 / (3 * PATCH**2) ** 0.5, (DIM, 3, PATCH, PATCH)),
           "vit.embeddings.patch_embeddings.projection.bias": g.normal(0, 0.3, DIM),
           "classifier.weight": g.normal(0, 2 / DIM**0.5, (len(LABELS), DIM)), "classifier.bias": g.normal(0, 0.3, len(LABELS))}
    norms = ["vit.layernorm"]
    for layer in range(LAYERS):
        b = f"vit.encoder.layer.{layer}."
        norms += [b + "layernorm_before", b + "layernorm_after"]
        for name, (rows, cols) in layer_shapes().items():
            sharp = SHARP if name.endswith(("query", "key")) else 1
            out |= {f"{b}{name}.weight": g.normal(0, 1.6 * sharp / cols**0.5, (rows, cols)), f"{b}{name}.bias": g.normal(0, 0.3, rows)}
    for name in norms:
        out |= {f"{name}.weight": g.normal(1, 0.2, DIM), f"{name}.bias": g.normal(0, 0.3, DIM)}
    return {n: t.astype("<f4") for n, t in out.items()}


def write_folder(folder, tensors, preprocessing):
    os.makedirs(folder, exist_ok=True)
    head, at = {}, 0
    for name, t in tensors.items():
        head[name] = {"dtype": "F32", "shape": t.shape, "data_offsets": [at, at + t.nbytes]}
        at += t.nbytes
    text = json.dumps(head).encode()
    with open(folder + "/model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(t.tobytes() for t in tensors.values()))
    files = {"config.json": {"model_type": "vit", "hidden_size": DIM, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
                             "intermediate_size": FF, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "image_size": SIZE,
                             "patch_size": PATCH, "num_channels": 3, "qkv_bias": True, "id2label": dict(enumerate(LABELS))},
             "preprocessor_config.json": {"do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.5, 0.4, 0.6],
                                          "image_std": [0.5, 0.25, 0.3], "resample": 2, "rescale_factor": 1 / 255,
                                          "size": {"height": SIZE, "width": SIZE}} | preprocessing}
    for name, content in files.items():
        with open(f"{folder}/{name}", "w", encoding="utf-8") as f:
            json.dump(content, f)


def write_png(path, rgb):
    """(height, width, 3 or 4) of 8 bits."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + row.tobytes() for row in rgb)
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", rgb.shape[1], rgb.shape[0], 8, 2 if rgb.shape[2] == 3 else 6, 0, 0, 0)) +
                chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def read_png(path):
    """What write_png has written, without transparency."""
    data, at, body = open(path, "rb").read(), 8, b""
    while at < len(data):
        n, kind = struct.unpack(">I4s", data[at : at + 8])
        if kind == b"IHDR":
            width, height, _, colour = struct.unpack(">IIBB", data[at + 8 : at + 18])
        body += data[at + 8 : at + 8 + n] if kind == b"IDAT" else b""
        at += n + 12
    k = 3 if colour == 2 else 4
    rows = np.frombuffer(zlib.decompress(body), np.uint8).reshape(height, 1 + width * k)
    assert not rows[:, 0].any(), "a PNG file with filters"
    return rows[:, 1:].reshape(height, width, k)[..., :3]


def make_images(folder, n):
    g = np.random.default_rng(3)
    os.makedirs(folder, exist_ok=True)
    for i in range(n):
        height, width = (SIZE, SIZE) if i == 0 else (int(g.integers(9, 130)), int(g.integers(9, 130)))
        y, x = np.mgrid[0:height, 0:width]
        waves = np.stack([128 + 90 * np.sin(g.normal(0, 8) * x / width + g.normal(0, 8) * y / height + c) for c in range(3)], -1)
        rgb = np.clip(waves + g.normal(0, 30, waves.shape), 0, 255).astype(np.uint8)
        if i == 1:
            rgb = np.concatenate([rgb, g.integers(0, 256, (height, width, 1), np.uint8)], -1)
        write_png(f"{folder}/{i}.png", rgb)


SHAPES = ["circle", "cross", "square", "triangle"]


def draw_shape(g, kind):
    """A bright shape on dark noise, near the middle, of different sizes and colours."""
    size, radius = SIZE, g.uniform(12, 17)
    y, x = np.mgrid[0:size, 0:size] + 0.5
    x, y = x - size / 2 - g.uniform(-3, 3), y - size / 2 - g.uniform(-3, 3)
    inside = {"circle": np.hypot(x, y) < radius,
              "square": np.maximum(abs(x), abs(y)) < 0.85 * radius,
              "cross": (np.minimum(abs(x), abs(y)) < 0.3 * radius) & (np.maximum(abs(x), abs(y)) < radius),
              "triangle": (y < 0.7 * radius) & (1.8 * abs(x) - y < radius)}[kind]
    dark, light = g.uniform(0, 80, 3), g.uniform(175, 255, 3)
    rgb = np.where(inside[..., None], light, dark) + g.normal(0, 25, (size, size, 3))
    return np.clip(rgb, 0, 255).astype(np.uint8)


def make_shapes(folder, n, seed):
    g = np.random.default_rng(int(seed))
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/shapes.csv", "w", encoding="utf-8") as f:
        f.write("image,shape\n")
        for i in range(int(n)):
            kind = SHAPES[i * 7 % 4]
            write_png(f"{folder}/{i}.png", draw_shape(g, kind))
            f.write(f"{i}.png,{kind}\n")


def make_scene(path, seed, kinds):
    """Two by two of them in one image."""
    g = np.random.default_rng(int(seed))
    a, b, c, d = (draw_shape(g, k) for k in kinds)
    write_png(path, np.concatenate([np.concatenate([a, b], 1), np.concatenate([c, d], 1)], 0))


# ---- images as the model reads them -------------------------------------------------------------------------------

def weights(n, n_from, cubic):
    """(n, n_from): the triangle or the cubic (a = -1/2) of Pillow, widened where the image shrinks; in units of 2^-22."""
    scale = n_from / n
    wide, reach = max(scale, 1), 2 if cubic else 1
    w = np.zeros((n, n_from), np.int64)
    for i in range(n):
        centre = (i + 0.5) * scale
        first, last = max(int(centre - reach * wide + 0.5), 0), min(int(centre + reach * wide + 0.5), n_from)
        d = np.abs((np.arange(first, last) + 0.5 - centre) / wide)
        f = np.where(d < 1, 1.5 * d**3 - 2.5 * d**2 + 1, np.where(d < 2, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2, 0)) if cubic else np.maximum(1 - d, 0)
        w[i, first:last] = np.floor(f / f.sum() * 2**22 + 0.5)
    return w


def resize(rgb, height, width, cubic):
    level = lambda x: np.clip((x + 2**21) >> 22, 0, 255)
    narrow = level(np.einsum("xk,ykc->yxc", weights(width, rgb.shape[1], cubic), rgb.astype(np.int64)))
    return level(np.einsum("yk,kxc->yxc", weights(height, rgb.shape[0], cubic), narrow))


def prepare(rgb, p):
    cubic = p["resample"] == 3
    if p.get("do_center_crop"):
        height, width = rgb.shape[:2]
        edge = p["size"]["shortest_edge"]
        rgb = resize(rgb, height * edge // min(height, width), width * edge // min(height, width), cubic)
        top, left = (rgb.shape[0] - SIZE) // 2, (rgb.shape[1] - SIZE) // 2
        rgb = rgb[top : top + SIZE, left : left + SIZE]
    else:
        rgb = resize(rgb, SIZE, SIZE, cubic)
    return (rgb / 255 - np.array(p["image_mean"])) / np.array(p["image_std"])


def cut(rgb, rows, columns):
    height, width = rgb.shape[:2]
    return [rgb[r * height // rows : (r + 1) * height // rows, c * width // columns : (c + 1) * width // columns]
            for r in range(rows) for c in range(columns)]


# ---- the model ----------------------------------------------------------------------------------------------------

erf = np.vectorize(math.erf)


class Model:
    def __init__(self, folder):
        data = open(folder + "/model.safetensors", "rb").read()
        n = struct.unpack("<Q", data[:8])[0]
        self.t = {name: np.frombuffer(data[8 + n + t["data_offsets"][0] : 8 + n + t["data_offsets"][1]], "<f4").reshape(t["shape"]).astype(np.float64)
                  for name, t in json.loads(data[8 : 8 + n]).items()}
        self.config = json.load(open(folder + "/config.json"))
        self.preprocessing = json.load(open(folder + "/preprocessor_config.json"))

    def affine(self, name, x):
        return x @ self.t[name + ".weight"].T + self.t[name + ".bias"]

    def norm(self, name, x):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.config["layer_norm_eps"]) * self.t[name + ".weight"] + self.t[name + ".bias"]

    def rows(self, rgb):
        """The rows of an image after the last norm."""
        pixels, side = prepare(rgb, self.preprocessing), self.config["patch_size"]
        kernel, across = self.t["vit.embeddings.patch_embeddings.projection.weight"], pixels.shape[0] // self.config["patch_size"]
        patches = [np.einsum("dcyx,yxc->d", kernel, pixels[r * side : (r + 1) * side, c * side : (c + 1) * side])
                   for r in range(across) for c in range(across)]
        patches = np.array(patches) + self.t["vit.embeddings.patch_embeddings.projection.bias"]
        x = np.concatenate([self.t["vit.embeddings.cls_token"][0], patches]) + self.t["vit.embeddings.position_embeddings"][0]
        heads, dim = self.config["num_attention_heads"], x.shape[1]
        for layer in range(self.config["num_hidden_layers"]):
            b = f"vit.encoder.layer.{layer}."
            y = self.norm(b + "layernorm_before", x)
            q, k, v = (self.affine(f"{b}attention.attention.{s}", y).reshape(len(x), heads, -1).transpose(1, 0, 2) for s in ("query", "key", "value"))
            s = q @ k.transpose(0, 2, 1) / (dim / heads) ** 0.5
            p = np.exp(s - s.max(-1, keepdims=True))
            x = x + self.affine(b + "attention.output.dense", (p / p.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(x.shape))
            h = self.affine(b + "intermediate.dense", self.norm(b + "layernorm_after", x))
            x = x + self.affine(b + "output.dense", h / 2 * (1 + erf(h / 2**0.5)))
        return self.norm("vit.layernorm", x)

    def probabilities(self, row):
        p = np.exp(self.affine("classifier", row))
        return p / p.sum(-1, keepdims=True)


def run(command):
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def check(folder, evener, model, images, options):
    m = Model(folder)
    rows = np.array([m.rows(read_png(path)) for path in images])
    pooled = rows.mean(1) if "mean" in options else rows[:, 0]
    want = pooled / np.linalg.norm(pooled, axis=-1, keepdims=True)
    got = np.array(run([evener, "embed", "-m", model, "--json", *options, "--image", *images])["vectors"])
    off = np.abs(got - want).max()
    probabilities = m.probabilities(rows[:, 0])
    plain = [o for i, o in enumerate(options) if o != "--pooling" and (i == 0 or options[i - 1] != "--pooling")]
    classes = run([evener, "classify", "-m", model, "--json", *plain, "--image", *images])
    off_p = np.abs(np.array([t["p"] for t in classes["images"]]) - probabilities).max()
    names = [m.config["id2label"][str(i)] for i in probabilities.argmax(1)]
    print(f"  {len(images)} images: vectors off by {off:.2g}, probabilities by {off_p:.2g}, classes {sorted(set(names))}")
    if off > 1e-5 or off_p > 1e-4 or [t["label"] for t in classes["images"]] != names or len(set(names)) < (2 if len(images) > 4 else 1):
        sys.exit(f"{model} {options}: vectors off by {off:.3g}, probabilities by {off_p:.3g}; {classes['images']}, expected {names}")
    if [t["image"] for t in classes["images"]] != images or classes["labels"] != LABELS:
        sys.exit(f"{model}: other images or labels: {classes}")


def check_tiles(folder, evener, grid, join, expected, images, options):
    """expected: the split, and how many tiles each rank takes, or "any"."""
    m, (rows, columns) = Model(folder), map(int, grid.split("x"))
    got = run([evener, "classify", "-m", folder, "--json", "--tiles", grid, "--join", join, *options, "--image", *images])
    off = 0
    for path, found in zip(images, got["images"], strict=True):
        want = np.array([m.probabilities(m.rows(tile)[0]) for tile in cut(read_png(path), rows, columns)])
        if join == "max":
            joined = want.max(0)
        else:
            joined = np.exp(np.log(want).mean(0))
            joined /= joined.sum()
        off = max(off, np.abs(np.array([t["p"] for t in found["tiles"]]) - want).max(), np.abs(np.array(found["p"]) - joined).max())
        places = [(t["row"], t["column"]) for t in found["tiles"]]
        names = [[m.config["id2label"][str(i)] for i in p.argmax(-1).reshape(-1)] for p in (want, joined)]
        if places != [(r + 1, c + 1) for r in range(rows) for c in range(columns)] or found["image"] != path:
            sys.exit(f"{path}: other tiles: {found}")
        if [t["label"] for t in found["tiles"]] != names[0] or [found["label"]] != names[1]:
            sys.exit(f"{path}: {found}, expected {names}")
    shares = ",".join(str(r["tiles"]) for r in got["ranks"])
    print(f"  {len(images)} images in {grid} tiles, {join}: probabilities off by {off:.2g}; {got['split']}, {shares}")
    split, taken = expected.split(":")
    if off > 1e-4 or got["split"] != split or taken not in ("any", shares):
        sys.exit(f"{folder} {grid} {options}: off by {off:.3g}; {got['split']} {got['ranks']}, expected {expected}")


if __name__ == "__main__":
    if sys.argv[1] == "make":
        given = dict(a.split("=", 1) for a in sys.argv[3:])
        write_folder(sys.argv[2], random_tensors(), {k: json.loads(v) for k, v in given.items()})
    elif sys.argv[1] == "make-wide":
        DIM, HEADS, FF, PLACES, SHARP = 192, 6, 384, 2.0, 0.4
        write_folder(sys.argv[2], random_tensors(), {})
    elif sys.argv[1] == "images":
        make_images(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1] == "shapes":
        make_shapes(*sys.argv[2:5])
    elif sys.argv[1] == "scene":
        make_scene(*sys.argv[2:4], sys.argv[4:])
    elif sys.argv[1] == "check":
        split = sys.argv.index("--")
        check(*sys.argv[2:5], sys.argv[5:split], sys.argv[split + 1 :])
    elif sys.argv[1] == "tiles":
        split = sys.argv.index("--")
        check_tiles(*sys.argv[2:7], sys.argv[7:split], sys.argv[split + 1 :])
