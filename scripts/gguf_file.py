"""GGUF files read and written with numpy, and weights quantised into every block format that evener reads.

The K quantisers fit each group by its extremes: their blocks are valid and close, not the best that can be had.
"""

import os
import struct

import numpy as np

U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
ALIGNMENT = 32

# name: (type id in the file, elements of a block, bytes of a block, general.file_type)
FORMATS = {
    "F32": (0, 1, 4, 0),
    "F16": (1, 1, 2, 1),
    "BF16": (30, 1, 2, 32),
    "Q4_0": (2, 32, 18, 2),
    "Q4_1": (3, 32, 20, 3),
    "Q5_0": (6, 32, 22, 8),
    "Q5_1": (7, 32, 24, 9),
    "Q8_0": (8, 32, 34, 7),
    "Q2_K": (10, 256, 84, 10),
    "Q3_K": (11, 256, 110, 12),
    "Q4_K": (12, 256, 144, 14),
    "Q5_K": (13, 256, 176, 16),
    "Q6_K": (14, 256, 210, 18),
    "IQ4_NL": (20, 32, 18, 25),
    "IQ4_XS": (23, 256, 136, 30),
    "MXFP4": (39, 32, 17, 38),
    "NVFP4": (40, 64, 36, 39),
}
_NAME_OF = {v[0]: k for k, v in FORMATS.items()}

# (format of most matrices, format of sensitive ones, file_type): types whose files mix formats, as llama.cpp makes them.
# One difference: the embedding of a model with an output head of its own also gets more bits here.
MIXES = {"Q4_K_M": ("Q4_K", "Q6_K", 15), "Q5_K_M": ("Q5_K", "Q6_K", 17)}

# What replaces a K format if the rows are no multiple of 256.
_FALLBACK = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0", "IQ4_XS": "IQ4_NL"}


def fitting_format(name, columns):
    """`name`, or its replacement for rows of this many columns. F32 if nothing else fits."""
    while columns % FORMATS[name][1]:
        name = _FALLBACK.get(name, "F32")
    return name


# These lose most with few bits.
_WIDE = ("token_embd.weight", "output.weight")


def weight_format(name, columns, wanted, pure=False):
    """Format of a matrix in a model of type `wanted`. The embedding and the output head stay at Q8_0 or better, unless
    `pure`."""
    if name in _WIDE and not pure and wanted not in ("F32", "F16", "BF16"):
        wanted = "Q8_0"
    return fitting_format(wanted, columns)


def mixed_format(name, columns, wanted, layer, n_layers, pure=False):
    """As weight_format, but `wanted` may be a mix. A mix gives more bits to the value and down matrices of the first and
    last eighth of the layers and of every third layer between, and to the embedding and the output head."""
    if wanted not in MIXES:
        return weight_format(name, columns, wanted, pure)
    most, better, _ = MIXES[wanted]
    eighth = n_layers // 8
    suffers = layer < eighth or layer >= 7 * n_layers // 8 or (layer - eighth) % 3 == 2
    wide = name in _WIDE or (suffers and name.endswith(("attn_v.weight", "ffn_down.weight")))
    return fitting_format(better if wide else most, columns)


def file_type(wanted):
    return MIXES[wanted][2] if wanted in MIXES else FORMATS[wanted][3]


# ---- reading -------------------------------------------------------------------------------------------------------


