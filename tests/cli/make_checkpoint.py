#!/usr/bin/env python3
"""make_checkpoint.py IN.gguf FOLDER [--type F32|F16|BF16] [--shards N] - a GGUF model with weights in F32 as a folder of
Hugging Face's transformers. The inverse of what evener does when it opens such a folder, written from transformers' own
names, for the tests that compare both. --compare A.gguf B.gguf [TOLERANCE]: B, written by evener from such a folder, must be A."""

import argparse
import json
import os
import struct
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts"))
import numpy as np

import gguf_file

TYPES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "qwen2vl": "qwen2_vl", "qwen3vl": "qwen3_vl", "mistral3": "ministral3",
         "phi3": "phi3", "smollm3": "smollm3", "granite": "granite", "olmo2": "olmo3", "gemma2": "gemma2", "gemma3": "gemma3_text",
         "gpt2": "gpt2", "qwen3moe": "qwen3_moe", "t5": "t5"}
PAIRED = ("llama", "mistral3", "smollm3", "granite")
LAYER = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_qkv": "self_attn.qkv_proj",
         "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
         "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm"}
LAYER_GPT2 = {"attn_norm": "ln_1", "ffn_norm": "ln_2", "attn_qkv": "attn.c_attn", "attn_output": "attn.c_proj",
              "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"}
SIDE_T5 = {"attn_rel_b": "SelfAttention.relative_attention_bias", "attn_norm": "layer_norm", "cross_attn_norm": "layer_norm",
           "ffn_norm": "layer_norm", "ffn_up": "DenseReluDense.wi", "ffn_gate": "DenseReluDense.wi_0", "ffn_down": "DenseReluDense.wo"}
INTEGERS_T5 = {"d_model": "embedding_length", "d_kv": "attention.key_length", "d_ff": "feed_forward_length", "num_layers": "block_count",
               "num_decoder_layers": "decoder_block_count", "num_heads": "attention.head_count", "n_positions": "context_length",
               "relative_attention_num_buckets": "attention.relative_buckets_count",
               "layer_norm_epsilon": "attention.layer_norm_epsilon", "decoder_start_token_id": "decoder_start_token_id"}
ENDS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
ENDS_GPT2 = {"token_embd": "wte", "position_embd": "wpe", "output_norm": "ln_f", "output": "lm_head"}
INTEGERS = {"max_position_embeddings": "context_length", "hidden_size": "embedding_length", "num_hidden_layers": "block_count",
            "intermediate_size": "feed_forward_length", "num_attention_heads": "attention.head_count",
            "num_key_value_heads": "attention.head_count_kv", "head_dim": "attention.key_length",
            "rms_norm_eps": "attention.layer_norm_rms_epsilon", "rope_theta": "rope.freq_base",
            "rope_local_base_freq": "rope.freq_base_swa", "attn_logit_softcapping": "attn_logit_softcapping",
            "final_logit_softcapping": "final_logit_softcapping", "embedding_multiplier": "embedding_scale",
            "residual_multiplier": "residual_scale", "attention_multiplier": "attention.scale", "logits_scaling": "logit_scale",
            "sliding_window": "attention.sliding_window"}
INTEGERS_EXPERTS = {"num_experts_per_tok": "expert_used_count", "moe_intermediate_size": "expert_feed_forward_length"}
INTEGERS_GPT2 = {"n_positions": "context_length", "n_embd": "embedding_length", "n_layer": "block_count",
                 "n_inner": "feed_forward_length", "n_head": "attention.head_count",
                 "layer_norm_epsilon": "attention.layer_norm_epsilon"}


def value(kind, raw):
    """The value of a GGUF key."""
    if kind == gguf_file.STRING:
        return raw[8:].decode()
    if kind != gguf_file.ARRAY:
        return struct.unpack("<" + gguf_file._SCALARS[kind], raw)[0]
    element, count = struct.unpack_from("<IQ", raw)
    if element != gguf_file.STRING:
        return list(struct.unpack_from(f"<{count}{gguf_file._SCALARS[element]}", raw, 12))
    out, at = [], 12
    for _ in range(count):
        n = struct.unpack_from("<Q", raw, at)[0]
        out.append(raw[at + 8 : at + 8 + n].decode())
        at += 8 + n
    return out


