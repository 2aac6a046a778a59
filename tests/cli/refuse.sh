#!/usr/bin/env bash
# refuse.sh EVENER REPO - wrong use and bad files, given to the built program. Each ends with its exit code, nothing on
# stdout, and exactly one line on stderr, which names the culprit.
. "$(dirname "$0")/lib.sh"

accept() {
	"$evener" "$@" >out 2>err </dev/null || fail "$*: exit $? ($(head -c 200 err))"
}

# Commands and flags.
refuse 2 'no command'
refuse 2 "unknown command 'speak'" speak
refuse 2 "did you mean 'bench'?" benhc
refuse 2 "unknown command 'nonsense'" help nonsense
refuse 2 "did you mean '--version'?" version
refuse 2 "unknown option '--nonsense'" --nonsense
refuse 2 '--tmep; did you mean --temp?' run -m x --tmep 1
refuse 2 'unknown option --temp' devices --temp 1
refuse 2 'unknown option -Z' run -m x -Z
refuse 2 '-n needs a value' run -m x -n
refuse 2 '--json takes no value' run -m x --json=yes
refuse 2 'no model' run
refuse 2 'no model' tokenize -p a
refuse 2 "unexpected argument 'b.yaml'" run b.yaml b.yaml -m x
refuse 2 'config check FILE' config
refuse 2 'config check FILE' config check

# Values.
for number in nan inf -1 1e999 0x10 1.5x '' ' 1' 0,5; do
	refuse 2 "--temp: '$number'" run -m x --temp "$number"
done
for number in -2 1.5 0x10 1e3 99999999999999999999 ''; do
	refuse 2 "--predict: '$number'" run -m x -n "$number"
done
for time in '' 0 0.5s nan 5x -3s 1e9h '60 s s' 2days; do
	refuse 2 "--budget: '$time'" tune --budget "$time"
done
refuse 2 "unexpected argument 'b.yaml'" tune a.yaml b.yaml
refuse 2 'unknown option --temp' tune --temp 1
refuse 2 'nosuchdevice' tune -d nosuchdevice
refuse 2 'all shares are zero' run -m x --shares 0,0
refuse 2 "--shares: 'x'" run -m x --shares 1,x
refuse 2 "--memory: '6'" run -m x -d gpu --memory 6
refuse 2 '--memory needs a device list' run -m x --memory 90%
refuse 2 "empty item in the device list 'a,,b'" run -m x -d a,,b
refuse 2 'split: sequence works only with score, embed and classify' run -m x --split sequence
refuse 2 'this version knows: auto, tensor, sequence' run -m x --split layers
refuse 2 'this version knows: auto, f32, q8' run -m x --activations q4
refuse 2 'this version knows: auto, host, events, flags' run -m x --reduce ring
refuse 2 '--prompt and --file exclude each other' run -m x -p a -f b
refuse 2 '--ids and --prompt exclude each other' tokenize -m x --ids 1 -p a
refuse 2 '--ids and --file exclude each other' logits -m x --ids 1 -f a
refuse 2 '--ids and --data exclude each other' train -m x --ids 1 --data a -o b
refuse 2 "--ids: 'x'" logits -m x --ids 1,x
refuse 2 'give --data FILE' train -m x
refuse 2 'give -o FILE' train -m x --data y

# What is wrong with a prompt is found before a device is touched.
made=(--architecture llama --vocab 257 --dim 64 --layers 1 --heads 2)
for command in run logits; do
	OCL_ICD_VENDORS=$dir/none refuse 2 'the prompt is empty' $command "${made[@]}"
	OCL_ICD_VENDORS=$dir/none refuse 1 '10 tokens do not fit into the context of 4' $command "${made[@]}" -c 4 -p 0123456789
done

# What cannot be written is said before the work begins.
refuse 1 'nodir/y.gguf: could not write: No such file' train -m x --data y -o nodir/y.gguf
refuse 1 "$dir: is a directory" train -m x --data y -o "$dir"
refuse 1 'nodir/y.png: could not write' train -m x --data y -o z --image nodir/y.png

