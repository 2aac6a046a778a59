"""T5 (Raffel et al. 2020) in float64, for oracle.py: an encoder, and a decoder that attends to it."""

import math

import numpy as np

import oracle

FARTHEST = 128


def buckets(distance, n, both_ways):
    """The buckets of distances, key - query: half of a side one each, the others in equal ratios up to FARTHEST."""
    side = n // 2 if both_ways else n
    exact = side // 2
    far = np.abs(distance) if both_ways else np.maximum(-distance, 0)
    # the largest whole k with far / exact >= (FARTHEST / exact)^(k / (side - exact)), in whole numbers
    steps = [sum(d ** (side - exact) * exact**k >= FARTHEST**k * exact ** (side - exact) for k in range(1, side - exact))
             for d in range(int(far.max()) + 1)]
    bucket = np.where(far < exact, far, exact + np.array(steps)[far])
    return bucket + np.where(both_ways & (distance > 0), side, 0)


class T5:
    def __init__(self, path):
        m = self.m = oracle.Model.__new__(oracle.Model)
        m.file, m.arch = oracle.gguf_file.Reader(path), "t5"
        self.file = m.file
        self.layers = {"enc.": m._number("block_count"), "dec.": m._number("decoder_block_count", m._number("block_count"))}
        self.heads, self.head_dim = m._number("attention.head_count"), m._number("attention.key_length")
        self.n_buckets = m._number("attention.relative_buckets_count")
        m.eps = m._number("attention.layer_norm_rms_epsilon")

    def attention(self, x, memory, stem, bias):
        q, k, v = (self.m.linear(y, f"{stem}_{c}").reshape(len(y), self.heads, -1).transpose(1, 0, 2)
                   for y, c in ((x, "q"), (memory, "k"), (memory, "v")))
        s = q @ k.transpose(0, 2, 1) + bias
        p = np.exp(s - s.max(-1, keepdims=True))
        out = p @ v / p.sum(-1, keepdims=True)
        return self.m.linear(out.transpose(1, 0, 2).reshape(len(x), -1), stem + "_o")

    def bias(self, side, n):
        distance = np.arange(n)[None, :] - np.arange(n)[:, None]
        table = self.m.tensor(side + "blk.0.attn_rel_b.weight")
        bias = table[buckets(distance, self.n_buckets, side == "enc.")].transpose(2, 0, 1)
        return bias if side == "enc." else np.where(distance > 0, -np.inf, bias)

    def feed_forward(self, x, layer):
        up = self.m.linear(x, layer + "ffn_up")
        if self.m.has(layer + "ffn_gate.weight"):
            return self.m.linear(oracle.gelu(self.m.linear(x, layer + "ffn_gate")) * up, layer + "ffn_down")
        return self.m.linear(np.maximum(up, 0), layer + "ffn_down")

    def run(self, side, ids, memory=None):
        norm, x = self.m.norm, self.m.tensor("token_embd.weight")[np.asarray(ids)]
        bias = self.bias(side, len(ids))
        for layer in (f"{side}blk.{i}." for i in range(self.layers[side])):
            y = norm(x, layer + "attn_norm.weight")
            x = x + self.attention(y, y, layer + "attn", bias)
            if memory is not None:
                x = x + self.attention(norm(x, layer + "cross_attn_norm.weight"), memory, layer + "cross_attn", 0)
            x = x + self.feed_forward(norm(x, layer + "ffn_norm.weight"), layer)
        return norm(x, side + "output_norm.weight")

    def logits(self, text, ids, positions):
        y = self.run("dec.", ids, self.run("enc.", text))[list(positions)]
        if self.m.has("output.weight"):
            return y @ self.m.tensor("output.weight").T
        return y @ self.m.tensor("token_embd.weight").T / math.sqrt(y.shape[-1])
