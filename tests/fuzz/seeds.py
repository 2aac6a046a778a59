#!/usr/bin/env python3
"""seeds.py FOLDER: writes valid inputs for every fuzzer to FOLDER/NAME/, where a search begins. Exit 77 without numpy."""

import glob
import json
import os
import subprocess
import sys

sys.dont_write_bytecode = True
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
sys.path.insert(0, os.path.join(ROOT, "scripts"))
try:
    import numpy as np

    import gguf_file
except ModuleNotFoundError as missing:
    print(f"skipped: {missing}")
    sys.exit(1 if os.environ.get("CI") == "true" else 77)

JSON, SCHEMA, GBNF, REGEX, TOOLS = range(5)
GRAMMARS = [
    (JSON, ""),
    (SCHEMA, '{"type": "object", "properties": {"a": {"type": "integer", "minimum": -3, "maximum": 12, "multipleOf": 2}, "b": {"enum": ["x", 1.5, null]}},'
     ' "required": ["a"], "additionalProperties": false}'),
    (SCHEMA, '{"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/n"}, "minItems": 1}, {"const": {"k": [true]}}],'
     ' "$defs": {"n": {"type": "number", "exclusiveMaximum": 7}}}'),
    (SCHEMA, '{"type": "string", "pattern": "^[a-c]{2,5}$", "minLength": 3, "maxLength": 4}'),
    (SCHEMA, '{"allOf": [{"properties": {"d": {"format": "date"}}}, {"required": ["d"]}], "type": "object"}'),
    (GBNF, 'root ::= item+\nitem ::= "- " [^\\n]{1,5} "\\n" | ("a" | [x-z] | "\\u00e4")*\n# comment\n'),
    (GBNF, 'root ::= "(" root ")" | "[" root | .'),
    (REGEX, "^(a|b[^c-e]|\\d{1,3})+?\\.\\w*$"),
    (TOOLS, '{"tools": [{"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "boolean"}}}, "strict": true}],'
     ' "free": true, "parallel": true}'),
]
REQUESTS = [
    {"prompt": "a", "max_tokens": 5, "temperature": 0.5, "stop": ["x", "y"], "logit_bias": {"3": -100}, "n": 2, "seed": 3},
    {"prompt": [[1, 2], [3]], "echo": True, "stream": True, "stream_options": {"include_usage": True}},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}], "response_format": {"type": "json_object"},
     "top_logprobs": 2, "logprobs": True},
    {"messages": [{"role": "system", "content": "s"}, {"role": "assistant", "content": None, "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}, {"role": "tool", "tool_call_id": "1", "content": "r"}],
     "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}], "tool_choice": "required"},
    {"system": [{"type": "text", "text": "s"}], "max_tokens": 5, "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": [
        {"type": "tool_use", "id": "1", "name": "f", "input": {}}]}, {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "1", "content": "r"}]}],
     "tools": [{"name": "f", "input_schema": {"type": "object"}}], "tool_choice": {"type": "any"}, "stop_sequences": ["x"]},
    {"instructions": "s", "max_output_tokens": 5, "input": [{"role": "user", "content": [{"type": "input_text", "text": "q"}]},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"}, {"type": "function_call_output", "call_id": "1", "output": "r"}],
     "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}]},
]
TOKENIZER = {
    "added_tokens": [{"id": 3, "content": "<x>", "special": True}],
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, {"type": "ByteLevel"}]},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]},
}


def config(family, **more):
    return {"model_type": family, "hidden_size": 4, "num_hidden_layers": 1, "intermediate_size": 4, "num_attention_heads": 1,
            "num_key_value_heads": 1, "max_position_embeddings": 8, "rms_norm_eps": 1e-5, "vocab_size": 5, **more}


def checkpoints():
    sizes = {"model.embed_tokens.weight": [5, 4], "model.norm.weight": [4], "model.layers.0.input_layernorm.weight": [4],
             "model.layers.0.post_attention_layernorm.weight": [4],
             **{f"model.layers.0.self_attn.{n}_proj.weight": [4, 4] for n in "qkvo"},
             **{f"model.layers.0.mlp.{n}_proj.weight": [4, 4] for n in ("gate", "up", "down")}}
    directory, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in sizes.items():
        n = 4 * int(np.prod(shape))
        directory[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + n]}
        at += n
    rope = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 4}
    for shown in (config("llama", rope_scaling=rope), config("qwen2"), config("gemma2", head_dim=4), config("phi3")):
        yield b"\x1e".join((json.dumps(shown).encode(), json.dumps(TOKENIZER).encode(), json.dumps(directory).encode(), bytes(at)))


def adapter(path, dim):
    out = gguf_file.Writer()
    for key, value in (("general.type", "adapter"), ("general.architecture", "llama"), ("adapter.type", "lora")):
        out.string(key, value)
    out.f32("adapter.lora.alpha", 4)
    for side, shape in (("a", (dim, 2)), ("b", (2, dim))):
        out.tensor(f"blk.0.attn_q.weight.lora_{side}", shape, "F32", np.zeros(2 * dim, "<f4").view("u1"))
    out.save(path)


def seed(folder, name, items):
    os.makedirs(os.path.join(folder, name), exist_ok=True)
    for i, item in enumerate(items):
        with open(os.path.join(folder, name, f"seed-{i}"), "wb") as out:
            out.write(item)


def main():
    folder = sys.argv[1]
    seed(folder, "grammar", [bytes([kind]) + text.encode() for kind, text in GRAMMARS])
    seed(folder, "request", [json.dumps(r).encode() for r in REQUESTS])
    seed(folder, "checkpoint", checkpoints())
    seed(folder, "config", [open(path, "rb").read() for path in sorted(glob.glob(os.path.join(ROOT, "configs/*.yaml")))])
    seed(folder, "facts", [b"0\tproduct/Q4_1/3/gbs\t12.5\n0\tmodel/7\t1\n1\tfault/7\t-\n0\treduce/2/token\t9\n0\ttrial/taken\t1e9\n"])
    seed(folder, "template", [open(path, "rb").read() for path in sorted(glob.glob(os.path.join(ROOT, "tests/chat/templates/*")))
                              if os.path.isfile(path)])
    seed(folder, "tokenizer", [bytes([i]) + "a b\n 12\u00e4\u4e2d <s>\U0001f600!".encode() for i in range(8)])
    seed(folder, "gguf", [])
    seed(folder, "adapter", [])
    adapter(os.path.join(folder, "adapter", "seed-0"), 64)
    for i, arguments in enumerate(("--dim 32 --heads 2 --ff 32", "--dim 32 --heads 2 --ff 32 --type Q8_0 --arch qwen3moe --experts 3 --expert-ff 32")):
        subprocess.run([sys.executable, os.path.join(ROOT, "scripts/make-tiny-model"), os.path.join(folder, "gguf", f"seed-{i}"),
                        *arguments.split()], check=True)


if __name__ == "__main__":
    main()
