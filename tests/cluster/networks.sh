# networks.sh - network namespaces as the machines of nodes, for scripts that have sourced lib.sh. Each has an address, a
# host name and a cable to a switch. It needs root, and namespaces in the kernel.
# shellcheck shell=bash

networks=0
wire=
remove_networks() {
	local i
	[ -z "$wire" ] || kill "$wire"
	wire=
	for ((i = 0; i < networks; i++)); do ip netns del "evn$$-$i" 2>/dev/null; done
	ip netns del "evn$$-bridge" 2>/dev/null
}

# networks N: makes the namespaces, and `launcher`, which starts mpirun in the first of them
# networks N PROGRAM DELAY_US MBIT: the same, with cables that have a delay and a rate (wire.c)
networks() {
	local i
	if [ "$(id -u)" != 0 ] || ! command -v ip >/dev/null || ! ip netns add "evn$$-bridge" 2>/dev/null; then
		skip 'network namespaces are not permitted here: they need root and the program ip'
	fi
	networks=$1
	trap 'remove_networks; rm -rf "$dir"' EXIT
	for ((i = 0; i < $1; i++)); do
		ip netns add "evn$$-$i"
		ip -n "evn$$-$i" link set lo up
	done
	if [ $# = 1 ]; then connect "$1"; else connect_by_wire "$@"; fi
	for ((i = 0; i < $1; i++)); do
		ip -n "evn$$-$i" addr add "10.77.0.$((i + 1))/24" dev eth0
		ip -n "evn$$-$i" link set eth0 up
	done
	make_launcher "$1"
}

connect() {
	local i
	ip -n "evn$$-bridge" link add bridge type bridge || skip 'no bridge between network namespaces'
	ip -n "evn$$-bridge" link set bridge up
	for ((i = 0; i < $1; i++)); do
		ip link add "to$i" netns "evn$$-bridge" type veth peer name eth0 netns "evn$$-$i" || skip 'no veth here'
		ip -n "evn$$-bridge" link set "to$i" master bridge up
	done
}

connect_by_wire() {
	local i names=()
	for ((i = 0; i < $1; i++)); do names+=("evn$$-$i"); done
	"$2" "$3" "$4" "${names[@]}" >wire 2>&1 &
	wire=$!
	within 5 grep -q . wire
	grep -q ready wire || skip "no cables between network namespaces: $(cat wire)"
	for ((i = 0; i < $1; i++)); do ip -n "evn$$-$i" link set eth0 mtu 9000; done
}

# What ssh does between machines: agent HOST COMMAND
make_launcher() {
	cat >agent <<END
#!/bin/bash
while [[ \$1 == -* ]]; do shift; done
i=\$((\${1##*.} - 1))
exec ip netns exec evn$$-\$i unshare --uts bash -c "hostname machine\$i; exec bash -c \"\\\$0\"" "\${*:2}"
END
	chmod +x agent
	launcher=("$PWD/agent" 10.77.0.1 exec "$(command -v "$mpirun")")
	if "$mpirun" --version | grep -q 'Open MPI\|OpenRTE'; then
		export OMPI_MCA_plm_rsh_agent=$PWD/agent OMPI_MCA_btl_tcp_if_include=10.77.0.0/24
		export OMPI_MCA_oob_tcp_if_include=10.77.0.0/24 OMPI_MCA_plm_rsh_no_tree_spawn=1
		export OMPI_MCA_oob_tcp_keepalive_time=2 OMPI_MCA_oob_tcp_keepalive_intvl=1 OMPI_MCA_oob_tcp_keepalive_probes=3
		on=open
	else # processes on one machine would share memory
		export UCX_TLS=tcp,self FI_PROVIDER=tcp
		launcher+=(-launcher ssh -launcher-exec "$PWD/agent" -iface eth0 -ppn 1)
		launcher+=(-hosts "$(seq -s, -f 10.77.0.%g 1 "$1")")
		on=hydra
	fi
}

# node I COMMAND...: adds the command to `arguments` as node I; its process id will be in the file pidI
node() {
	[ "$1" = 0 ] && arguments=() || arguments+=(:)
	arguments+=(-n 1)
	[ "$on" = hydra ] || arguments+=(-host "10.77.0.$(($1 + 1))")
	arguments+=("${noted[@]}" "$@")
}

# start: the job of `arguments` in the first namespace
start() {
	local line
	printf -v line '%q ' "${launcher[@]:2}" "${arguments[@]}"
	"${launcher[@]:0:2}" "cd $PWD && $line" </dev/null
}

cut_cable() { ip -n "evn$$-bridge" link set "to$1" down; }
