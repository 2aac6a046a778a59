#!/usr/bin/env bash
# checkpoint.sh EVENER REPO - folders of Hugging Face's transformers: of every architecture, opened as the GGUF file that
# they were made of; and what is wrong with one, in one line.
. "$(dirname "$0")/lib.sh"
without rusticl intel
python3 -c 'import numpy' 2>/dev/null || skip 'python3 has no numpy'
hf() { python3 "$repo/tests/cli/make_checkpoint.py" "$@"; }

# same NAME TOLERANCE MAKE-TINY-MODEL'S ARGS...: the folder gives the weights, keys and tokens of the GGUF file. `more` is
# more of its config.json.
more='{}'
same() {
	local name=$1 tolerance=$2
	shift 2
	"$repo/scripts/make-tiny-model" "$name.gguf" --layers 2 --dim 64 --heads 4 --ff 96 "$@" || fail "$name: no tiny model"
	hf "$name.gguf" "$name" --config "$more" || fail "$name: no folder"
	"$evener" quantize "$name" "$name.back.gguf" F32 >/dev/null || fail "$name: not opened"
	hf --compare "$name.gguf" "$name.back.gguf" "$tolerance" || fail "$name: differs"
}
same llama 0 --kv-heads 2 --untied
same qwen2 0 --arch qwen2 --kv-heads 2
same qwen3 0 --arch qwen3 --kv-heads 2 --head-dim 32
same qwen3vl 0 --arch qwen3vl
same mistral3 0 --arch mistral3 --rope yarn --rope-key yarn_log_multiplier=1
same phi3 0 --arch phi3 --fused --rope longrope --untyped
same smollm3 0 --arch smollm3 --kv-heads 2
same granite 0 --arch granite --kv-heads 2
same olmo3 0 --arch olmo2 --window 32 --pattern wf
same gemma2 1e-6 --arch gemma2 --window 32
same gemma3 1e-6 --arch gemma3 --window 32 --pattern wf --kv-heads 2
same gpt2 0 --arch gpt2
same t5 0 --arch t5 --decoder-layers 3
same t5gated 0 --arch t5 --gated --untied
same mixtral 0 --experts 4 --kv-heads 2
same qwen3moe 0 --arch qwen3moe --experts 4 --expert-ff 32 --kv-heads 2
hf qwen3moe.gguf qwen3moe.parts --shards 3 && "$evener" quantize qwen3moe.parts parts.gguf F32 >/dev/null &&
	hf --compare qwen3moe.gguf parts.gguf || fail 'experts in several files: differs'
more='{"rope_scaling": {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
	"original_max_position_embeddings": 64}}'
same llama3 1e-6 --rope llama3 --kv-heads 2
more='{"rope_scaling": null, "rope_parameters": {"rope_type": "yarn", "rope_theta": 5000.0, "factor": 4.0,
	"original_max_position_embeddings": 64}}'
same llama-v5 0 --rope yarn --rope-base 5000 --kv-heads 2

# In several files; weights of 16 bits. Logits of the devices are those of the GGUF file to the last bit.
hf llama.gguf sharded --shards 3 --type BF16 || fail 'no folder in parts'
"$evener" quantize sharded bf16.gguf BF16 >/dev/null || fail 'sharded: not opened'
for model in sharded bf16.gguf gpt2 gpt2.gguf; do
	"$evener" logits -m "$model" -d pocl/1+1 -p 'The cat sat' -q >"${model%.gguf}.${model##*.}.logits" || fail "$model: no logits"
done
cmp sharded.sharded.logits bf16.gguf.logits || fail 'sharded: other logits'
cmp gpt2.gpt2.logits gpt2.gguf.logits || fail 'gpt2: other logits'
holds 'd["problem"] is None and d["arch"] == "llama" and d["gguf_version"] == 0 and d["unknown_keys"] == []' inspect sharded
"$evener" inspect sharded | grep -q '^sharded: safetensors, ' || fail 'inspect does not tell safetensors'
"$evener" run -m sharded --chat -p 'hello' -n 4 --temp 0 --ignore-eos -d pocl/1+1 -q >out || fail 'run: failed'

