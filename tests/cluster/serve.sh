#!/usr/bin/env bash
# serve.sh EVENER REPO MPIRUN - serve, chat and embed over nodes give what one process gives: several requests at the same
# time, a conversation, vectors. A signal for node 0 ends the server and all nodes.
here=$(dirname "$(realpath "$0")")
. "$here/../cli/lib.sh"
. "$here/lib.sh"
without rusticl intel
alone=(-d pocl/1@0,pocl/1@1 --shares 2,1)

# over COMMAND ARGS...: two nodes. The output of node 0 goes to the file out
over() {
	"$mpirun" -n 1 "${noted[@]}" 0 "$evener" "$@" -d pocl/1@0 --shares 2 : \
		-n 1 "${noted[@]}" 1 "$evener" "$@" -d pocl/1@1 --shares 1
}

# ask URL: answers to several requests at once, one a line
ask() {
	python3 - "$1" <<'END'
import concurrent.futures, json, sys, urllib.request

def ask(prompt):
    body = {"prompt": prompt, "max_tokens": 16, "temperature": 0}
    r = urllib.request.Request(sys.argv[1] + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.dumps(json.load(urllib.request.urlopen(r, timeout=100))["choices"][0]["text"])

prompts = ["The capital of France is", "One two three", "def main():", "Water boils at", "The capital of France is"]
with concurrent.futures.ThreadPoolExecutor(len(prompts)) as pool:
    print("\n".join(pool.map(ask, prompts)))
END
}

ready() { [ -s url ] && python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1] + "/health")' "$(cat url)" 2>/dev/null; }

# served NAME COMMAND...: starts a server, asks, and leaves the answers in the file NAME
served() {
	rm -f url
	"${@:2}" >url 2>err </dev/null &
	server=$!
	within 60 ready || fail "$1: no server: $(head -c 400 err)"
	ask "$(cat url)" >"$1" || fail "$1: $(head -c 400 err)"
}

served alone "$evener" serve -m "$model" -c 256 --port 0 "${alone[@]}"
kill -TERM "$server"
wait "$server"
served nodes over serve -m "$model" -c 256 --port 0
cmp -s alone nodes || fail "serve: expected $(cat alone), found $(cat nodes)"
python3 -c 'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1] + "/metrics").read().decode())' "$(cat url)" >metrics
grep -q '^evener:rank_share{device=".*",node="1 (.*)",phase="decode"} 0\.3' metrics || fail "metrics: $(grep rank_share metrics)"
kill -TERM "$(cat pid0)"
within 10 ended 0 1 || fail 'serve: a process is left after SIGTERM'
wait "$server" || fail "serve: exit $? after SIGTERM ($(head -c 400 err))"

# Open MPI gives node 0 a terminal to write to, where an answer ends with one more newline.
printf 'Name a colour.\nAnd another one?\n' >talk
"$evener" chat -m "$model" -c 256 -n 16 --temp 0 "${alone[@]}" <talk >alone 2>err || fail "chat: $(head -c 400 err)"
over chat -m "$model" -c 256 -n 16 --temp 0 <talk >out 2>err || fail "chat over nodes: $(head -c 400 err)"
cmp -s <(grep . alone) <(grep . out) || fail "chat: expected $(cat alone), found $(cat out)"

"$evener" embed -m "$model" -c 256 "${alone[@]}" <talk >alone 2>err || fail "embed: $(head -c 400 err)"
over embed -m "$model" -c 256 <talk >out 2>err || fail "embed over nodes: $(head -c 400 err)"
cmp -s alone out || fail "embed: expected $(head -c 200 alone), found $(head -c 200 out)"
finish