class Reader:
    """keys: {key: (type, raw bytes of the value)} in file order; tensors: {name: (shape, format, raw blocks)},
    shape[0] contiguous."""

    def __init__(self, path):
        self._data = np.memmap(path, dtype=np.uint8, mode="r")
        self._at = 0
        try:
            self._parse(path)
        except (struct.error, KeyError, UnicodeDecodeError) as problem:
            raise ValueError(f"{path}: damaged, or of a tensor type not known here ({problem!r})") from problem

    def _parse(self, path):
        magic, version, n_tensors, n_keys = struct.unpack("<4sIQQ", self._take(24))
        if magic != b"GGUF" or version not in (2, 3):
            raise ValueError(f"{path}: not a GGUF file of version 2 or 3")
        self.keys = {}
        for _ in range(n_keys):
            key = self._string()
            kind = self._number("I")
            begin = self._at
            self._skip(kind)
            self.keys[key] = (kind, bytes(self._data[begin : self._at]))
        entries = []
        for _ in range(n_tensors):
            name = self._string()
            shape = [self._number("Q") for _ in range(self._number("I"))]
            entries.append((name, shape, _NAME_OF[self._number("I")], self._number("Q")))
        stated = self.keys.get("general.alignment")
        alignment = struct.unpack("<I", stated[1])[0] if stated else ALIGNMENT
        start = -(-self._at // alignment) * alignment
        self.tensors = {}
        for name, shape, form, offset in entries:
            size = int(np.prod(shape)) // FORMATS[form][1] * FORMATS[form][2]
            self.tensors[name] = (shape, form, self._data[start + offset : start + offset + size])

    def _take(self, n):
        self._at += n
        return bytes(self._data[self._at - n : self._at])

    def _number(self, code):
        return struct.unpack("<" + code, self._take(struct.calcsize(code)))[0]

    def _string(self):
        return self._take(self._number("Q")).decode()

    def _skip(self, kind):
        if kind == STRING:
            length = self._number("Q")
            self._at += length
        elif kind == ARRAY:
            element, count = self._number("I"), self._number("Q")
            if element in _SCALARS:
                self._at += count * struct.calcsize(_SCALARS[element])
            else:
                for _ in range(count):
                    self._skip(element)
        else:
            self._at += struct.calcsize(_SCALARS[kind])


# ---- writing -------------------------------------------------------------------------------------------------------


def _text(s):
    raw = s.encode() if isinstance(s, str) else s
    return struct.pack("<Q", len(raw)) + raw


class Writer:
    """Collects keys and tensors; save() writes them. A tensor is raw blocks, or a callable that makes them, so that a
    large file is never complete in memory."""

    def __init__(self):
        self._keys, self._tensors = [], []

    def raw(self, key, kind, value):
        self._keys.append(_text(key) + struct.pack("<I", kind) + value)

    def u32(self, key, value):
        self.raw(key, U32, struct.pack("<I", value))

    def f32(self, key, value):
        self.raw(key, F32, struct.pack("<f", value))

    def bool(self, key, value):
        self.raw(key, BOOL, struct.pack("<?", value))

    def string(self, key, value):
        self.raw(key, STRING, _text(value))

    def strings(self, key, values):
        self.raw(key, ARRAY, struct.pack("<IQ", STRING, len(values)) + b"".join(map(_text, values)))

    def i32s(self, key, values):
        self.raw(key, ARRAY, struct.pack("<IQ", I32, len(values)) + np.asarray(values, "<i4").tobytes())

    def bools(self, key, values):
        self.raw(key, ARRAY, struct.pack("<IQ", BOOL, len(values)) + bytes(values))

    def tensor(self, name, shape, form, blocks):
        self._tensors.append((name, shape, form, blocks))

    def save(self, path):
        table, offset = b"", 0
        for name, shape, form, _ in self._tensors:
            kind, block_len, block_bytes, _ = FORMATS[form]
            table += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
            offset += -(-(int(np.prod(shape)) // block_len * block_bytes) // ALIGNMENT) * ALIGNMENT
        part = f"{path}.part"  # renamed when complete: nobody sees half a file, and the input may be the output
        try:
            self._write(part, table)
            os.replace(part, path)
        finally:
            if os.path.exists(part):
                os.remove(part)

    def _write(self, path, table):
        with open(path, "wb") as out:
            out.write(struct.pack("<4sIQQ", b"GGUF", 3, len(self._tensors), len(self._keys)))
            out.write(b"".join(self._keys) + table)
            out.write(bytes(-out.tell() % ALIGNMENT))
            for *_, blocks in self._tensors:
                out.write(np.ascontiguousarray(blocks() if callable(blocks) else blocks).data)
                out.write(bytes(-out.tell() % ALIGNMENT))


# ---- blocks from f32 ---------------------------------------------------------------------------


def _half_bytes(x):
    return np.ascontiguousarray(x.astype("<f2")).view(np.uint8)


def _inverse(d):
    """1/d, 0 for 0."""
    return np.divide(1, d, out=np.zeros_like(d), where=d != 0)


def _signed_extreme(x):
    """The value of largest magnitude along the last axis, kept as an axis."""
    return np.take_along_axis(x, np.abs(x).argmax(-1)[..., None], -1)


def _bf16(x):
    bits = np.ascontiguousarray(x).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").view(np.uint8)


def _q8_0(x):
    d = np.abs(x).max(-1, keepdims=True) / 127
    q = np.rint(x * _inverse(d)).astype(np.int8)
    return np.concatenate([_half_bytes(d), q.view(np.uint8)], axis=1)


def _nibbles(q):
    """(n, 32) to (n, 16): low nibbles are the first half."""
    return (q[:, :16] & 15) | (q[:, 16:] & 15) << 4


def _fifth_bits(q):
    return np.packbits(q >> 4 & 1, axis=1, bitorder="little")


def _symmetric(x, bits):
    """Scale and codes for formats whose zero is the middle code."""
    middle = 1 << (bits - 1)
    d = _signed_extreme(x) / -middle
    q = np.minimum((x * _inverse(d) + middle + 0.5).astype(np.uint8), 2 * middle - 1).astype(np.uint8)
    return _half_bytes(d), q


def _affine(x, bits):
    low, top = x.min(-1, keepdims=True), (1 << bits) - 1
    d = (x.max(-1, keepdims=True) - low) / top
    q = np.minimum(((x - low) * _inverse(d) + 0.5).astype(np.uint8), top).astype(np.uint8)
    return np.concatenate([_half_bytes(d), _half_bytes(low)], axis=1), q


def _q4_0(x):
    head, q = _symmetric(x, 4)
    return np.concatenate([head, _nibbles(q)], axis=1)


def _q4_1(x):
    head, q = _affine(x, 4)
    return np.concatenate([head, _nibbles(q)], axis=1)


def _q5_0(x):
    head, q = _symmetric(x, 5)
    return np.concatenate([head, _fifth_bits(q), _nibbles(q)], axis=1)


def _q5_1(x):
    head, q = _affine(x, 5)
    return np.concatenate([head, _fifth_bits(q), _nibbles(q)], axis=1)


_IQ4_VALUES = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)


def _iq4_codes(x):
    """The indexes of the values nearest to x."""
    return np.searchsorted((_IQ4_VALUES[1:] + _IQ4_VALUES[:-1]) / 2, x).astype(np.uint8)


def _iq4_nl(x):
    d = _signed_extreme(x) / -127
    return np.concatenate([_half_bytes(d), _nibbles(_iq4_codes(x * _inverse(d)))], axis=1)


_MXFP4_VALUES = np.array([0, 1, 2, 3, 4, 6, 8, 12], np.float32)


def _mxfp4(x):
    most = np.abs(x).max(-1, keepdims=True)
    exponent = np.floor(np.log2(np.maximum(most, np.float32(2.0**-100)))) + 125
    codes = np.searchsorted((_MXFP4_VALUES[1:] + _MXFP4_VALUES[:-1]) / 2, np.abs(x) * np.exp2(128 - exponent))
    return np.concatenate([exponent.astype(np.uint8), _nibbles((codes | (x < 0) * (codes > 0) * 8).astype(np.uint8))], axis=1)


# of floats of 8 bits without a sign, four bits of exponent and three of mantissa
_UE4M3_VALUES = np.array([m / 512 if e == 0 else (8 + m) * 2.0 ** (e - 10) for e in range(16) for m in range(8)][:127], np.float32)


def _nvfp4(x):
    g = x.reshape(-1, 4, 16)
    scales = np.searchsorted((_UE4M3_VALUES[1:] + _UE4M3_VALUES[:-1]) / 2, np.abs(g).max(-1) / 6).astype(np.uint8)
    codes = np.searchsorted((_MXFP4_VALUES[1:] + _MXFP4_VALUES[:-1]) / 2, np.abs(g) * _inverse(_UE4M3_VALUES[scales] / 2)[..., None])
    q = (codes | (g < 0) * (codes > 0) * 8).astype(np.uint8)
    return np.concatenate([scales, (q[..., :8] | q[..., 8:] << 4).reshape(-1, 32)], axis=1)


def _iq4_xs(x):
    g = x.reshape(len(x), 8, 32)
    scale = _signed_extreme(g)[..., 0] / -127
    d = (_signed_extreme(scale) / -32).astype(np.float16)
    df = d.astype(np.float32)
    sc = np.clip(np.rint(scale * _inverse(df)), -32, 31)
    q = _iq4_codes(g * _inverse(df * sc)[..., None]).reshape(-1, 32)
    s = (sc + 32).astype(np.uint8)
    high = s >> 4
    high = high[:, ::4] | high[:, 1::4] << 2 | high[:, 2::4] << 4 | high[:, 3::4] << 6
    low = (s[:, ::2] & 15) | (s[:, 1::2] & 15) << 4
    return np.concatenate([_half_bytes(d), high, low, _nibbles(q).reshape(-1, 128)], axis=1)


def _k_affine(x, group, bits, scale_bits):
    """Codes (n, 256), group scales and minima as integers, and the f16 pair d, dmin."""
    g = x.reshape(len(x), -1, group)
    top, scale_top = (1 << bits) - 1, (1 << scale_bits) - 1
    low = np.maximum(-g.min(-1), 0)
    scale = (np.maximum(g.max(-1), 0) + low) / top
    d = (scale.max(-1, keepdims=True) / scale_top).astype(np.float16)
    dmin = (low.max(-1, keepdims=True) / scale_top).astype(np.float16)
    df, mf = d.astype(np.float32), dmin.astype(np.float32)
    sc = np.clip(np.rint(scale * _inverse(df)), 0, scale_top).astype(np.uint8)
    mn = np.clip(np.rint(low * _inverse(mf)), 0, scale_top).astype(np.uint8)
    q = np.rint((g + (mf * mn)[..., None]) * _inverse(df * sc)[..., None])
    head = np.concatenate([_half_bytes(d), _half_bytes(dmin)], axis=1)
    return np.clip(q, 0, top).astype(np.uint8).reshape(len(x), 256), sc, mn, head


def _k_symmetric(x, bits, scale_bits):
    """Codes (n, 256) from 0, signed group scales (n, 16) and f16 d, for groups of 16."""
    g = x.reshape(len(x), 16, 16)
    middle, scale_middle = 1 << (bits - 1), 1 << (scale_bits - 1)
    scale = _signed_extreme(g)[..., 0] / -middle
    d = (_signed_extreme(scale) / -scale_middle).astype(np.float16)
    df = d.astype(np.float32)
    sc = np.clip(np.rint(scale * _inverse(df)), -scale_middle, scale_middle - 1).astype(np.int8)
    q = np.clip(np.rint(g * _inverse(df * sc)[..., None]), -middle, middle - 1) + middle
    return q.astype(np.uint8).reshape(len(x), 256), sc, _half_bytes(d)


def _crumbs(q):
    """Two-bit codes (n, 256) to (n, 64): byte i of each half holds elements i, i+32, i+64, i+96 of that half."""
    h = q.reshape(-1, 2, 4, 32)
    return (h[:, :, 0] | h[:, :, 1] << 2 | h[:, :, 2] << 4 | h[:, :, 3] << 6).reshape(-1, 64)


def _k_nibbles(q):
    h = q.reshape(-1, 4, 2, 32) & 15
    return (h[:, :, 0] | h[:, :, 1] << 4).reshape(-1, 128)


def _high_bits(q, bit):
    """Bit `bit` of the codes (n, 256) to (n, 32): bit g of byte i is that of element 32 * g + i."""
    h = (q >> bit & 1).reshape(-1, 8, 32)
    return np.bitwise_or.reduce(h << np.arange(8, dtype=np.uint8)[:, None], axis=1)


def _k4_scales(sc, mn):
    """Eight scales and eight minima of 6 bits in 12 bytes."""
    first = sc[:, :4] | (sc[:, 4:] >> 4) << 6
    second = mn[:, :4] | (mn[:, 4:] >> 4) << 6
    return np.concatenate([first, second, (sc[:, 4:] & 15) | (mn[:, 4:] & 15) << 4], axis=1)


def _q2_k(x):
    q, sc, mn, head = _k_affine(x, 16, 2, 4)
    return np.concatenate([sc | mn << 4, _crumbs(q), head], axis=1)


def _q3_k(x):
    q, sc, d = _k_symmetric(x, 3, 6)
    s = (sc.astype(np.int16) + 32).astype(np.uint8)
    low = (s[:, :8] & 15) | (s[:, 8:] & 15) << 4
    high = s >> 4
    high = high[:, :4] | high[:, 4:8] << 2 | high[:, 8:12] << 4 | high[:, 12:] << 6
    return np.concatenate([_high_bits(q, 2), _crumbs(q & 3), low, high, d], axis=1)


def _q4_k(x):
    q, sc, mn, head = _k_affine(x, 32, 4, 6)
    return np.concatenate([head, _k4_scales(sc, mn), _k_nibbles(q)], axis=1)


def _q5_k(x):
    q, sc, mn, head = _k_affine(x, 32, 5, 6)
    return np.concatenate([head, _k4_scales(sc, mn), _high_bits(q, 4), _k_nibbles(q)], axis=1)


def _q6_k(x):
    q, sc, d = _k_symmetric(x, 6, 8)
    h = q.reshape(-1, 2, 4, 32)
    low = ((h[:, :, :2] & 15) | (h[:, :, 2:] & 15) << 4).reshape(-1, 128)
    return np.concatenate([low, _crumbs(q >> 4), sc.view(np.uint8), d], axis=1)


_QUANTIZERS = {
    "F32": lambda x: np.ascontiguousarray(x.astype("<f4")).view(np.uint8),
    "F16": _half_bytes,
    "BF16": _bf16,
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
    "IQ4_NL": _iq4_nl,
    "IQ4_XS": _iq4_xs,
    "MXFP4": _mxfp4,
    "NVFP4": _nvfp4,
}


def quantize(x, form):
    """Raw blocks of f32 values, a multiple of the format's block. Works in pieces, so that temporaries stay small."""
    x = np.asarray(x, np.float32).reshape(-1, FORMATS[form][1])
    step = max(1, (1 << 22) // FORMATS[form][1])
    return np.concatenate([_QUANTIZERS[form](x[i : i + step]).reshape(-1) for i in range(0, len(x), step)])
