#!/usr/bin/env python3
"""BERT in float64, and small files to try it on.

encoder.py make OUT.gguf FOLDER     an encoder with random weights, as GGUF and as a folder of sentence-transformers
encoder.py make-head OUT.gguf FOLDER   the same encoder with a head for three classes, as transformers' BertForSequenceClassification
encoder.py check-head FOLDER EVENER MODEL TEXTS -- OPTIONS...   runs evener classify; probabilities must be those of this file
encoder.py check MODEL EVENER TEXTS [TOLERANCE] -- OPTIONS...   runs evener embed on the lines of TEXTS; each vector must be that
                                    of this file, and the similarities of lines 1 and 2, 3 and 4, ... must have the same order
"""

import json
import math
import os
import string
import struct
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts"))
import numpy as np

import gguf_file

LAYERS, DIM, HEADS, FF, CONTEXT = 2, 48, 3, 64, 80
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ENDS = {"token_embd": "embeddings.word_embeddings", "position_embd": "embeddings.position_embeddings",
        "token_types": "embeddings.token_type_embeddings", "token_embd_norm": "embeddings.LayerNorm"}
HEAD = {"cls": "pooler.dense", "cls.output": "classifier"}
LAYER = {"attn_q": "attention.self.query", "attn_k": "attention.self.key", "attn_v": "attention.self.value",
         "attn_output": "attention.output.dense", "attn_output_norm": "attention.output.LayerNorm",
         "ffn_up": "intermediate.dense", "ffn_down": "output.dense", "layer_output_norm": "output.LayerNorm"}


def words():
    """WordPiece as tokenizer.json has it: ## before what continues a word."""
    letters = string.ascii_lowercase + string.digits
    starts = [*letters, ".", ",", "the", "and", "cat", "dog"]
    return [*SPECIAL, *starts, *("##" + c for c in letters), "##ing"]


def shapes():
    norms = {"token_embd_norm": DIM} | {f"blk.{l}.{n}": DIM for l in range(LAYERS) for n in ("attn_output_norm", "layer_output_norm")}
    matrices = {f"blk.{l}.{n}": (rows, cols) for l in range(LAYERS) for n, rows, cols in (
        ("attn_q", DIM, DIM), ("attn_k", DIM, DIM), ("attn_v", DIM, DIM), ("attn_output", DIM, DIM), ("ffn_up", FF, DIM), ("ffn_down", DIM, FF))}
    rows = {"token_embd": (len(words()), DIM), "position_embd": (CONTEXT, DIM), "token_types": (2, DIM)}
    return rows, matrices, norms


def random_tensors():
    g = np.random.default_rng(7)
    rows, matrices, norms = shapes()
    out = {f"{n}.weight": g.normal(0, 0.7, s) for n, s in rows.items()}
    for n, s in matrices.items():
        out |= {f"{n}.weight": g.normal(0, 1.6 / s[1] ** 0.5, s), f"{n}.bias": g.normal(0, 0.3, s[0])}
    for n, d in norms.items():
        out |= {f"{n}.weight": g.normal(1, 0.2, d), f"{n}.bias": g.normal(0, 0.3, d)}
    return {n: t.astype("<f4") for n, t in out.items()}


LABELS = ["sad", "glad", "neither of both"]


def random_head():
    g = np.random.default_rng(8)
    head = {"cls.weight": g.normal(0, 4 / DIM**0.5, (DIM, DIM)), "cls.bias": g.normal(0, 0.3, DIM),
            "cls.output.weight": g.normal(0, 2 / DIM**0.5, (len(LABELS), DIM)), "cls.output.bias": np.zeros(len(LABELS))}
    return {n: t.astype("<f4") for n, t in head.items()}