# Devices that are not there, with all drivers.
refuse 2 'nosuchdevice' selftest -d nosuchdevice
nine=$(printf 'pthread %.0s' 1 2 3 4 5 6 7 8 9) # more devices than a run may have ranks
POCL_DEVICES=$nine EVENER_CACHE_DIR=$dir/nine refuse 2 'nosuchdevice' selftest -d all,nosuchdevice

# Model files.
printf 'no model at all' >text.gguf
printf 'GGUF\3\0\0\0' >short.gguf
: >empty.gguf
for command in inspect 'run -p a -m' 'plan -m' 'logits --ids 1 -m' 'score -p a -m' 'bench -m' 'tune -m' 'tokenize -p a -m'; do
	# shellcheck disable=SC2086 # a command and its flags
	for file in missing.gguf "$dir" text.gguf short.gguf empty.gguf; do
		refuse 1 "$file" $command "$file"
	done
done
refuse 2 'is a model' run short.gguf -p a
printf 'GGUF' >large.gguf
truncate -s 2M large.gguf
refuse 2 'is a model, expected a config; models are given as -m large.gguf' run large.gguf -p a
"$evener" config check <(printf 'version: 1\n') >out 2>err || fail "a config from a pipe: $(cat err)"

# Configs: one of each kind; test_config.c has all of them.
printf 'version: 1\nmodel: {path: gone.gguf}\n' >gone.yaml
printf 'version: 1\nmodle: {path: x}\n' >unknown.yaml
printf 'version: 1\nsample:\n  temp: 1\n  temp: 2\n' >duplicate.yaml
printf 'version: 1\nrun: {prompt: *a}\n' >alias.yaml
printf 'version: 1\nsample: {temp: [1]}\n' >type.yaml
printf 'version: 1\nmodel: {path: x}\ndevices: [{match: gpu, share: 0}]\n' >zero.yaml
printf 'version: 7\n' >version.yaml
printf 'version: 1\n\tx\n' >tab.yaml
refuse 1 'gone.gguf' run gone.yaml -p a
refuse 1 'missing.yaml' run missing.yaml -p a
refuse 1 "$dir" plan "$dir"
for command in run plan bench logits 'config check'; do
	# shellcheck disable=SC2086
	for problem in "unknown.yaml:2:1: unknown key 'modle'" "duplicate.yaml:4:3: duplicate key 'sample.temp'" \
		'alias.yaml:2:15: alias *a' 'type.yaml:2:16: sample.temp: expected one value, found a list' \
		'zero.yaml:3:10: devices: all shares are zero' "version.yaml:1:10: version: '7'" 'tab.yaml:2:'; do
		refuse 2 "$problem" $command "${problem%%:*}"
	done
done

# It is also a failure if stdout cannot take the result.
if [ -w /dev/full ]; then
	"$evener" config schema >/dev/full 2>err
	[ $? = 1 ] || fail 'config schema >/dev/full: did not fail'
	grep -q 'standard output' err || fail "config schema >/dev/full: $(cat err)"
	"$evener" --help >/dev/full 2>err
	[ $? = 1 ] && grep -q 'standard output: No space left' err || fail "--help >/dev/full: $(cat err)"
fi

# Correct use.
accept --help
accept --version
accept help run
accept help help
for command in devices plan run logits score bench tune inspect tokenize quantize selftest config; do
	accept "$command" --help
	grep -q "^usage: evener $command" out || fail "$command --help: no usage line"
done
accept config init
cp out start.yaml
accept config check start.yaml
"$evener" config check start.yaml >&- 2>err # a file that is opened must not become stdout
[ $? = 1 ] && grep -q 'standard output: Bad file descriptor' err || fail "config check >&-: $(cat err)"
accept config schema
python3 -m json.tool out >/dev/null || fail 'config schema: not JSON'
configs=0
for file in "$repo"/configs/*.yaml; do
	accept config check "$file"
	configs=$((configs + 1))
done
[ "$configs" -gt 0 ] || fail 'no example configs found'

finish
