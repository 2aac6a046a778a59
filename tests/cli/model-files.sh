#!/usr/bin/env bash
# model-files.sh EVENER REPO - what is said of files that hold more than evener reads, or are one of several parts: one
# line that names the culprit, and everything in `inspect`.
. "$(dirname "$0")/lib.sh"
python3 -c 'import numpy' 2>/dev/null || skip 'python3 has no numpy'
"$repo/scripts/make-tiny-model" plain.gguf --dim 32 --heads 2 --ff 48 --context 1024 || fail 'no tiny model'

# rewrite IN OUT PYTHON: a copy; PYTHON may change `keys` {name: (type, bytes)} and `tensors` {name: (shape, format, blocks)}.
rewrite() {
	PYTHONPATH=$repo/scripts python3 -B - "$@" <<-'END' || fail "$2 could not be made"
		import struct, sys
		import numpy as np, gguf_file
		source, out = gguf_file.Reader(sys.argv[1]), gguf_file.Writer()
		keys, tensors = dict(source.keys), dict(source.tensors)
		f32 = lambda x: (gguf_file.F32, struct.pack("<f", x))
		u32 = lambda x: (gguf_file.U32, struct.pack("<I", x))
		vector = ([32], "F32", np.zeros(128, np.uint8))
		exec(sys.argv[3])
		for key, (kind, raw) in keys.items():
		    out.raw(key, kind, raw)
		for name, (shape, form, blocks) in tensors.items():
		    out.tensor(name, shape, form, np.array(blocks))
		out.save(sys.argv[2])
	END
}

# Tensors and keys that change what is computed: no command runs the file.
rewrite plain.gguf extra.gguf 'tensors["blk.0.attn_q.scale"] = tensors["blk.1.attn_sinks.weight"] = vector'
rewrite plain.gguf window.gguf 'keys["llama.attention.sliding_window"] = u32(16)'
for command in 'run -p a -m' 'score -p abcdefgh -m' 'plan -m' 'logits --ids 1 -m' 'bench -m'; do
	# shellcheck disable=SC2086 # a command and its flags
	refuse 1 '2 tensors that evener does not know in a model of this architecture: "blk.0.attn_q.scale"' $command extra.gguf
	# shellcheck disable=SC2086
	refuse 1 '"llama.attention.sliding_window" is 16' $command window.gguf
done
holds '"blk.0.attn_q.scale" in d["problem"] and d["unknown_keys"] == []' inspect extra.gguf
holds '"sliding_window" in d["problem"]' inspect window.gguf
"$evener" inspect extra.gguf | grep -q '^cannot be run: extra.gguf: 2 tensors' || fail 'inspect does not tell extra tensors'

# What gpt-oss has beside the usual.
"$repo/scripts/make-tiny-model" oss.gguf --arch gpt-oss --experts 4 --dim 32 --heads 2 --ff 48 --window 8 || fail 'no gpt-oss'
holds 'd["problem"] is None and d["unknown_keys"] == []' inspect oss.gguf
rewrite oss.gguf sinks.gguf 'del tensors["blk.1.attn_sinks.weight"]'
rewrite oss.gguf bias.gguf 'tensors["blk.0.ffn_up_exps.bias"] = vector'
refuse 1 'sinks.gguf: tensor "blk.1.attn_sinks.weight" is missing' plan -m sinks.gguf
refuse 1 'bias.gguf: tensor "blk.0.ffn_up_exps.bias" is [32, 1, 1, 1], expected [48, 4]' plan -m bias.gguf

# Keys that nobody knows are only told.
rewrite plain.gguf keys.gguf 'keys["llama.wobble"] = f32(2)'
holds 'd["problem"] is None and d["unknown_keys"] == ["llama.wobble"]' inspect keys.gguf
"$evener" inspect keys.gguf | grep -q 'llama.wobble .*unknown to evener' || fail 'inspect does not mark an unknown key'

# A model in parts.
for i in 0 1 2; do
	rewrite plain.gguf m-0000$((i + 1))-of-00003.gguf "
keys = dict(keys if $i == 0 else {}, **{'split.no': u32($i), 'split.count': u32(3), 'split.tensors.count': u32(len(tensors))})
tensors = {k: tensors[k] for k in list(tensors)[$i::3]}"
done
first=m-00001-of-00003.gguf second=m-00002-of-00003.gguf
holds 'd["problem"] is None and d["part"] == 1 and d["n_parts"] == 3 and {t["part"] for t in d["tensors"]} == {1, 2, 3}' \
	inspect "$first" --tensors
holds '"open the first: m-00001-of-00003.gguf" in d["problem"] and d["part"] == 2' inspect "$second"
refuse 1 "$second: the file is part 2 of 3 of a model, open the first: $first" plan -m "$second"
mv "$second" away.gguf
refuse 1 "part 2 of 3: $second: No such file" plan -m "$first"
holds '"part 2 of 3" in d["problem"] and d["part"] == 1' inspect "$first"
refuse 1 'away.gguf: the file is part 2 of 3 of a model, and its name does not end with -00002-of-00003.gguf' plan -m away.gguf

finish
