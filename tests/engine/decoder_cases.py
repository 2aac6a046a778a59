#!/usr/bin/env python3
"""decoder_cases.py FOLDER cases|few|lanes|long: makes tiny models with random weights. Beside each NAME.gguf it writes
NAME.expected: counts, ids, ids for the encoder, positions, then the expected logits at these positions (float64). Exit 77 without
numpy."""

import os
import struct
import subprocess
import sys

sys.dont_write_bytecode = True
try:
    import numpy as np

    import oracle
except ModuleNotFoundError as missing:
    print(f"skipped: {missing}")
    sys.exit(1 if os.environ.get("CI") == "true" else 77)

MAKE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts/make-tiny-model")

# 12 heads of 64 are three blocks of 256: shares cut heads inside a block
K = "--dim 256 --heads 12 --kv-heads 4 --head-dim 64 --ff 512"
CASES = {
    # no size a multiple of what kernels, blocks or padding like
    "f32-odd-sizes": "--dim 72 --heads 4 --head-dim 18 --ff 100 --vocab 301",
    "f32-llama3": "--rope llama3 --rope-factor 8 --dim 96 --heads 3 --kv-heads 1 --ff 176 --untied",
    "f16-mha-odd": "--type F16 --dim 160 --heads 5 --ff 240 --vocab 333",
    "bf16-gqa-untied": "--type BF16 --dim 144 --heads 9 --kv-heads 3 --ff 272 --untied",
    "q4_0-mqa": "--type Q4_0 --dim 160 --heads 5 --kv-heads 1 --ff 352",
    "q4_1-qwen2": "--arch qwen2 --type Q4_1 --dim 192 --heads 6 --kv-heads 2 --ff 288",
    "q5_0-qwen3-wide-heads": "--arch qwen3 --type Q5_0 --dim 96 --heads 4 --kv-heads 2 --head-dim 64 --ff 160 --untied",
    "q5_1-yarn": "--rope yarn --rope-context 1024 --type Q5_1 --dim 128 --heads 4 --kv-heads 2 --ff 256",
    "q8_0-linear-gqa": "--rope linear --type Q8_0 --dim 288 --heads 9 --kv-heads 3 --ff 192",
    "q8_0-qwen2-yarn-narrow-heads": "--arch qwen2 --rope yarn --type Q8_0 --dim 64 --heads 7 --kv-heads 7 --head-dim 32",
    "iq4_nl-odd-heads": "--type IQ4_NL --dim 96 --heads 3 --ff 224 --vocab 305",
    "iq4_xs": "--type IQ4_XS " + K,
    "nvfp4": "--type NVFP4 --dim 192 --heads 6 --kv-heads 2 --head-dim 32 --ff 320 --vocab 305",
    "q2_k": "--type Q2_K " + K,
    "q3_k-qwen3": "--arch qwen3 --type Q3_K " + K,
    "q4_k-qwen2-untied": "--arch qwen2 --untied --type Q4_K " + K,
    "q5_k-yarn": "--rope yarn --rope-context 4096 --type Q5_K " + K,
    # stacks in one tensor, and what files say of rotation; the context of 256 is longer than 64, and not longer than 512
    "f32-fused-yarn-keys": "--fused --rope yarn --rope-key yarn_beta_fast=16 --rope-key yarn_beta_slow=2"
    " --rope-key attn_factor=1.3 --rope-key yarn_ext_factor=0.5 --dim 96 --heads 3 --kv-heads 1 --ff 176",
    "q8_0-qwen2-fused-longrope": "--arch qwen2 --fused --rope longrope --rope-key attn_factor=1.2 --type Q8_0 --dim 64"
    " --heads 7 --kv-heads 7 --head-dim 32",
    "q5_0-qwen3-fused-linear-half": "--arch qwen3 --fused --rope linear --rope-factor 0.5 --rope-key attn_factor=0.8"
    " --type Q5_0 --dim 96 --heads 4 --kv-heads 2 --head-dim 64 --ff 160",
    "f32-longrope-short": "--rope longrope --rope-factor 1 --rope-context 512 --dim 96 --heads 3 --kv-heads 1 --ff 176",
    # layer 3 does not rotate; in the other model 3 and 7
    "smollm3-odd": "--arch smollm3 --layers 5 --dim 78 --heads 6 --kv-heads 2 --head-dim 22 --ff 106 --vocab 303",
    "smollm3-q5_1": "--arch smollm3 --layers 8 --type Q5_1 --dim 96 --heads 6 --kv-heads 3 --head-dim 32 --ff 160",
    "granite-odd": "--arch granite --dim 78 --heads 6 --kv-heads 3 --head-dim 14 --ff 110 --vocab 307",
    "granite-q4_0": "--arch granite --out-biases --untied --type Q4_0 --dim 160 --heads 9 --kv-heads 3 --head-dim 32 --ff 224",
    "mistral3-odd": "--arch mistral3 --rope yarn --rope-context 16 --rope-base 1000 --rope-factor 8 --dim 72 --heads 4"
    " --kv-heads 2 --head-dim 18 --ff 100 --vocab 301 --untied --rope-key yarn_log_multiplier=0.5"
    " --rope-key yarn_beta_fast=4 --rope-key yarn_beta_slow=0.5",
    "phi3-longrope-window": "--arch phi3 --fused --window 9 --rope longrope --untyped --rope-key attn_factor=1.19 --dim 72 --heads 4"
    " --kv-heads 2 --head-dim 18 --ff 96 --vocab 301",
    "qwen2vl": "--arch qwen2vl --dim 72 --heads 4 --kv-heads 2 --head-dim 18 --ff 100",
    "qwen3vl": "--arch qwen3vl --dim 72 --heads 4 --kv-heads 2 --head-dim 18 --ff 100",
    "qwen3moe-odd": "--arch qwen3moe --experts 7 --experts-used 3 --expert-ff 50 --dim 72 --heads 4 --kv-heads 2 --head-dim 18"
    " --ff 100 --vocab 301",
    "qwen3moe-q5_0": "--arch qwen3moe --experts 18 --experts-used 4 --expert-ff 96 --type Q5_0 --dim 96 --heads 4 --kv-heads 2"
    " --head-dim 64 --untied",
    "qwen2moe-odd": "--arch qwen2moe --experts 6 --experts-used 3 --expert-ff 50 --dim 72 --heads 4 --kv-heads 2 --head-dim 18"
    " --ff 100 --vocab 301 --untied",
    "qwen2moe-q8_0": "--arch qwen2moe --experts 4 --expert-ff 64 --type Q8_0 --dim 96 --heads 6 --kv-heads 2 --ff 160",
    "mixtral-q4_1": "--experts 5 --type Q4_1 --dim 160 --heads 5 --kv-heads 1 --ff 224",
    # value heads of other numbers than key heads, cut so that key heads are on two ranks, or go round
    "qwen35-odd": "--arch qwen35 --layers 3 --interval 3 --prediction-layers 1 --state 16 --state-keys 3 --state-values 9 --taps 3"
    " --dim 72 --heads 4 --kv-heads 2 --head-dim 18 --ff 100 --vocab 301",
    "qwen35-q4_k": "--arch qwen35 --interval 2 --state 64 --state-keys 4 --state-values 8 --type Q4_K --dim 256 --heads 4 --kv-heads 2"
    " --head-dim 64 --ff 512",
    "qwen35moe-q8_0": "--arch qwen35moe --interval 2 --experts 6 --experts-used 3 --expert-ff 64 --type Q8_0 --dim 96 --heads 4"
    " --kv-heads 2 --head-dim 64 --ff 96 --untied",
    "gpt-oss-odd": "--arch gpt-oss --experts 7 --experts-used 3 --expert-ff 50 --window 5 --layers 3 --dim 72 --heads 6 --kv-heads 2"
    " --head-dim 18 --rope yarn --rope-context 32 --rope-factor 8 --rope-base 1000 --ff 100 --vocab 301 --untied",
    "gpt-oss-mxfp4": "--arch gpt-oss --experts 5 --window 17 --type MXFP4 --dim 96 --heads 9 --kv-heads 3 --head-dim 64 --ff 224"
    " --vocab 305 --untied",
    "olmo2-odd": "--arch olmo2 --dim 78 --heads 6 --kv-heads 2 --head-dim 22 --ff 106 --vocab 303",
    "olmo2-windows": "--arch olmo2 --window 5 --layers 5 --rope yarn --rope-context 32 --rope-factor 8 --type Q8_0 --dim 96"
    " --heads 6 --kv-heads 6 --head-dim 32 --ff 160 --untied",
    # windows that end inside tiles of 16 keys, in half of the layers and in five of six
    "gemma2-odd": "--arch gemma2 --window 5 --layers 3 --dim 78 --heads 6 --kv-heads 2 --head-dim 22 --ff 106 --vocab 303",
    "gemma3-odd": "--arch gemma3 --window 6 --layers 7 --rope linear --rope-factor 8 --rope-base 1e6 --dim 72 --heads 4"
    " --kv-heads 2 --head-dim 18 --ff 100 --vocab 301",
    "gemma3-q5_1-pattern": "--arch gemma3 --window 17 --layers 3 --pattern wfw --type Q5_1 --dim 96 --heads 3 --kv-heads 1"
    " --head-dim 64 --ff 160 --untied",
    # layers with a window have other heads; those without it have no matrix of values
    "gemma4-odd": "--arch gemma4 --window 5 --layers 4 --pattern wwfw --rope-base 1e5 --dim 78 --heads 6 --kv-heads 2 --head-dim 40"
    " --window-heads 3,18 --ff 106 --vocab 303",
    "gemma4-q8_0": "--arch gemma4 --window 17 --layers 3 --pattern wfw --type Q8_0 --dim 96 --heads 4 --kv-heads 1 --head-dim 64"
    " --window-heads 2,32 --ff 160",
    # a dense network and experts side by side; in the second one layers with a window are cut unlike those without
    "gemma4-experts-odd": "--arch gemma4 --experts 7 --experts-used 3 --expert-ff 50 --window 5 --layers 3 --pattern wfw --dim 78 --heads 6"
    " --kv-heads 2 --head-dim 40 --window-heads 3,18 --ff 106 --vocab 303",
    "gemma4-experts-q8_0": "--arch gemma4 --experts 5 --expert-ff 64 --window 17 --pattern wf --type Q8_0 --dim 96 --heads 4 --kv-heads 1"
    " --head-dim 64 --window-heads 2,32 --ff 160",
    # inputs of layers by the token, and last layers that share keys and values, of both kinds
    "gemma4-e-odd": "--arch gemma4 --layer-inputs 19 --shared-layers 3 --shared-ff 122 --window 5 --layers 6 --pattern wfwfww --dim 78"
    " --heads 6 --kv-heads 2 --head-dim 40 --window-heads 3,18 --ff 106 --vocab 303",
    "gemma4-e-q8_0": "--arch gemma4 --layer-inputs 64 --shared-layers 2 --shared-ff 96 --window 17 --layers 4 --pattern wfwf --type Q8_0"
    " --dim 96 --heads 4 --kv-heads 1 --head-dim 64 --window-heads 2,32 --ff 160",
    # a latent vector for all heads, and one for queries in the first model; the first layer is dense
    "deepseek2-odd": "--arch deepseek2 --latent 44 --query-latent 50 --rotated 10 --value-dim 22 --experts 7 --experts-used 3 --expert-ff 50"
    " --layers 3 --dim 78 --heads 6 --kv-heads 1 --head-dim 28 --ff 106 --vocab 303 --untied",
    "deepseek2-q8_0": "--arch deepseek2 --latent 64 --rotated 16 --value-dim 32 --sigmoid --experts 5 --expert-ff 64 --type Q8_0 --rope yarn"
    " --rope-context 32 --rope-key yarn_log_multiplier=0.07 --dim 96 --heads 5 --kv-heads 1 --head-dim 48 --ff 160",
    # groups of experts: by their best one, in a file with the matrix of keys and values of its heads; by the best two with biases
    "deepseek2-groups-joint-heads": "--arch deepseek2 --joint-heads --latent 44 --rotated 10 --value-dim 22 --experts 12 --experts-used 3"
    " --expert-groups 4,2 --expert-ff 50 --layers 3 --dim 78 --heads 6 --kv-heads 6 --head-dim 28 --ff 106 --vocab 303",
    "deepseek2-v3": "--arch deepseek2 --latent 64 --query-latent 64 --rotated 16 --value-dim 32 --sigmoid --choice-biases --experts 16"
    " --experts-used 4 --expert-groups 8,3 --expert-ff 64 --layers 4 --type Q8_0 --dim 96 --heads 5 --kv-heads 1 --head-dim 48 --ff 160",
    # no size a multiple of what kernels, blocks or padding like; 9 heads of 10
    "gpt2-f32-odd-sizes": "--arch gpt2 --dim 90 --heads 9 --ff 330 --vocab 301",
    "gpt2-q8_0-untied": "--arch gpt2 --untied --type Q8_0 --dim 160 --heads 5 --ff 288 --context 41",
    "gpt2-q4_k": "--arch gpt2 --type Q4_K --dim 256 --heads 4 --ff 768",
    "simple-lm": "--arch simple-lm --dim 5 --vocab 10",
    "simple-lm-q4_0": "--arch simple-lm --type Q4_0 --dim 96 --vocab 301",
    # texts longer than the farthest distance that has a bias of its own
    "t5-odd": "--arch t5 --layers 3 --decoder-layers 2 --dim 72 --heads 4 --head-dim 18 --ff 100 --vocab 301",
    "t5-gated-q8_0": "--arch t5 --gated --untied --type Q8_0 --dim 96 --heads 6 --head-dim 32 --ff 160",
    # heads of 48 in blocks of 256
    "q6_k-heads-of-48": "--type Q6_K --dim 256 --heads 16 --kv-heads 8 --head-dim 48 --ff 768 --vocab 307",
}
# one for each architecture, head layout and kind of format
FEW = ("f32-odd-sizes", "q4_1-qwen2", "q5_0-qwen3-wide-heads", "q4_k-qwen2-untied", "smollm3-q5_1", "granite-q4_0", "gemma3-q5_1-pattern", "gemma4-q8_0", "gemma4-experts-q8_0", "gemma4-e-q8_0", "deepseek2-q8_0", "qwen3moe-q5_0", "qwen2moe-q8_0", "gpt-oss-mxfp4", "qwen35-odd", "qwen35moe-q8_0",
       "gpt2-q8_0-untied", "simple-lm-q4_0", "t5-gated-q8_0")