class Model:
    def __init__(self, path):
        source = gguf_file.Reader(path)
        self.keys = {key: value(*kv) for key, kv in source.keys.items()}
        self.arch = self.keys["general.architecture"]
        self.tensors = {n: np.array(b).view("<f4").reshape(s[::-1]) for n, (s, form, b) in source.tensors.items()}
        assert all(form == "F32" for _, form, _ in source.tensors.values()), "expected weights in F32"

    def key(self, suffix, default=None):
        return self.keys.get(f"{self.arch}.{suffix}", default)


def halves(x, heads):
    """Rows that alternate between the halves of a head, as the two halves."""
    return x.reshape(heads, -1, 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def tensors_of_t5(m):
    """The encoder and the decoder repeat the embedding, as some folders do."""
    gated, out = any("ffn_gate" in name for name in m.tensors), {}
    for name, x in m.tensors.items():
        stem = name.removesuffix(".weight")
        if stem == "token_embd":
            out |= {n + ".weight": x for n in ("shared", "encoder.embed_tokens", "decoder.embed_tokens")}
            continue
        if stem == "output":
            out["lm_head.weight"] = x
            continue
        side, rest = {"enc": "encoder", "dec": "decoder"}[stem[:3]], stem[4:]
        if rest == "output_norm":
            out[side + ".final_layer_norm.weight"] = x
            continue
        _, number, part = rest.split(".")
        kind, last = part.split("_")[0], part.split("_")[-1]
        block = {"attn": 0, "cross": 1, "ffn": 1 if side == "encoder" else 2}[kind]
        hf = SIDE_T5.get(part) or {"attn": "SelfAttention.", "cross": "EncDecAttention."}[kind] + last
        if gated and part == "ffn_up":
            hf = "DenseReluDense.wi_1"
        out[f"{side}.block.{number}.layer.{block}.{hf}.weight"] = x
    return out


def tensors_of(m):
    """{name in transformers: array}"""
    if m.arch == "t5":
        return tensors_of_t5(m)
    heads = m.key("attention.head_count")
    kv_heads = m.key("attention.head_count_kv", heads)
    post = m.arch in ("gemma2", "gemma3", "olmo2")
    layer = dict(LAYER_GPT2 if m.arch == "gpt2" else LAYER)
    if m.arch != "gpt2":
        layer["post_attention_norm"], layer["post_ffw_norm"] = "post_attention_layernorm", "post_feedforward_layernorm"
        layer["ffn_norm"] = "pre_feedforward_layernorm" if post else "post_attention_layernorm"
    out = {}
    for name, x in m.tensors.items():
        if name.startswith("rope_"):
            continue
        stem, ending = name.rsplit(".", 1)
        number, part = None, stem
        if stem.startswith("blk."):
            _, number, part = stem.split(".")
        if m.arch in PAIRED and part in ("attn_q", "attn_k"):
            x = halves(x, heads if part == "attn_q" else kv_heads)
        if m.arch == "gpt2" and number and x.ndim == 2:
            x = x.T
        if m.arch.startswith("gemma") and part.endswith("norm"):
            x = x - np.float32(1)
        if part.endswith("_exps"):
            mixtral, which = m.arch == "llama", part[4:-5]
            stem = ("block_sparse_moe.experts.{}." + {"gate": "w1", "up": "w3", "down": "w2"}[which] if mixtral else
                    "mlp.experts.{}." + which + "_proj")
            for i, expert in enumerate(x):
                out[f"model.layers.{number}.{stem.format(i)}.{ending}"] = np.ascontiguousarray(expert)
            continue
        if part == "ffn_gate_inp":
            layer["ffn_gate_inp"] = "block_sparse_moe.gate" if m.arch == "llama" else "mlp.gate"
        if number is None:
            hf = (ENDS_GPT2 if m.arch == "gpt2" else ENDS)[part]
        else:
            if part == "ffn_up" and len(x) == 2 * m.key("feed_forward_length") and m.arch != "gpt2":
                hf = "mlp.gate_up_proj"
            else:
                hf = layer[part]
            hf = f"h.{number}.{hf}" if m.arch == "gpt2" else f"model.layers.{number}.{hf}"
        out[f"{hf}.{ending}"] = np.ascontiguousarray(x)
    return out


def scaling_of(m):
    kind, factors = m.key("rope.scaling.type"), m.tensors.get("rope_factors_short.weight")
    if factors is not None:
        return {"type": "longrope", "short_factor": factors.tolist(), "long_factor": m.tensors["rope_factors_long.weight"].tolist(),
                "original_max_position_embeddings": m.key("rope.scaling.original_context_length"),
                "attention_factor": m.key("rope.scaling.attn_factor", 1.0)}
    if kind in (None, "none"):
        return None
    out = {"rope_type": kind, "factor": m.key("rope.scaling.factor")}
    for key, suffix in {"original_max_position_embeddings": "rope.scaling.original_context_length",
                        "beta_fast": "rope.scaling.yarn_beta_fast", "beta_slow": "rope.scaling.yarn_beta_slow",
                        "mscale_all_dim": "rope.scaling.yarn_log_multiplier",
                        "llama_4_scaling_beta": "attention.temperature_scale"}.items():
        if m.key(suffix) is not None:
            out[key] = m.key(suffix)
    return out


def config_of(m):
    config = {"model_type": TYPES[m.arch], "vocab_size": len(m.tensors["token_embd.weight"]),
              "tie_word_embeddings": "output.weight" not in m.tensors}
    for key, suffix in {"gpt2": INTEGERS_GPT2, "t5": INTEGERS_T5}.get(m.arch, INTEGERS).items():
        if m.key(suffix) is not None:
            config[key] = m.key(suffix)
    if m.arch == "t5":
        config["feed_forward_proj"] = "gated-gelu" if any("ffn_gate" in name for name in m.tensors) else "relu"
    if m.arch in ("gpt2", "t5"):
        return config
    if m.key("expert_count"):
        config["num_local_experts" if m.arch == "llama" else "num_experts"] = m.key("expert_count")
        config |= {key: m.key(suffix) for key, suffix in INTEGERS_EXPERTS.items() if m.key(suffix)} | {"norm_topk_prob": True}
        config["model_type"] = "mixtral" if m.arch == "llama" else TYPES[m.arch]
    dim = config["hidden_size"] // config["num_attention_heads"]
    config.setdefault("head_dim", dim)
    if m.key("rope.dimension_count", config["head_dim"]) != config["head_dim"]:
        config["partial_rotary_factor"] = m.key("rope.dimension_count") / config["head_dim"]
    config["rope_scaling"] = scaling_of(m)
    if m.arch.startswith("gemma"):
        config["query_pre_attn_scalar"] = config["head_dim"]
        config.setdefault("sliding_window", None)
    pattern = m.key("attention.sliding_window_pattern")
    if isinstance(pattern, list):
        config["layer_types"] = ["sliding_attention" if w else "full_attention" for w in pattern]
    elif pattern is not None:
        config["sliding_window_pattern"] = pattern
    return config


QWEN2 = ("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+"
         "|\\s+(?!\\S)|\\s+")
PRE = {"qwen2": [{"type": "Split", "pattern": {"Regex": QWEN2}, "behavior": "Isolated"},
                 {"type": "ByteLevel", "use_regex": False}],
       "smollm": [{"type": "Digits", "individual_digits": True}, {"type": "ByteLevel", "add_prefix_space": False}],
       "gpt-2": [{"type": "ByteLevel", "add_prefix_space": False}]}


def tokenizer_of(m):
    """tokenizer.json and tokenizer_config.json."""
    tokens, kinds = m.keys["tokenizer.ggml.tokens"], m.keys.get("tokenizer.ggml.token_type")
    kinds = kinds or [1] * len(tokens)
    added = [{"id": i, "content": t, "special": k == 3, "normalized": False} for i, (t, k) in enumerate(zip(tokens, kinds)) if k in (3, 4)]
    special = {name: tokens[m.keys[f"tokenizer.ggml.{key}_token_id"]] for name, key in
               {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}.items()
               if f"tokenizer.ggml.{key}_token_id" in m.keys}
    config = {**special, "add_bos_token": m.keys.get("tokenizer.ggml.add_bos_token", False)}
    if "tokenizer.chat_template" in m.keys:
        config["chat_template"] = m.keys["tokenizer.chat_template"]
    model = {"type": "BPE", "vocab": {t: i for i, t in enumerate(tokens) if kinds[i] != 5}}
    data = {"version": "1.0", "added_tokens": added, "model": model}
    if m.keys["tokenizer.ggml.model"] == "gpt2":
        model["merges"] = [pair.split(" ") for pair in m.keys["tokenizer.ggml.merges"]]
        data["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": PRE[m.keys["tokenizer.ggml.pre"]]}
        return data, config
    model |= {"byte_fallback": True, "unk_token": special.get("unk_token"), "merges": pieces_merges(m, tokens)}
    steps = [{"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]
    if m.keys.get("tokenizer.ggml.add_space_prefix", True):
        steps.insert(0, {"type": "Prepend", "prepend": "\u2581"})
    data["normalizer"] = {"type": "Sequence", "normalizers": steps}
    begin = [{"SpecialToken": {"id": special["bos_token"], "type_id": 0}}] if m.keys.get("tokenizer.ggml.add_bos_token", True) else []
    data["post_processor"] = {"type": "TemplateProcessing", "single": begin + [{"Sequence": {"id": "A", "type_id": 0}}]}
    return data, config


def pieces_merges(m, tokens):
    """The merges that make each piece, by its score."""
    ids, scores = {t: i for i, t in enumerate(tokens)}, m.keys["tokenizer.ggml.scores"]
    merges = []
    for i, t in enumerate(tokens):
        for cut in range(1, len(t)):
            if t[:cut] in ids and t[cut:] in ids:
                merges.append((-scores[i], ids[t[:cut]], ids[t[cut:]], f"{t[:cut]} {t[cut:]}"))
    return [text for *_, text in sorted(merges)]


def encoded(x, kind):
    if kind == "F32":
        return x.astype("<f4").tobytes()
    return gguf_file.quantize(x, kind).tobytes()


def save(path, tensors, kind):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    blobs = [encoded(x, kind) for x in tensors.values()]
    for (name, x), blob in zip(tensors.items(), blobs):
        header[name] = {"dtype": kind, "shape": list(x.shape), "data_offsets": [at, at + len(blob)]}
        at += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for blob in blobs:
            out.write(blob)


def compare(path, made, tolerance=0.0):
    """Ends with a line if the two GGUF files differ in a tensor or in a key of the architecture or the tokenizer."""
    a, b = Model(path), Model(made)
    # the converter leaves out what transformers does not store, or what changes nothing
    left_out = ("rope.dimension_sections", "rope.scaling.original_context_length", "rope.scaling.factor", "rope.scaling.type")
    longrope = "rope_factors_short.weight" in a.tensors
    for key, x in a.keys.items():
        y = b.keys.get(key)
        if not key.startswith((a.arch, "tokenizer")) or (y is None and (longrope or key.endswith(left_out[:2])) and key.endswith(left_out)):
            continue
        if x != y and not (isinstance(x, float) and y is not None and abs(x - y) <= 1e-6 * abs(x)):
            sys.exit(f"{key}: {str(y)[:200]}, expected {str(x)[:200]}")
    if a.tensors.keys() != b.tensors.keys():
        sys.exit(f"tensors in one only: {sorted(a.tensors.keys() ^ b.tensors.keys())}")
    for name, x in a.tensors.items():
        y = b.tensors[name]
        if x.shape != y.shape or np.abs(x - y).max() > tolerance * np.abs(x).max():
            sys.exit(f"{name}: other values")


def main():
    if sys.argv[1:2] == ["--compare"]:
        compare(*sys.argv[2:4], *map(float, sys.argv[4:]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("input")
    parser.add_argument("folder")
    parser.add_argument("--type", choices=("F32", "F16", "BF16"), default="F32")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--config", type=json.loads, default={}, help="more of config.json")
    parser.add_argument("--tokenizer", help="GGUF file with another one, of as many tokens")
    args = parser.parse_args()
    m = Model(args.input)
    os.makedirs(args.folder, exist_ok=True)
    tensors = tensors_of(m)
    if args.shards == 1:
        save(os.path.join(args.folder, "model.safetensors"), tensors, args.type)
    else:
        index = {}
        for i in range(args.shards):
            name = f"model-{i + 1:05}-of-{args.shards:05}.safetensors"
            part = dict(list(tensors.items())[i :: args.shards])
            save(os.path.join(args.folder, name), part, args.type)
            index |= dict.fromkeys(part, name)
        with open(os.path.join(args.folder, "model.safetensors.index.json"), "w") as out:
            json.dump({"metadata": {}, "weight_map": index}, out)
    files = {"config.json": config_of(m) | args.config}
    if args.tokenizer:
        m.keys = {key: value(*kv) for key, kv in gguf_file.Reader(args.tokenizer).keys.items()}
    if "tokenizer.ggml.tokens" in m.keys:
        files["tokenizer.json"], files["tokenizer_config.json"] = tokenizer_of(m)
    for name, data in files.items():
        with open(os.path.join(args.folder, name), "w") as out:
            json.dump(data, out)


if __name__ == "__main__":
    main()