def write_gguf(path, tensors):
    w, tokens = gguf_file.Writer(), words()
    w.string("general.architecture", "bert")
    for key, value in (("block_count", LAYERS), ("context_length", CONTEXT), ("embedding_length", DIM), ("feed_forward_length", FF),
                       ("attention.head_count", HEADS), ("pooling_type", 1)):
        w.u32("bert." + key, value)
    w.f32("bert.attention.layer_norm_epsilon", 1e-12)
    w.bool("bert.attention.causal", False)
    w.string("tokenizer.ggml.model", "bert")
    w.strings("tokenizer.ggml.tokens", [t if t in SPECIAL else t[2:] if t.startswith("##") else "\u2581" + t for t in tokens])
    w.i32s("tokenizer.ggml.token_type", [3 if t in SPECIAL else 1 for t in tokens])
    for key, value in (("unknown", 1), ("cls", 2), ("seperator", 3)):
        w.u32(f"tokenizer.ggml.{key}_token_id", value)
    if "cls.weight" in tensors:
        w.strings("bert.classifier.output_labels", LABELS)
    for name, t in tensors.items():
        w.tensor(name, t.shape[::-1], "F32", t.tobytes())
    w.save(path)


def hf_name(name):
    stem, ending = name.rsplit(".", 1)
    if stem.startswith("blk."):
        _, layer, stem = stem.split(".")
        return f"encoder.layer.{layer}.{LAYER[stem]}.{ending}"
    if stem.startswith("cls"):
        return f"{HEAD[stem]}.{ending}"
    return f"{ENDS[stem]}.{ending}"


