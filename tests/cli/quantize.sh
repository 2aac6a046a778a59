#!/usr/bin/env bash
# quantize.sh EVENER REPO - evener quantize: which format each matrix gets, the weights themselves, a model in parts, what
# is refused, and that no half file stays.
. "$(dirname "$0")/lib.sh"
python3 -c 'import numpy' 2>/dev/null || skip 'python3 has no numpy'
"$repo/scripts/make-tiny-model" f32.gguf --dim 256 --heads 4 --ff 512 --layers 8 --context 64 || fail 'no tiny model'

# formats FILE: "FORMAT: matrices" of each, in a fixed order; layers of one kind of matrix as a list.
formats() {
	"$evener" inspect "$1" --tensors --json | python3 -c '
import json, sys
kinds, model = {}, json.load(sys.stdin)
n_layers = model["n_layers"]
for t in model["tensors"]:
    _, layer, *kind = t["name"].split(".") if t["name"].startswith("blk.") else (0, "", t["name"])
    if not t["type"] == "F32":
        kinds.setdefault(t["type"], {}).setdefault(".".join(kind).replace(".weight", ""), []).append(layer)
few = lambda layers: "" if len(layers) in (1, n_layers) else "".join(layers)
print(*sorted(f + ": " + " ".join(sorted(k + few(l) for k, l in kinds[f].items())) for f in kinds), sep="; ")'
}

# llama.cpp gives the same formats.
expect() {
	local got
	"$evener" quantize f32.gguf "$1.gguf" "$1" "${@:3}" >/dev/null || fail "$1: exit $?"
	got=$(formats "$1.gguf")
	[ "$got" = "$2" ] || fail "$1: $got, expected $2"
}
most='attn_k attn_output attn_q'
expect q4_k_m "Q4_K: attn_k attn_output attn_q attn_v1245 ffn_down1245 ffn_gate ffn_up; Q6_K: attn_v0367 ffn_down0367 token_embd"
expect q3_k_m "Q3_K: attn_k attn_q ffn_gate ffn_up; Q4_K: attn_output attn_v234567 ffn_down; Q5_K: attn_v01; Q6_K: token_embd"
expect q2_k "Q2_K: attn_k attn_q ffn_gate ffn_up; Q3_K: attn_output attn_v ffn_down; Q6_K: token_embd"
expect q8_0 "Q8_0: $most attn_v ffn_down ffn_gate ffn_up token_embd"
expect f16 "F16: $most attn_v ffn_down ffn_gate ffn_up token_embd"
expect q2_k_s "Q2_K: $most attn_v ffn_down ffn_gate ffn_up token_embd" --pure

# A model that needs no rounding comes back as it was.
"$evener" quantize q8_0.gguf back.gguf f32 && "$evener" quantize back.gguf again.gguf Q8_0 -q -t 3 ||
	fail 'there and back failed'
cmp q8_0.gguf again.gguf || fail 'Q8_0 by way of F32 has other bytes'
holds 'd["output"] == "again.gguf" and d["tensor_bytes"] < d["tensor_bytes_before"] / 3' quantize f32.gguf again.gguf q8_0

# Rows that no block divides.
"$repo/scripts/make-tiny-model" narrow.gguf --dim 48 --heads 2 --ff 64 || fail 'no narrow model'
"$evener" quantize narrow.gguf narrow-q4_k.gguf Q4_K_S >/dev/null || fail 'narrow: failed'
[ "$(formats narrow-q4_k.gguf)" = "F16: $most attn_v ffn_gate ffn_up token_embd; Q5_0: ffn_down" ] ||
	fail "narrow: $(formats narrow-q4_k.gguf)"

# Experts alone have few bits.
"$repo/scripts/make-tiny-model" experts.gguf --experts 2 --dim 64 --heads 2 --ff 64 || fail 'no model with experts'
"$evener" quantize experts.gguf mxfp4.gguf mxfp4_moe >/dev/null || fail 'experts: failed'
[ "$(formats mxfp4.gguf)" = "MXFP4: ffn_down_exps ffn_gate_exps ffn_up_exps; Q8_0: $most attn_v token_embd" ] ||
	fail "experts: $(formats mxfp4.gguf)"

# A type of evener's own, and what takes its place in rows of 96.
"$repo/scripts/make-tiny-model" wide.gguf --dim 128 --heads 2 --ff 96 || fail 'no model of 128'
"$evener" quantize wide.gguf nvfp4.gguf nvfp4 >/dev/null || fail 'nvfp4: failed'
formats nvfp4.gguf | grep -q '^MXFP4: ffn_down; NVFP4: .*ffn_gate ffn_up.*; Q8_0: token_embd$' || fail "nvfp4: $(formats nvfp4.gguf)"

# A model in parts becomes one file.
PYTHONPATH=$repo/scripts python3 -B - <<'END' || fail 'no parts'
import struct, numpy as np, gguf_file
source, u32 = gguf_file.Reader("q8_0.gguf"), lambda x: (gguf_file.U32, struct.pack("<I", x))
for i in range(2):
    out, names = gguf_file.Writer(), list(source.tensors)
    for key, (kind, raw) in {**(source.keys if i == 0 else {}), "split.no": u32(i), "split.count": u32(2)}.items():
        out.raw(key, kind, raw)
    for name in names[: len(names) // 2] if i == 0 else names[len(names) // 2 :]:
        shape, form, blocks = source.tensors[name]
        out.tensor(name, shape, form, np.array(blocks))
    out.save(f"p-0000{i + 1}-of-00002.gguf")
source = gguf_file.Reader("f32.gguf")
out = gguf_file.Writer()
for key, (kind, raw) in source.keys.items():
    out.raw(key, kind, raw)
for name, (shape, form, blocks) in source.tensors.items():
    blocks = np.array(blocks)
    if name == "blk.2.ffn_up.weight":
        blocks.view("<f4")[3 * shape[0] + 5] = np.inf
    out.tensor(name, shape, form, blocks)
out.save("inf.gguf")
END
"$evener" quantize p-00001-of-00002.gguf whole.gguf q8_0 >/dev/null || fail 'parts: failed'
cmp whole.gguf q8_0.gguf || fail 'a model in parts gives other bytes'

# What is refused leaves the old file as it is.
cp q8_0.gguf out.gguf
refuse 2 'the type is missing; give MODEL OUT TYPE' quantize f32.gguf out.gguf
refuse 2 'the model, the output and the type are missing' quantize
refuse 2 'type "q9" is not one that evener writes: F32, F16' quantize f32.gguf out.gguf q9
refuse 1 'none.gguf: No such file' quantize none.gguf out.gguf q8_0
refuse 1 'nowhere/out.gguf' quantize f32.gguf nowhere/out.gguf q8_0
refuse 1 'open the first: p-00001-of-00002.gguf' quantize p-00002-of-00002.gguf out.gguf q8_0
refuse 1 'tensor "blk.2.ffn_up.weight" holds inf in row 3, which Q4_0 cannot express' quantize inf.gguf out.gguf q4_0 -q
cmp q8_0.gguf out.gguf || fail 'a failure changed the old file'
[ -z "$(find . -name '*.tmp')" ] || fail "left behind: $(find . -name '*.tmp')"

# The input may be the output.
"$evener" quantize out.gguf out.gguf f16 >/dev/null && [ "$(formats out.gguf)" = "$(formats f16.gguf)" ] || fail 'in place: failed'
finish