# for 1 lane: heads of two sizes with norms, all of whose dimensions rotate
LANES = ("gemma4-q8_0",)
LONG_CASES = {
    "f32-context-8192": "--context 8192 --dim 64 --heads 4 --kv-heads 2 --ff 96",
    "f16-yarn-context-8192": "--type F16 --rope yarn --rope-context 2048 --context 8192 --dim 64 --heads 2 --ff 96",
}
N_IDS, LONG_IDS, N_TEXT = 40, 8100, 190


def rewrite(path, changes):
    """Writes the file again with some u32 keys changed."""
    source, out = oracle.gguf_file.Reader(path), oracle.gguf_file.Writer()
    for key, (kind, value) in source.keys.items():
        out.raw(key, kind, struct.pack("<I", changes[key]) if key in changes else value)
    for name, (shape, form, blocks) in source.tensors.items():
        out.tensor(name, shape, form, np.array(blocks))
    out.save(path)


def make(folder, name, arguments, n_ids, positions, changes={}):
    path = os.path.join(folder, name + ".gguf")
    subprocess.run([sys.executable, MAKE, path, "--seed", str(len(name)), *arguments.split()], check=True)
    if changes:
        rewrite(path, changes)
    model = oracle.open_model(path)
    vocab = model.file.tensors["token_embd.weight"][0][1]
    random = np.random.default_rng(7)
    ids = random.integers(0, vocab, n_ids)
    text = random.integers(0, vocab, N_TEXT if name.startswith("t5") else 0)
    logits = model.logits(text, ids, positions) if len(text) else model.logits(ids, positions)
    with open(os.path.join(folder, name + ".expected"), "wb") as out:
        out.write(struct.pack("<IIII", n_ids, len(positions), vocab, len(text)))
        out.write(ids.astype("<i4").tobytes() + text.astype("<i4").tobytes() + np.asarray(positions, "<u4").tobytes() + logits.astype("<f8").tobytes())


def main():
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    if sys.argv[2:] == ["long"]:
        positions = [*range(0, LONG_IDS, 900), *range(LONG_IDS - 8, LONG_IDS)]
        for name, arguments in LONG_CASES.items():
            make(folder, name, arguments, LONG_IDS, positions)
        return
    chosen = {"few": FEW, "lanes": LANES}.get(sys.argv[2], CASES)
    for name in chosen:
        make(folder, name, CASES[name], N_IDS, range(N_IDS))
    if chosen is not CASES:
        return
    make(folder, "f32-half-rotates", "--dim 64 --heads 2 --ff 96", N_IDS, range(N_IDS), {"llama.rope.dimension_count": 16})
    make(folder, "f32-qwen3-half-rotates", "--arch qwen3 --dim 64 --heads 2 --ff 96", N_IDS, range(N_IDS),
         {"qwen3.rope.dimension_count": 16})


if __name__ == "__main__":
    main()