def write_folder(folder, tensors):
    os.makedirs(folder + "/1_Pooling")
    head, at = {}, 0
    for name, t in tensors.items():
        head[("" if name.startswith("cls.output") else "bert.") + hf_name(name)] = {"dtype": "F32", "shape": t.shape, "data_offsets": [at, at + t.nbytes]}
        at += t.nbytes
    text = json.dumps(head).encode()
    with open(folder + "/model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(t.tobytes() for t in tensors.values()))
    files = {"config.json": {"model_type": "bert", "hidden_size": DIM, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
                             "intermediate_size": FF, "max_position_embeddings": CONTEXT, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
                             "vocab_size": len(words())} |
                            ({"id2label": dict(enumerate(LABELS))} if "cls.weight" in tensors else {}),
             "1_Pooling/config.json": {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True},
             "tokenizer.json": {"normalizer": {"type": "BertNormalizer", "lowercase": True},
                                "pre_tokenizer": {"type": "BertPreTokenizer"},
                                "model": {"type": "WordPiece", "vocab": {t: i for i, t in enumerate(words())}}}}
    for name, content in files.items():
        with open(f"{folder}/{name}", "w", encoding="utf-8") as f:
            json.dump(content, f)


def read_folder(folder):
    """The tensors by their names in GGUF; heads, epsilon."""
    config = json.load(open(folder + "/config.json"))
    data = open(folder + "/model.safetensors", "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    head, stored = json.loads(data[8 : 8 + n]), {}
    for name, t in head.items():
        if name != "__metadata__" and t["dtype"] == "F32":
            begin, end = (8 + n + o for o in t["data_offsets"])
            stored[name.removeprefix("bert.")] = np.frombuffer(data[begin:end], "<f4").reshape(t["shape"]).astype(np.float64)
    stems = [*ENDS, *HEAD, *(f"blk.{l}.{s}" for l in range(config["num_hidden_layers"]) for s in LAYER)]
    names = [f"{s}.{e}" for s in stems for e in ("weight", "bias")]
    return {n: stored[hf_name(n)] for n in names if hf_name(n) in stored}, config["num_attention_heads"], config["layer_norm_eps"]


erf = np.vectorize(math.erf)


class Encoder:
    def __init__(self, folder):
        self.t, self.heads, self.eps = read_folder(folder)

    def affine(self, name, x):
        return x @ self.t[name + ".weight"].T + self.t[name + ".bias"]

    def norm(self, name, x):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * self.t[name + ".weight"] + self.t[name + ".bias"]

    def attention(self, b, x):
        n, dim = x.shape
        q, k, v = (self.affine(b + s, x).reshape(n, self.heads, -1).transpose(1, 0, 2) for s in ("attn_q", "attn_k", "attn_v"))
        s = q @ k.transpose(0, 2, 1) / (dim / self.heads) ** 0.5
        p = np.exp(s - s.max(-1, keepdims=True))
        return self.affine(b + "attn_output", (p / p.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(n, dim))

    def rows(self, ids):
        x = self.t["token_embd.weight"][ids] + self.t["position_embd.weight"][: len(ids)] + self.t["token_types.weight"][0]
        x = self.norm("token_embd_norm", x)
        layer = 0
        while f"blk.{layer}.ffn_up.weight" in self.t:
            b = f"blk.{layer}."
            x = self.norm(b + "attn_output_norm", x + self.attention(b, x))
            h = self.affine(b + "ffn_up", x)
            x = self.norm(b + "layer_output_norm", x + self.affine(b + "ffn_down", h / 2 * (1 + erf(h / 2**0.5))))
            layer += 1
        return x

    def vector(self, ids, pooling="mean"):
        x = self.rows(ids)
        v = {"mean": x.mean(0), "cls": x[0], "last": x[-1]}[pooling]
        return v / np.linalg.norm(v)

    def probabilities(self, ids):
        p = np.exp(self.affine("cls.output", np.tanh(self.affine("cls", self.rows(ids)[0]))))
        return p / p.sum()


def run(command):
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def check(folder, evener, texts, tolerance, options):
    lines = open(texts, encoding="utf-8").read().splitlines()
    encoder = Encoder(folder)
    pooling = options[options.index("--pooling") + 1] if "--pooling" in options else "mean"
    ids = [run([evener, "tokenize", "-m", folder, "--special", "--json", "-p", line])["ids"] for line in lines]
    want = np.array([encoder.vector(i, pooling) for i in ids])
    got = np.array(run([evener, "embed", "-m", folder, "-f", texts, "--json", *options])["vectors"])
    off = np.abs(got - want).max()
    alike = [np.argsort([v[i] @ v[i + 1] for i in range(0, len(lines) - 1, 2)]).tolist() for v in (got, want)]
    print(f"  {len(lines)} texts of {min(map(len, ids))} to {max(map(len, ids))} tokens: off by {off:.2g}, order {alike[0]}")
    if off > tolerance or alike[0] != alike[1]:
        sys.exit(f"{folder} {options}: vectors off by {off:.3g}, at most {tolerance}; order of pairs {alike[0]}, expected {alike[1]}")


def check_head(folder, evener, model, texts, options):
    lines = open(texts, encoding="utf-8").read().splitlines()
    encoder = Encoder(folder)
    ids = [run([evener, "tokenize", "-m", folder, "--special", "--json", "-p", line])["ids"] for line in lines]
    want = np.array([encoder.probabilities(i) for i in ids])
    got = run([evener, "classify", "-m", model, "-f", texts, "--json", *options])
    off = np.abs(np.array([t["p"] for t in got["texts"]]) - want).max()
    names = [LABELS[i] for i in want.argmax(1)]
    print(f"  {len(lines)} texts: off by {off:.2g}, classes {sorted(set(names))}")
    if off > 1e-5 or got["labels"] != LABELS or [t["label"] for t in got["texts"]] != names or len(set(names)) < 2:
        sys.exit(f"{model} {options}: probabilities off by {off:.3g}; {got['labels']}, expected {names}")


if sys.argv[1] == "check-head":
    split = sys.argv.index("--")
    check_head(*sys.argv[2:split], sys.argv[split + 1 :])
elif sys.argv[1].startswith("make"):
    made = random_tensors() | (random_head() if sys.argv[1] == "make-head" else {})
    write_gguf(sys.argv[2], made)
    write_folder(sys.argv[3], made)
else:
    split = sys.argv.index("--")
    check(*sys.argv[2:5], float(sys.argv[5]) if split > 5 else 1e-5, sys.argv[split + 1 :])