# SentencePiece's BPE: the ids of the vocabulary file.
if [ -e "${EVENER_VOCAB_DIR-}/ggml-vocab-llama-spm.gguf" ]; then
	vocab=$EVENER_VOCAB_DIR/ggml-vocab-llama-spm.gguf
	"$repo/scripts/make-tiny-model" wide.gguf --dim 32 --heads 2 --vocab 32000 && hf wide.gguf spm --tokenizer "$vocab" ||
		fail 'no folder with SentencePiece'
	"$evener" tokenize -m spm -f "$vocab.inp" --special --json >ids.folder || fail 'spm: no ids'
	"$evener" tokenize -m "$vocab" -f "$vocab.inp" --special --json >ids.gguf
	cmp ids.folder ids.gguf || fail 'spm: other ids'
fi

# Unigram: the ids that sentencepiece gives (tests/data).
python3 - "$repo/tests/data/unigram.json" "$evener" <<'END' || fail 'Unigram: other ids'
import base64, json, subprocess, sys
v = json.load(open(sys.argv[1]))[0]
steps = [{"type": "Precompiled", "precompiled_charsmap": base64.b64encode(bytes.fromhex(v["charsmap"])).decode()}]
special = [{"id": i, "content": p[0], "special": p[2] == 3} for i, p in enumerate(v["pieces"]) if p[2] in (3, 4)]
data = {"added_tokens": special, "normalizer": {"type": "Sequence", "normalizers": steps},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Metaspace", "add_prefix_space": True}]},
        "post_processor": {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "</s>"}}]},
        "model": {"type": "Unigram", "unk_id": 2, "vocab": [p[:2] for p in v["pieces"]]}}
