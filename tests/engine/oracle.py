"""Logits of a GGUF decoder in float64, written from the papers and from ggml's definition of its blocks.

It shares no line with the program under test; only the file's directory is read by scripts/gguf_file.py.
  RMSNorm: Zhang and Sennrich 2019. Rotary embedding: Su et al. 2021; linear scaling: Chen et al. 2023; YaRN: Peng et
  al. 2023; divided frequencies: Llama 3.1; layers that do not rotate: Yang et al. 2025;
  LongRoPE: Ding et al. 2024. Grouped queries: Ainslie et
  al. 2023. SwiGLU: Shazeer 2020.
  Experts: Shazeer et al. 2017, Jiang et al. 2024 (Mixtral), Qwen Team 2025.
  Gated DeltaNet: Yang et al. 2024, Qwen Team 2025.
  Windows, caps, norms of sums: Gemma Team 2024 and 2025 (Gemma 2, Gemma 3); layers of two shapes: Gemma 4.
  GPT-2: Radford et al. 2019; LayerNorm: Ba et al. 2016; GELU: Hendrycks and Gimpel 2016.
"""

import os
import struct
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts"))
import numpy as np

import gguf_file


# ---- weights ---------------------------------------------------------------------------------------------------------


def _f16(raw):
    return np.ascontiguousarray(raw).view("<f2").astype(np.float64)


def _nibbles(qs):
    """(n, 16) bytes: 16 low nibbles, then 16 high ones."""
    return np.concatenate([qs & 15, qs >> 4], axis=1).astype(np.float64)


def _fifth(qh):
    """(n, 4) bytes: bit i is the fifth bit (16) of element i."""
    return 16.0 * np.unpackbits(qh, axis=1, bitorder="little")


def _scales_of_6_bits(b):
    """12 bytes: scales 0-3 and minima 0-3 in 6 low bits, 4-7 in nibbles of the last four bytes and the spare bits."""
    b = b.astype(np.int64)
    sc = np.concatenate([b[:, 0:4] & 63, (b[:, 8:12] & 15) | (b[:, 0:4] >> 6) << 4], axis=1)
    mn = np.concatenate([b[:, 4:8] & 63, (b[:, 8:12] >> 4) | (b[:, 4:8] >> 6) << 4], axis=1)
    return sc, mn


def _pairs_of_32(qs):
    """(n, 128) bytes: each 32 bytes hold 32 elements in low nibbles and the next 32 in high ones. To (n, 8, 32)."""
    b = qs.reshape(-1, 4, 1, 32)
    return np.concatenate([b & 15, b >> 4], axis=2).reshape(-1, 8, 32).astype(np.int64)


def _two_bits(qs):
    """(n, 64) bytes: each 32 bytes hold 4 runs of 32 elements, two bits each from the lowest. To (n, 8, 32)."""
    b = qs.reshape(-1, 2, 1, 32)
    return np.concatenate([b >> s & 3 for s in (0, 2, 4, 6)], axis=2).reshape(-1, 8, 32).astype(np.int64)


def _bit_planes(qh):
    """(n, 32) bytes: bit g of byte i belongs to element 32 g + i. To (n, 8, 32)."""
    return np.stack([qh >> g & 1 for g in range(8)], axis=1).astype(np.int64)


def _q2_k(b):
    sc, qs, d, dmin = b[:, :16].astype(np.int64), b[:, 16:80], _f16(b[:, 80:82]), _f16(b[:, 82:84])
    q = _two_bits(qs).reshape(-1, 16, 16)
    return (d * (sc & 15))[..., None] * q - (dmin * (sc >> 4))[..., None]


def _q3_k(b):
    q = _two_bits(b[:, 32:96]) - 4 * (1 - _bit_planes(b[:, :32]))
    s = b[:, 96:108].astype(np.int64)
    low = np.concatenate([s[:, :8] & 15, s[:, :8] >> 4], axis=1)
    high = np.concatenate([s[:, 8:12] >> t & 3 for t in (0, 2, 4, 6)], axis=1)
    scale = _f16(b[:, 108:110]) * ((low | high << 4) - 32)
    return scale[..., None] * q.reshape(-1, 16, 16)


