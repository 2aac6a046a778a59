# shellcheck shell=bash disable=SC2034
# Shared by the scripts of this folder: one line for each step, progress for long steps, packages, checksums, downloads.
# Scripts source this file. It changes to the root of the checkout.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$PWD
LOGS=$ROOT/build/logs
JOBS=$(getconf _NPROCESSORS_ONLN)

PACKAGES_BUILD="git ca-certificates cmake ninja-build gcc libc6-dev pkg-config python3 python3-pip
	ocl-icd-opencl-dev opencl-headers pocl-opencl-icd libclblast-dev libyaml-dev libcyaml-dev libpcre2-dev
	libutf8proc-dev libjansson-dev libcmocka-dev libcairo2-dev libedit-dev libmicrohttpd-dev
	libpng-dev libjpeg-dev"
PACKAGES_MPI="libopenmpi-dev openmpi-bin" # for -DEVN_MPI=ON; MPICH works too
PACKAGES_TEST="clang oclgrind mesa-opencl-icd python3-numpy python3-jinja2 groff-base dpkg-dev file zsh fish"
PACKAGES_LONG="chromium chromium-driver fonts-dejavu-core" # the page in a browser
LIBRARIES="OpenCL clblast jansson yaml-0.1 libcyaml libpcre2-8 libutf8proc cmocka cairo libedit libmicrohttpd libpng libjpeg"

say() { printf '%s\n' "$*"; }
die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# progress NAME LOG: runs until it is killed. On a terminal it shows the last line of the log, elsewhere a line every 15 s.
progress() {
	local start=$SECONDS last=0 now
	while sleep 0.2 && kill -0 $$ 2>/dev/null; do
		now=$((SECONDS - start))
		if [ -t 1 ]; then
			printf '\r\033[K%s  %ds  %.60s' "$1" "$now" "$(tail -n 1 "$2" | tr -d '\r')"
		elif ((now - last >= 15)); then
			last=$now
			printf '  … %s: %ds  %.90s\n' "$1" "$now" "$(tail -n 1 "$2" | tr -d '\r')"
		fi
	done
}

# step NAME COMMAND...: prints one line for a step. The step's own output goes to a log; a failure shows the end of the log.
step() {
	local name=$1 log start=$SECONDS status=0 ticker
	shift
	mkdir -p "$LOGS"
	log=$LOGS/$(printf '%s' "$name" | tr -cs 'A-Za-z0-9' '-').log
	: >"$log"
	progress "$name" "$log" &
	ticker=$!
	"$@" >"$log" 2>&1 </dev/null || status=$?
	kill "$ticker" 2>/dev/null || true
	wait "$ticker" 2>/dev/null || true
	[ ! -t 1 ] || printf '\r\033[K'
	if ((status != 0)); then
		tail -n 40 "$log" >&2
		die "$name failed (exit $status); the whole output is in ${log#"$ROOT"/}"
	fi
	say "$name: done in $((SECONDS - start)) s"
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "needs root to run: $*"
	fi
}

# need_packages NAMES: installs with apt-get what dpkg does not list as installed. Without apt the libraries and tools must be
# there.
need_packages() {
	local missing=() p
	if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
		need_without_apt
		return
	fi
	for p in $1; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null || true)" = installed ] || missing+=("$p")
	done
	if ((${#missing[@]} == 0)); then
		say "packages: all there"
		return
	fi
	say "packages to install: ${missing[*]}"
	if [ "$(id -u)" != 0 ] && command -v sudo >/dev/null; then sudo -v; fi # asks while the terminal is free
	step "apt-get update" as_root apt-get update -q
	step "apt-get install" as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
		"${missing[@]}"
}

need_without_apt() {
	local missing=() t
	for t in git cmake ninja cc pkg-config python3; do
		command -v "$t" >/dev/null || missing+=("$t")
	done
	for t in $LIBRARIES; do
		pkg-config --exists "$t" 2>/dev/null || missing+=("$t (development files)")
	done
	command -v python3 >/dev/null && ! python3 -m pip --version >/dev/null 2>&1 && missing+=("pip for python3")
	if ((${#missing[@]} > 0)); then
		say "There is no apt-get here. Install with your system's package manager, then run this again:"
		printf '  %s\n' "${missing[@]}"
		say "and an OpenCL driver for each device; PoCL serves any CPU."
		exit 1
	fi
	say "packages: no apt-get here, but everything needed is there"
}

# has_sha256 FILE SUM
has_sha256() { [ -f "$1" ] && printf '%s  %s\n' "$2" "$1" | sha256sum --check --status; }

# download REQUIREMENTS-FILE FOLDER: downloads wheels pinned by version and hash, never a source package, whose set-up script
# would run.
download() {
	python3 -m pip download --no-deps --only-binary :all: --require-hashes --disable-pip-version-check \
		--progress-bar off --dest "$2" --requirement "$1"
}
