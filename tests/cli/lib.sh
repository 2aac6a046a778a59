# lib.sh - shared by the scripts beside it. Each sources it with its own arguments, EVENER REPO ... It makes a work folder
# and has functions that check a command. The last line of a script is `finish`.
# shellcheck shell=bash
set -u
evener=$(realpath "$1")
repo=$(realpath "$2")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
failures=0

fail() {
	printf 'FAILED: %s\n' "$*"
	failures=$((failures + 1))
}

skip() {
	echo "skipped: $*"
	exit 77
}

finish() {
	[ "$failures" = 0 ] && echo 'all as expected'
	[ "$failures" = 0 ]
	exit
}

# without NAME...: leave out these drivers. Each driver costs every command a part of a second, more with sanitizers.
# Measuring rusticl's device takes a minute (vendors.sh tests it).
without() {
	local name
	[ -d "${OCL_ICD_VENDORS-}" ] || return 0
	cp -r "$OCL_ICD_VENDORS" drivers
	for name; do rm -f "drivers/$name.icd"; done
	export OCL_ICD_VENDORS=$PWD/drivers
}

# Sets `model`: SmolLM2-135M-Instruct.
need_model() {
	model=${EVENER_TEST_MODEL-}
	[ -e "$model" ] || skip 'EVENER_TEST_MODEL names no file'
}

# tells CODE CULPRIT ARGS...: the command exits with the code and prints one line on stderr, which names the culprit.
tells() {
	local code=$1 culprit=$2 got
	shift 2
	"$evener" "$@" >out 2>err </dev/null
	got=$?
	[ "$got" = "$code" ] || fail "$*: exit $got, expected $code ($(head -c 200 err))"
	[ "$(wc -l <err)" = 1 ] || fail "$*: $(wc -l <err) lines on stderr, expected 1: $(head -c 400 err)"
	grep -q '^evener: ' err || fail "$*: stderr does not begin with 'evener: ': $(head -c 200 err)"
	grep -qF -- "$culprit" err || fail "$*: '$culprit' is not named in: $(head -c 200 err)"
}

# refuse CODE CULPRIT ARGS...: the same, with nothing on stdout.
refuse() {
	tells "$@"
	[ ! -s out ] || fail "${*:3}: something on stdout: $(head -c 200 out)"
}

# holds PYTHON ARGS...: the command succeeds, prints nothing on stderr, and PYTHON is true for its JSON d.
holds() {
	local condition=$1
	shift
	"$evener" "$@" --json >out 2>err </dev/null || fail "$*: exit $? ($(head -c 300 err))"
	[ ! -s err ] || fail "$*: something on stderr: $(head -c 300 err)"
	python3 -c "
import json, math, sys
d = json.load(open('out'), parse_constant=lambda c: sys.exit('not JSON: ' + c))
sys.exit(0 if ($condition) else 'got ' + json.dumps(d)[:600])" || fail "$*: not so: $condition"
}
