#!/usr/bin/env bash
# The Debian packages that cpack makes: what they hold, what they depend on, and that the program in them runs.
#   deb.sh BUILD-FOLDER VERSION
set -u
build=$(realpath "$1")
version=$2
for tool in dpkg-deb dpkg-shlibdeps file; do
	command -v "$tool" >/dev/null || {
		echo "skipped: no $tool"
		exit 77
	}
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failures=0
fail() {
	printf 'FAILED: %s\n' "$*"
	failures=$((failures + 1))
}
cd "$folder" || exit 1
cpack --config "$build/CPackConfig.cmake" -B "$folder/made" >log 2>&1 || fail "cpack: $(tail -n 5 log)"
program=$(ls made/evener_"$version"_*.deb)
library=$(ls made/libevener-dev_"$version"_*.deb)

# has PACKAGE PATH...
has() {
	local package=$1 path
	shift
	dpkg-deb -c "$package" >list
	for path; do
		grep -q " \./usr/$path\$" list || fail "$package has no /usr/$path"
	done
}
has "$program" bin/evener libexec/evener/evener-probe share/man/man1/evener.1 share/man/man1/evener-run.1 \
	share/bash-completion/completions/evener share/zsh/vendor-completions/_evener \
	share/fish/vendor_completions.d/evener.fish share/doc/evener/copyright
has "$library" include/evener.h include/evener/train.h lib/libevener.a lib/pkgconfig/evener.pc \
	lib/cmake/evener/evenerConfig.cmake share/doc/libevener-dev/copyright
for name in libc6 libclblast1 libpcre2-8-0 ocl-icd-libopencl1 libyaml-0-2 libcairo2 libpng16-16 libjpeg62-turbo; do
	grep -q "$name" <(dpkg-deb -f "$program" Depends) || fail "$program does not depend on $name: $(dpkg-deb -f "$program" Depends)"
done
grep -qF "evener (= $version)" <(dpkg-deb -f "$library" Depends) || fail "$library: $(dpkg-deb -f "$library" Depends)"

dpkg-deb -x "$program" root
[ "$(root/usr/bin/evener --version)" = "evener $version" ] || fail 'the program does not run'
EVENER_LOG=warn EVENER_CACHE_DIR=$folder/cache OCL_ICD_VENDORS=$folder/none root/usr/bin/evener devices >out 2>err ||
	fail "devices: $(cat err)"
! grep -q 'evener-probe' err || fail "devices: $(cat err)"

[ "$failures" = 0 ] && echo 'all as expected'
[ "$failures" = 0 ]