json.dump(data, open("t5/tokenizer.json", "w"))
json.dump({"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}, open("t5/tokenizer_config.json", "w"))
for text, ids in [c for c in v["cases"] if c[0] and "\0" not in c[0]][5::4]:
    run = subprocess.run([sys.argv[2], "tokenize", "-m", "t5", "--special", "--json", "-p", text], check=True, stdout=subprocess.PIPE)
    got = json.loads(run.stdout)["ids"]
    assert got == [*ids, 1], (text, got, ids)
END

# broken CULPRIT PYTHON: a folder in which something is wrong is refused with one line. PYTHON changes the dicts `config`, `index`
# and `tokenizer`, or files of the folder.
broken() {
	break_folder "$2"
	refuse 1 "$1" inspect bad
}
# differs CULPRIT PYTHON: the folder can be inspected, but not run.
differs() {
	break_folder "$2"
	refuse 1 "$1" plan -m bad
}
break_folder() {
	rm -rf bad
	cp -r sharded bad
	(cd bad && python3 - "$1" <<-'END'
		import json, os, struct, sys
		first = "model-00001-of-00003.safetensors"
		names = ("config.json", "model.safetensors.index.json", "tokenizer.json")
		config, index, tokenizer = (json.load(open(n)) for n in names)
		def header(change, name=first):
		    """Changes the text of a file's directory."""
		    raw = open(name, "rb").read()
		    n = struct.unpack("<Q", raw[:8])[0]
		    text = change(raw[8 : 8 + n].decode()).encode()
		    open(name, "wb").write(struct.pack("<Q", len(text)) + text + raw[8 + n :])
		def entry(change, name=first):
		    """Changes the directory; change gets it as a dict."""
		    def by_dict(text):
		        d = json.loads(text)
		        change(d, next(k for k in d if k != "__metadata__"))
		        return json.dumps(d)
		    header(by_dict, name)
		exec(sys.argv[1])
		for name, data in zip(names, (config, index, tokenizer)):
		    if data is not None:
		        json.dump(data, open(name, "w"))
	END
	) || fail "$1: could not be made"
}
broken 'bad/model-00002-of-00003.safetensors: No such file' 'os.remove("model-00002-of-00003.safetensors")'
broken 'which the index names' 'index["weight_map"]["model.norm.weight"] = "model-00003-of-00003.safetensors"; index["weight_map"]["model.layers.1.mlp.up_proj.weight"] = first'
broken 'expected a file of the folder' 'index["weight_map"]["model.norm.weight"] = "../x.safetensors"'
broken 'no "weight_map"' 'index = {}'
broken 'is in bad/model-00002-of-00003.safetensors and in another file' 'import shutil; shutil.copy(first, "model-00002-of-00003.safetensors")'
broken 'its directory has 9223372036854775807 bytes' 'open(first, "r+b").write(bytes([255] * 7 + [127]))'
broken 'are too few' 'open(first, "wb").write(b"")'
broken 'its directory is no JSON object' 'header(lambda t: "[" + t[1:])'
broken 'its tensors end at' 'open(first, "ab").write(b"more")'
broken 'has type "F7"' 'entry(lambda d, k: d[k].update(dtype="F7"))'
broken 'its shape and type need' 'entry(lambda d, k: d[k].update(shape=[1, 2]))'
broken 'has a shape that 63 bits cannot count' 'entry(lambda d, k: d[k].update(shape=[2**40, 2**40]))'
broken 'of the data, which has' 'entry(lambda d, k: d[k].update(data_offsets=[0, 2**50]))'
broken 'tensors may have no gaps and no overlaps' 'entry(lambda d, k: d.pop(k))'
broken 'evener reads F32, F16 and BF16' 'entry(lambda d, k: d[k].update(dtype="I16"))'
broken 'bad/config.json: line 1' 'config = None; open("config.json", "w").write("{,}")'
broken 'the folder has no config.json' 'config = None; os.remove("config.json")'
for change in 'feed_forward_proj: gated-silu' 'relative_attention_max_distance: 64'; do
	rm -rf bad
	cp -r t5 bad
	python3 -c 'import json, sys; key, v = sys.argv[1].split(": "); c = json.load(open("bad/config.json")); c[key] = int(v) if v.isdigit() else v; json.dump(c, open("bad/config.json", "w"))' "$change"
	refuse 1 "\"${change%%:*}\" is" inspect bad
done
broken 'model_type "rwkv" is not one evener runs (llama' 'config["model_type"] = "rwkv"'
broken '"vocab_size" is 7, the token embedding has 320 rows' 'config["vocab_size"] = 7'
broken '"num_hidden_layers": expected an integer' 'config["num_hidden_layers"] = "two"'
differs 'blk.1.' 'config["num_hidden_layers"] = 1'
differs '"blk.2.attn_norm.weight" is missing' 'config["num_hidden_layers"] = 3'
differs '"blk.0.ffn_gate.weight" is [64, 96, 1, 1], expected [64, 32]' 'config["intermediate_size"] = 32'
differs '"llama.attention.sliding_window" is 16' 'config["sliding_window"] = 16'
broken 'rope_type is "dynamic"' 'config["rope_scaling"] = {"type": "dynamic", "factor": 2}'
broken '"quantization_config"' 'config["quantization_config"] = {"bits": 4}'
broken '"hidden_act" is "relu"' 'config["hidden_act"] = "relu"'
broken 'evener reads BPE' 'tokenizer["model"]["type"] = "WordLevel"'
broken '"unk_id": expected a token of the vocabulary' 'tokenizer["model"] = {"type": "Unigram", "vocab": [["a", -1.5], ["b", -2]]}'
broken 'a text and a score for each token' 'tokenizer["model"] = {"type": "Unigram", "unk_id": 0, "vocab": [["a", -1.5], ["b"]]}'
broken '"precompiled_charsmap" is no base64' 'tokenizer["model"] = {"type": "Unigram", "unk_id": 0, "vocab": [["a", -1.5]]}; tokenizer["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "a?b"}'
broken 'pre-tokenizer a+ is not known' 'tokenizer["pre_tokenizer"] = {"type": "Split", "pattern": {"Regex": "a+"}}; tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [tokenizer["pre_tokenizer"], {"type": "ByteLevel", "use_regex": False}]}'
broken 'a token has no text or an id' 'tokenizer["model"]["vocab"]["x y"] = -1'
broken 'a merge is no pair of tokens' 'tokenizer["model"]["merges"] = ["ab"]'
cp -r qwen3moe experts
sed -i 's/"num_experts": 4/"num_experts": 5/' experts/config.json
refuse 1 'experts: expert 4 has no tensor like "model.layers.0.mlp.experts.0.gate_proj.weight"' run -p a -m experts
sed -i 's/"num_experts": 5/"num_experts": 3/' experts/config.json
refuse 1 'tensor "model.layers.0.mlp.experts.3.gate_proj.weight" is a matrix of an expert' run -p a -m experts
rm -rf bad && mkdir bad
refuse 1 'bad: the folder has no config.json' run -p a -m bad

finish