def _q4_k(b):
    sc, mn = _scales_of_6_bits(b[:, 4:16])
    return (_f16(b[:, 0:2]) * sc)[..., None] * _pairs_of_32(b[:, 16:]) - (_f16(b[:, 2:4]) * mn)[..., None]


def _q5_k(b):
    sc, mn = _scales_of_6_bits(b[:, 4:16])
    q = _pairs_of_32(b[:, 48:]) + 16 * _bit_planes(b[:, 16:48])
    return (_f16(b[:, 0:2]) * sc)[..., None] * q - (_f16(b[:, 2:4]) * mn)[..., None]


def _q6_k(b):
    ql, qh = b[:, :128].reshape(-1, 2, 2, 32), b[:, 128:192]
    low = np.concatenate([ql & 15, ql >> 4], axis=2).reshape(-1, 8, 32).astype(np.int64)
    q = (low | _two_bits(qh) << 4) - 32
    scale = _f16(b[:, 208:210]) * np.ascontiguousarray(b[:, 192:208]).view(np.int8)
    return scale[..., None] * q.reshape(-1, 16, 16)


IQ4_VALUES = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float64)


MXFP4_VALUES = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.float64)


def _iq4_xs(b):
    groups = np.arange(8)
    high = b[:, 2:4].copy().view("<u2") >> 2 * groups & 3
    low = b[:, 4 + groups // 2] >> groups % 2 * 4 & 15
    scale = _f16(b[:, :2]) * ((low.astype(np.int64) | high.astype(np.int64) << 4) - 32)
    values = IQ4_VALUES[_nibbles(b[:, 8:].reshape(-1, 16)).astype(np.int64)].reshape(-1, 8, 32)
    return scale[..., None] * values


def _nvfp4(b):
    e, m = (b[:, :4] >> 3 & 15).astype(np.int64), (b[:, :4] & 7).astype(np.float64)
    scale = np.where(b[:, :4] == 127, 0, np.where(e == 0, m / 8 * 2.0**-6, (1 + m / 8) * 2.0 ** (e - 7))) / 2
    q = b[:, 4:].reshape(-1, 4, 8)
    return scale[..., None] * MXFP4_VALUES[np.concatenate([q & 15, q >> 4], axis=2)]


DECODERS = {
    "F32": lambda b: np.ascontiguousarray(b).view("<f4").astype(np.float64),
    "F16": _f16,
    "BF16": lambda b: (np.ascontiguousarray(b).view("<u2").astype(np.uint32) << 16).view(np.float32).astype(np.float64),
    "Q4_0": lambda b: _f16(b[:, :2]) * (_nibbles(b[:, 2:]) - 8),
    "Q4_1": lambda b: _f16(b[:, :2]) * _nibbles(b[:, 4:]) + _f16(b[:, 2:4]),
    "Q5_0": lambda b: _f16(b[:, :2]) * (_nibbles(b[:, 6:]) + _fifth(b[:, 2:6]) - 16),
    "Q5_1": lambda b: _f16(b[:, :2]) * (_nibbles(b[:, 8:]) + _fifth(b[:, 4:8])) + _f16(b[:, 2:4]),
    "Q8_0": lambda b: _f16(b[:, :2]) * b[:, 2:].view(np.int8),
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
    "IQ4_NL": lambda b: _f16(b[:, :2]) * IQ4_VALUES[_nibbles(b[:, 2:]).astype(np.int64)],
    "IQ4_XS": _iq4_xs,
    "NVFP4": _nvfp4,
    "MXFP4": lambda b: np.exp2(b[:, :1].astype(np.float64) - 128) * MXFP4_VALUES[_nibbles(b[:, 1:]).astype(np.int64)],
}


def dequantize(raw, form):
    blocks = np.asarray(raw).reshape(-1, gguf_file.FORMATS[form][2])
    return DECODERS[form](blocks).reshape(-1)


def gelu(u):
    """The form with tanh."""
    return 0.5 * u * (1 + np.tanh(np.sqrt(2 / np.pi) * (u + 0.044715 * u**3)))


# ---- the model -------------------------------------------------------------------------------------------------------


NEIGHBOURS = ("llama", "smollm3", "granite", "mistral3", "deepseek2")  # rotate pairs (2i, 2i + 1), the others halves
ARCHS = (*NEIGHBOURS, "qwen2", "qwen2moe", "qwen3", "qwen3moe", "qwen2vl", "qwen3vl", "phi3", "olmo2", "gemma2", "gemma3", "gemma4", "gpt-oss", "qwen35",
         "qwen35moe", "simple-lm")


class Model:
    def __init__(self, path):
        self.file = gguf_file.Reader(path)
        self.arch = self._text("general.architecture")
        assert self.arch in ARCHS
        self.gemma = self.arch in ("gemma2", "gemma3", "gemma4")
        self.layers = self._number("block_count") - self._number("nextn_predict_layers", 0)
        self.dim = self._number("embedding_length")
        if self.arch == "simple-lm":
            return
        self.heads = self._number("attention.head_count")
        self.head_dim = self._number("attention.key_length", self.dim // self.heads)
        self.eps = self._number("attention.layer_norm_rms_epsilon")
        # keys that only Granite's files have
        self.embedding_scale = self._number("embedding_scale", np.sqrt(self.dim) if self.gemma else 1.0)
        self.residual_scale = self._number("residual_scale", 1.0)
        self.attention_scale = 1.0 if self.arch == "gemma4" else self._number("attention.scale", 1 / np.sqrt(self.head_dim))
        self.logit_scale = self._number("logit_scale", 1.0)
        self.score_cap = self._number("attn_logit_softcapping", 0.0)
        self.logit_cap = self._number("final_logit_softcapping", 0.0)
        self.windows = self._windows()

    def _text(self, key, default=None):
        return self.file.keys[key][1][8:].decode() if key in self.file.keys else default

    def _number(self, suffix, default=None):
        kind, raw = self.file.keys.get(f"{self.arch}.{suffix}", (None, None))
        return default if kind is None else struct.unpack("<f" if kind == gguf_file.F32 else "<I", raw)[0]

    def head_dim_of(self, i):
        swa = self.arch == "gemma4" and self.windows[i]
        return self._number("attention.key_length_swa", self.head_dim) if swa else self.head_dim

    def kv_heads_of(self, i):
        key = f"{self.arch}.attention.head_count_kv"
        if self.file.keys.get(key, (None,))[0] == gguf_file.ARRAY:
            return int(np.frombuffer(self.file.keys[key][1][12:], "<i4")[i])
        return self._number("attention.head_count_kv", self.heads)

    def rope_dim_of(self, i):
        swa = self.arch == "gemma4" and self.windows[i]
        return self._number("rope.dimension_count_swa" if swa else "rope.dimension_count", self.head_dim_of(i))

    def _windows(self):
        """The keys that each layer sees; 0: all."""
        window = self._number("attention.sliding_window", 0)
        period = {"gpt-oss": 2, "gemma2": 2, "gemma3": 6, "olmo2": 4}.get(self.arch, self.layers + 1)
        pattern = [(i + 1) % period != 0 for i in range(self.layers)]
        kind, raw = self.file.keys.get(f"{self.arch}.attention.sliding_window_pattern", (None, None))
        if kind is not None:
            pattern = [b != 0 for b in raw[12:]]
        return [window if windowed else 0 for windowed in pattern]

    def tensor(self, name):
        """(rows, columns) or (n)."""
        shape, form, raw = self.file.tensors[name]
        return dequantize(raw, form).reshape(shape[::-1])

    def has(self, name):
        return name in self.file.tensors

    def frequencies(self, i):
        """The radians per position of each pair, and the factor of cos and sin, in layer i."""
        n, base = self.rope_dim_of(i), self._number("rope.freq_base", 10000.0)
        pair = np.arange(n // 2, dtype=np.float64)
        if self.arch == "olmo2" and self.windows[i]:
            return base ** (-2 * pair / n), 1
        if self.arch in ("gemma3", "gemma4") and self.windows[i]:  # a base of its own, and never stretched
            return self._number("rope.freq_base_swa", 10000.0) ** (-2 * pair / n), 1
        f = base ** (-2 * pair / n)
        kind, s = self._text(f"{self.arch}.rope.scaling.type"), self._number("rope.scaling.factor", 1.0)
        context = self._number("rope.scaling.original_context_length", self._number("context_length"))
        attn = self._number("rope.scaling.attn_factor", 1.0)
        if self.has("rope_freqs.weight"):
            f = f / self.tensor("rope_freqs.weight")
        if kind is None and self.has("rope_factors_short.weight"):
            kind = "longrope"
        if kind == "longrope":  # the tests use the whole context that the file states
            length = "long" if self._number("context_length") > context else "short"
            f = f / self.tensor(f"rope_factors_{length}.weight")
        if kind in ("linear", "longrope"):
            return f / s, attn
        if kind != "yarn":
            return f, attn
        # YaRN: pairs that turn beta_fast times and more within the original context stay, those that turn fewer than
        # beta_slow times are stretched, between the two a ramp over the index of the pair
        index = lambda turns: n * np.log(context / (turns * 2 * np.pi)) / (2 * np.log(base))
        first, last = index(self._number("rope.scaling.yarn_beta_fast", 32.0)), index(self._number("rope.scaling.yarn_beta_slow", 1.0))
        if self.arch != "gpt-oss":  # whose ramp is not rounded to whole pairs
            first, last = np.floor(first), np.ceil(last)
        first, last = max(0, first), min(n - 1, last)
        stretched = np.clip((pair - first) / max(last - first, 1e-3), 0, 1)
        kept = self._number("rope.scaling.yarn_ext_factor", 1.0) * (1 - stretched)
        share = self._number("rope.scaling.yarn_log_multiplier", 0.0)
        if self.arch == "deepseek2":  # it is a factor of scores
            return f / s * (1 - kept) + f * kept, attn
        sharper = (1 + 0.1 * np.log(max(s, 1))) / (1 + 0.1 * share * np.log(max(s, 1)))
        return f / s * (1 - kept) + f * kept, attn * sharper

    def rotate(self, x, i):
        """x (tokens, heads, head_dim) of layer i."""
        f, magnitude = self.frequencies(i)
        angle = np.arange(len(x))[:, None, None] * f
        turn = magnitude * np.exp(1j * angle)
        n, out = self.rope_dim_of(i), x.copy()
        if self.arch in NEIGHBOURS:
            first, second = slice(0, n, 2), slice(1, n, 2)
        else:
            first, second = slice(0, n // 2), slice(n // 2, n)
        z = (x[..., first] + 1j * x[..., second]) * turn
        out[..., first], out[..., second] = z.real, z.imag
        return out

    def unit(self, x):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps)

    def norm(self, x, name):
        return self.unit(x) * self.tensor(name)

    def norm_if_any(self, x, name):
        """The norm of what a block reads or adds, where the file has one."""
        return self.norm(x, name) if self.has(name) else x

    def linear(self, x, name):
        y = x @ self.tensor(name + ".weight").T
        return y + self.tensor(name + ".bias") if self.has(name + ".bias") else y

    def stacked(self, x, fused, parts):
        """The products of several matrices (name, rows), which a file may keep in one tensor."""
        if self.has(parts[0][0] + ".weight"):
            return [self.linear(x, name) for name, _ in parts]
        return np.split(self.linear(x, fused), np.cumsum([rows for _, rows in parts])[:-1], axis=-1)

    def attention(self, x, i):
        n, layer, head_dim, kv_heads = len(x), f"blk.{i}.", self.head_dim_of(i), self.kv_heads_of(i)
        q_dim, kv_dim = self.heads * head_dim, kv_heads * head_dim
        gates = self.arch in ("qwen35", "qwen35moe")  # each head of queries is followed by its gate
        parts = [(layer + "attn_q", q_dim * (1 + gates)), (layer + "attn_k", kv_dim), (layer + "attn_v", kv_dim)]
        if self.arch == "gemma4" and not self.has(layer + "attn_v.weight"):
            parts[2] = parts[1]
        keys = self.keys_of(i)
        if keys != i:  # queries only
            q, (k, v) = self.linear(x, parts[0][0]).reshape(n, -1, head_dim), self.kept[keys]
            q = self.rotate(self.norm(q, layer + "attn_q_norm.weight"), i)
            return self.attend(q, k, v, i)
        q, k, v = self.stacked(x, layer + "attn_qkv", parts)
        if gates:
            q, gate = np.split(q.reshape(n, self.heads, 2 * self.head_dim), 2, axis=-1)
        if self.arch == "olmo2":  # over all heads
            q, k = self.norm(q, layer + "attn_q_norm.weight"), self.norm(k, layer + "attn_k_norm.weight")
        q, k, v = (y.reshape(n, -1, head_dim) for y in (q, k, v))
        if self.arch == "gemma4":
            v = self.unit(v)
        if self.arch != "olmo2" and self.has(layer + "attn_q_norm.weight"):
            q, k = self.norm(q, layer + "attn_q_norm.weight"), self.norm(k, layer + "attn_k_norm.weight")
        if self.arch != "smollm3" or i % 4 != 3:
            q, k = self.rotate(q, i), self.rotate(k, i)
        growth = self._number("attention.temperature_scale", 0.0)
        original = self._number("rope.scaling.original_context_length", 1)
        q = q * (1 + growth * np.log1p(np.arange(n) // original))[:, None, None]
        self.kept[i] = k, v
        return self.attend(q, k, v, i, gate if gates else None)

    def latent_attention(self, x, i):
        """DeepSeek 2, with keys and values of each head made from the latent vector."""
        n, layer, rank = len(x), f"blk.{i}.", self._number("attention.kv_lora_rank")
        width = self._number("attention.key_length_mla", 0) or self._number("attention.key_length")
        rotated = self._number("rope.dimension_count")
        plain = width - rotated
        if self.has(layer + "attn_q_a.weight"):
            q = self.linear(self.norm(self.linear(x, layer + "attn_q_a"), layer + "attn_q_a_norm.weight"), layer + "attn_q_b")
        else:
            q = self.linear(x, layer + "attn_q")
        q = q.reshape(n, self.heads, width)
        both = self.linear(x, layer + "attn_kv_a_mqa")
        latent, key = self.norm(both[:, :rank], layer + "attn_kv_a_norm.weight"), self.rotate(both[:, None, rank:], i)
        q = np.concatenate([q[..., :plain], self.rotate(q[..., plain:], i)], -1)
        if self.has(layer + "attn_kv_b.weight"):  # as DeepSeek has published them
            k, v = np.split(self.linear(latent, layer + "attn_kv_b").reshape(n, self.heads, -1), [plain], axis=-1)
        else:
            k = np.einsum("hrp,tr->thp", self.tensor(layer + "attn_k_b.weight"), latent)
            v = np.einsum("hvr,tr->thv", self.tensor(layer + "attn_v_b.weight"), latent)
        k = np.concatenate([k, np.repeat(key, self.heads, 1)], -1)
        scale = 1 / np.sqrt(width)
        if self._text("deepseek2.rope.scaling.type") == "yarn":
            scale *= (1 + self._number("rope.scaling.yarn_log_multiplier", 0.0) * np.log(self._number("rope.scaling.factor"))) ** 2
        s = np.einsum("qhd,khd->hqk", q, k) * scale
        s[:, np.triu(np.ones((n, n), bool), 1)] = -np.inf
        p = np.exp(s - s.max(-1, keepdims=True))
        out = np.einsum("hqk,khv->qhv", p / p.sum(-1, keepdims=True), v)
        return self.linear(out.reshape(n, -1), layer + "attn_output")

    def keys_of(self, i):
        """The layer whose keys and values layer i uses: the last one of its kind that has its own."""
        own = self.layers - self._number("attention.shared_kv_layers", 0)
        return i if i < own else max(k for k in range(own) if self.windows[k] == self.windows[i])

    def attend(self, q, k, v, i, gate=None):
        n, layer, kv_heads = len(q), f"blk.{i}.", k.shape[1]
        out = np.empty_like(q)
        for h in range(self.heads):
            kv = h // (self.heads // kv_heads)
            for begin in range(0, n, 256):
                end = min(n, begin + 256)
                s = q[begin:end, h] @ k[:end, kv].T * self.attention_scale
                if self.score_cap:
                    s = self.score_cap * np.tanh(s / self.score_cap)
                ahead = np.arange(end)[None, :] - np.arange(begin, end)[:, None]
                s[(ahead > 0) | (self.windows[i] > 0) & (ahead <= -self.windows[i])] = -np.inf
                most = s.max(1, keepdims=True)
                p = np.exp(s - most)
                sink = np.exp(self.tensor(layer + "attn_sinks.weight")[h] - most) if self.arch == "gpt-oss" else 0
                out[begin:end, h] = p @ v[:end, kv] / (p.sum(1, keepdims=True) + sink)
        if gate is not None:
            out = out / (1 + np.exp(-gate))
        return self.linear(out.reshape(n, -1), layer + "attn_output")

    def delta_net(self, x, layer):
        """Linear attention whose memory of each value head is a matrix with a row for each entry of a key."""
        n, size, taps = len(x), self._number("ssm.state_size"), self._number("ssm.conv_kernel")
        n_keys, n_values = self._number("ssm.group_count"), self._number("ssm.time_step_rank")
        rows = np.concatenate([np.zeros((taps - 1, (2 * n_keys + n_values) * size)), self.linear(x, layer + "attn_qkv")])
        w = self.tensor(layer + "ssm_conv1d.weight")
        rows = sum(rows[i : i + n] * w[:, i] for i in range(taps))
        heads = (rows / (1 + np.exp(-rows))).reshape(n, -1, size)
        q, k, v = heads[:, :n_keys], heads[:, n_keys : 2 * n_keys], heads[:, 2 * n_keys :]
        q, k = (y / np.sqrt((y * y).sum(-1, keepdims=True) + 1e-6) for y in (q, k))
        alpha = np.log1p(np.exp(self.linear(x, layer + "ssm_alpha") + self.tensor(layer + "ssm_dt.bias")))
        kept = np.exp(self.tensor(layer + "ssm_a") * alpha)
        added = 1 / (1 + np.exp(-self.linear(x, layer + "ssm_beta")))
        out, memory = np.empty((n, n_values, size)), np.zeros((n_values, size, size))
        for t in range(n):
            for h in range(n_values):
                key = h % n_keys
                memory[h] *= kept[t, h]
                memory[h] += np.outer(k[t, key], added[t, h] * (v[t, h] - k[t, key] @ memory[h]))
                out[t, h] = q[t, key] @ memory[h] / np.sqrt(size)
        gate = self.linear(x, layer + "attn_gate").reshape(n, n_values, size)
        out = self.norm(out, layer + "ssm_norm.weight") * gate / (1 + np.exp(-gate))
        return self.linear(out.reshape(n, -1), layer + "ssm_out")

    def experts(self, x, layer, routed=None):
        """The sum of the experts with the largest scores, by their softmax among each other; in qwen2moe among all. Scores are of x, or of
        the rows `routed`."""
        used = self._number("expert_used_count")
        scores = self.linear(x if routed is None else routed, layer + "ffn_gate_inp")
        names = [f"{layer}ffn_{name}_exps" for name in ("gate", "up", "down")]
        if self.has(layer + "ffn_gate_up_exps.weight"):
            gates, ups = np.split(self.tensor(layer + "ffn_gate_up_exps.weight"), 2, axis=1)
        else:
            gates, ups = (self.tensor(name + ".weight") for name in names[:2])
        downs = self.tensor(names[2] + ".weight")
        if self.has(names[2] + ".scale"):
            downs = downs * self.tensor(names[2] + ".scale")[:, None, None]
        biases = [self.tensor(name + ".bias") if self.has(name + ".bias") else np.zeros((len(gates), 1)) for name in names]
        out = np.zeros_like(x)
        for t, score in enumerate(scores):
            chosen = np.argsort(-self.ranks(score, layer))[:used]
            weights = np.exp(score[chosen] - score.max())
            among = score if self.arch == "qwen2moe" else score[chosen]
            weights = weights / np.exp(among - score.max()).sum()
            if self.arch == "deepseek2":
                every = np.exp(score - score.max()) / np.exp(score - score.max()).sum()
                if self._number("expert_gating_func", 1) == 2:
                    every = 1 / (1 + np.exp(-score))
                weights = every[chosen] * self._number("expert_weights_scale", 1.0)
                if self.file.keys["deepseek2.expert_weights_norm"][1][0]:
                    weights = weights / every[chosen].sum()
            for e, weight in zip(chosen, weights):
                gate, up = gates[e] @ x[t] + biases[0][e], ups[e] @ x[t] + biases[1][e]
                out[t] += weight * (downs[e] @ self.gated(gate, up) + biases[2][e])
        return out + self.shared_expert(x, layer) if self.has(layer + "ffn_gate_shexp.weight") else out

    def ranks(self, score, layer):
        """By what experts are chosen: scores, or in DeepSeek V3 logistic functions with biases; within some of the groups."""
        groups, used = (self._number(f"expert_group_{name}", 1) if self.arch == "deepseek2" else 1 for name in ("count", "used_count"))
        biased = self.has(layer + "exp_probs_b.bias")
        ranks = 1 / (1 + np.exp(-score)) + self.tensor(layer + "exp_probs_b.bias") if biased else score
        if groups > 1:
            each = np.sort(ranks.reshape(groups, -1))[:, -2:]
            best = np.argsort(-(each.sum(1) if biased else each[:, -1]))[:used]
            ranks = np.where(np.isin(np.arange(len(ranks)) // (len(ranks) // groups), best), ranks, -np.inf)
        return ranks

    def shared_expert(self, x, layer):
        gate = self.linear(x, layer + "ffn_gate_shexp")
        y = self.linear(gate / (1 + np.exp(-gate)) * self.linear(x, layer + "ffn_up_shexp"), layer + "ffn_down_shexp")
        if not self.has(layer + "ffn_gate_inp_shexp.weight"):
            return y
        return y / (1 + np.exp(-x @ self.tensor(layer + "ffn_gate_inp_shexp.weight")))[:, None]

    def gated(self, gate, up):
        if self.arch == "gpt-oss":
            gate, up = np.minimum(gate, 7), np.clip(up, -7, 7)
            return gate / (1 + np.exp(-1.702 * gate)) * (up + 1)
        return (gelu(gate) if self.gemma else gate / (1 + np.exp(-gate))) * up

    def beside(self, x, layer):
        """Gemma 4: a dense network and experts, both from the residual, whose router has a norm of its own."""
        dense = self.norm(self.dense(self.norm(x, layer + "ffn_norm.weight"), layer), layer + "post_ffw_norm_1.weight")
        routed = self.unit(x) / np.sqrt(self.dim) * self.tensor(layer + "ffn_gate_inp.scale")
        experts = self.experts(self.norm(x, layer + "pre_ffw_norm_2.weight"), layer, routed)
        return dense + self.norm(experts, layer + "post_ffw_norm_2.weight")

    def feed_forward(self, x, layer):
        return self.experts(x, layer) if self.has(layer + "ffn_gate_inp.weight") else self.dense(x, layer)

    def dense(self, x, layer):
        ff = self.tensor(layer + "ffn_down.weight").shape[1]
        gate, up = self.stacked(x, layer + "ffn_up", [(layer + "ffn_gate", ff), (layer + "ffn_up", ff)])
        return self.linear(self.gated(gate, up), layer + "ffn_down")

    def layer_inputs(self, ids, x):
        """(tokens, layers, inputs): of the second embedding and of a projection of the first one's rows."""
        size = self._number("embedding_length_per_layer_input")
        table = self.tensor("per_layer_token_embd.weight")[np.asarray(ids)] * np.sqrt(size)
        projected = self.linear(x, "per_layer_model_proj") / np.sqrt(self.dim)
        projected = self.norm(projected.reshape(len(x), -1, size), "per_layer_proj_norm.weight")
        return (table.reshape(len(x), -1, size) + projected) / np.sqrt(2)

    def logits(self, ids, positions):
        """The logits after the tokens at these positions: (len(positions), vocab)."""
        if self.arch == "simple-lm":
            x = self.tensor("token_embd.weight")[np.asarray(ids)]
            return x[list(positions)] @ self.tensor("output.weight").T + self.tensor("output.bias")
        x = self.tensor("token_embd.weight")[np.asarray(ids)] * self.embedding_scale
        self.kept = {}
        inputs = self.layer_inputs(ids, x) if self.has("per_layer_token_embd.weight") else None
        for i in range(self.layers):
            layer = f"blk.{i}."
            y = self.norm_if_any(x, layer + "attn_norm.weight")
            if self.has(layer + "ssm_a"):
                y = self.delta_net(y, layer)
            else:
                y = self.latent_attention(y, i) if self.arch == "deepseek2" else self.attention(y, i)
            if self.arch in ("gpt-oss", "qwen35", "qwen35moe"):  # whose norm before the network has this name
                x = x + y
                x = x + self.feed_forward(self.norm(x, layer + "post_attention_norm.weight"), layer)
                continue
            x = x + self.residual_scale * self.norm_if_any(y, layer + "post_attention_norm.weight")
            if self.has(layer + "post_ffw_norm_1.weight"):
                y = self.beside(x, layer)
            else:
                y = self.feed_forward(self.norm_if_any(x, layer + "ffn_norm.weight"), layer)
            x = x + self.residual_scale * self.norm_if_any(y, layer + "post_ffw_norm.weight")
            if inputs is not None:
                y = self.linear(gelu(self.linear(x, layer + "inp_gate")) * inputs[:, i], layer + "proj")
                x = x + self.norm(y, layer + "post_norm.weight")
            if self.has(layer + "layer_output_scale.weight"):
                x = x * self.tensor(layer + "layer_output_scale.weight")
        head = self.tensor("output.weight" if self.has("output.weight") else "token_embd.weight")
        y = self.norm(x[list(positions)], "output_norm.weight") @ head.T / self.logit_scale
        return self.logit_cap * np.tanh(y / self.logit_cap) if self.logit_cap else y


class Gpt2:
    """The same for a gpt2 file."""

    def __init__(self, path):
        m = self.m = Model.__new__(Model)
        m.file, m.arch = gguf_file.Reader(path), "gpt2"
        self.file = m.file
        self.layers, self.heads = m._number("block_count"), m._number("attention.head_count")
        self.eps = m._number("attention.layer_norm_epsilon")

    def affine(self, x, name):
        return x @ self.m.tensor(name + ".weight").T + self.m.tensor(name + ".bias")

    def norm(self, x, name):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + self.eps)
        return scaled * self.m.tensor(name + ".weight") + self.m.tensor(name + ".bias")

    def attention(self, x, layer):
        n = len(x)
        # rows of all queries, then of all keys, then of all values
        q, k, v = (y.reshape(n, self.heads, -1).swapaxes(0, 1) for y in np.split(self.affine(x, layer + "attn_qkv"), 3, 1))
        s = q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1])
        s = np.where(np.tril(np.ones((n, n), bool)), s, -np.inf)
        p = np.exp(s - s.max(-1, keepdims=True))
        out = p @ v / p.sum(-1, keepdims=True)
        return self.affine(out.swapaxes(0, 1).reshape(n, -1), layer + "attn_output")

    def feed_forward(self, x, layer):
        u = self.affine(x, layer + "ffn_up")
        return self.affine(gelu(u), layer + "ffn_down")

    def logits(self, ids, positions):
        x = self.m.tensor("token_embd.weight")[np.asarray(ids)] + self.m.tensor("position_embd.weight")[: len(ids)]
        for layer in (f"blk.{i}." for i in range(self.layers)):
            x = x + self.attention(self.norm(x, layer + "attn_norm"), layer)
            x = x + self.feed_forward(self.norm(x, layer + "ffn_norm"), layer)
        head = self.m.tensor("output.weight" if self.m.has("output.weight") else "token_embd.weight")
        return self.norm(x[list(positions)], "output_norm") @ head.T


def open_model(path):
    arch = gguf_file.Reader(path).keys["general.architecture"][1][8:].decode()
    if arch == "t5":
        import oracle_t5

        return oracle_t5.T5(path)
    return Gpt2(path) if arch == "gpt2" else Model(path)
