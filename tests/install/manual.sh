#!/usr/bin/env bash
# The manual pages and shell completions that are installed: each command and each option is there, roff has nothing to
# say against the pages, and each shell takes its completions and offers what fits.
#   manual.sh BUILD-FOLDER pages|bash|zsh|fish
set -u
evener=$1/evener
what=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cmake --install "$1" --prefix "$folder" >/dev/null || exit 1
share=$folder/share
failures=0
fail() {
	printf 'FAILED: %s\n' "$*"
	failures=$((failures + 1))
}
need() {
	command -v "$1" >/dev/null || {
		echo "skipped: no $1"
		exit 77
	}
}
commands=$("$evener" --help | sed -n 's/^  \([a-z]*\)  .*/\1/p')
[ "$(wc -w <<<"$commands")" -ge 10 ] || fail "evener --help lists: $commands"
# options COMMAND: the long names that its help has
options() { "$evener" "$1" --help | grep -oE '^  (-., |    )--[a-z-]+' | grep -oE -- '--[a-z-]+'; }

pages() {
	need groff
	local c o page text
	for page in "$share"/man/man1/*.1; do
		text=$(groff -man -Tutf8 -ww -z "$page" 2>&1)
		[ -z "$text" ] || fail "$page: $text"
	done
	for c in $commands; do
		page=$share/man/man1/evener-$c.1
		text=$(groff -man -Tascii -P-cbou "$page" | tr -s ' \n' ' ') || fail "$page"
		grep -q "evener-$c(1)" <(groff -man -Tascii -P-cbou "$share/man/man1/evener.1") || fail "evener.1 has no $c"
		for o in $(options "$c"); do
			grep -qF -- "$o" <<<"$text" || fail "evener-$c.1 has no $o"
		done
	done
}

# offers SHELL LINE WORD...: what the completions of a shell offer after LINE has each WORD. `complete_SHELL LINE` prints
# what is offered, a line each.
offers() {
	local shell=$1 line=$2 got
	shift 2
	got=$("complete_$shell" "$line" "$@")
	for word; do
		if [ "${word#!}" != "$word" ]; then
			! grep -qxF -- "${word#!}" <<<"$got" || fail "$shell: '$line' offers ${word#!}"
		else
			grep -qxF -- "$word" <<<"$got" || fail "$shell: '$line' does not offer $word: $(head -c 300 <<<"$got")"
		fi
	done
}

complete_bash() {
	bash --norc -c '
		source "$1"
		read -ra COMP_WORDS <<<"$2"
		[[ $2 != *" " ]] || COMP_WORDS+=("")
		COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
		_evener
		printf "%s\n" "${COMPREPLY[@]}"' bash "$share/bash-completion/completions/evener" "$1"
}

complete_fish() {
	fish --no-config -c 'source $argv[1]; complete --do-complete $argv[2]' \
		"$share/fish/vendor_completions.d/evener.fish" "$1" | cut -f 1
}

# zsh completes only on a terminal of its own. Waits for the words that are expected, at most ten seconds.
complete_zsh() {
	python3 - "$share/zsh/site-functions" "$@" <<-'END'
		import fcntl, os, pty, re, select, struct, sys, termios, time
		folder, line, *words = sys.argv[1:]
		words = [w for w in words if w[0] != "!"]
		pid, fd = pty.fork()
		if pid == 0:
		    os.environ.update(TERM="dumb", PS1="", ZDOTDIR="/nonexistent")
		    os.execlp("zsh", "zsh", "-f", "-i")
		fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("4H", 500, 200, 0, 0))
		def offered(text): return re.findall(r"(?:^|\s)(-{0,2}[a-z0-9_][a-z0-9_-]*)(?=\s|$)", text)
		def read_until(done):
		    text, end = "", time.time() + 10
		    while time.time() < end and not done(text):
		        if select.select([fd], [], [], 0.2)[0]:
		            try: text += os.read(fd, 65536).decode(errors="replace")
		            except OSError: break
		    return text
		os.write(fd, f"fpath=({folder} $fpath); autoload -U compinit; compinit -u -D; LISTMAX=10000; PS1='rea''dy> '\n".encode())
		read_until(lambda text: "ready> " in text)  # before that, ^D would be the end of input
		os.write(fd, line.encode() + b"\x04")  # lists what is possible
		print(*offered(read_until(lambda text: set(words) <= set(offered(text)))), sep="\n")
	END
}

shell() {
	need "$1"
	local c
	offers "$1" 'evener ' run plan config help
	offers "$1" 'evener r' run '!plan'
	for c in $commands; do
		# shellcheck disable=SC2046
		offers "$1" "evener $c --" $(options "$c")
	done
	offers "$1" 'evener devices --' '!--temp'
	offers "$1" 'evener run --kv-cache ' f32 f16 q8_0
	offers "$1" 'evener config ' check init schema
	offers "$1" 'evener help s' score selftest
}

case $what in
pages) pages ;;
*) shell "$what" ;;
esac
[ "$failures" = 0 ] && echo 'all as expected'
[ "$failures" = 0 ]
