# lib.sh - shared by the scripts beside it, behind tests/cli/lib.sh: jobs of several processes whose ids are known.
# shellcheck shell=bash disable=SC2034,SC2154
mpirun=$3
need_model
[ -d "${OCL_ICD_VENDORS-}" ] || skip 'OCL_ICD_VENDORS names no folder'
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none HYDRA_BINDING=none

# noted N COMMAND...: writes the id of the process to the file pidN and becomes the command
# shellcheck disable=SC2016
noted=(bash -c 'echo $$ >"pid$0"; exec "$@"')

# lives PID: it is a process, and no zombie
lives() {
	local state
	read -r _ _ state _ 2>/dev/null <"/proc/$1/stat" && [ "$state" != Z ]
}

# within SECONDS COMMAND...: waits until the command succeeds
within() {
	local i
	for ((i = 0; i < $1 * 10; i++)); do
		"${@:2}" && return
		sleep 0.1
	done
	"${@:2}"
}

# ended NODE...: their processes are gone
ended() {
	local i
	for i; do ! lives "$(cat "pid$i")" || return; done
}

# at STAGE: the job of the files out, err and pid1 is there
at() {
	case $1 in
	load) [ -s pid1 ] && sleep 2 ;;
	prefill) grep -q 'all-reduce by' err && sleep 0.5 ;;
	decode) [ -s out ] ;;
	esac
}
