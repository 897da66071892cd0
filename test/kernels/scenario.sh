#!/bin/sh
# Everything that is tried on one kernel: `scenario.sh DIRECTORY AGENT`, started in a network and a mount namespace of its
# own (a guest, or `unshare -n -m`), so all that it makes goes with it. DIRECTORY holds capture, stream, the objects, the
# frames and the rules of the services; AGENT is the folder of a built vethflow. Prints what they say between lines
# `run WHAT OBJECT ATTACH`; judges nothing.
set -u
cd "$1" || exit 1
agent=$2
mkdir -p /run/netns
mount -t tmpfs none /run/netns

# Frames put into devices that are silent by themselves: only what is sent is counted.
frames() {
	echo "run frames $1 $2"
	ip netns add frames
	ip netns exec frames sh -c "
		echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
		echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6
		ip link add veth0 type veth peer name far0
		ip link add uplink0 type veth peer name far1
		for device in veth0 far0 uplink0 far1; do ip link set \$device arp off up; done
		./capture run $1.bpf.o $2 -f frames -t 1:17:8472 -t 2:17:6081 -t 3:4:0 -t 4:47:0 \
			veth0:veth:far0 uplink0:uplink:far1 l3:l3:tun"
	ip netns del frames
}

# Two tasks that meet in the programs where those can be preempted.
contend() {
	echo "run contend $1 clsact"
	ip netns add contend
	ip netns exec contend sh -c "
		echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
		echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6
		ip link add veth0 type veth peer name far0
		for device in veth0 far0; do ip link set \$device arp off up; done
		./capture run $1.bpf.o clsact veth0:veth:far0 -- ./contend veth0 5000 1000"
	ip netns del contend
}

# A veth from the node's DEVICE to eth0 of another namespace, whose default route it is: `cable NUMBER DEVICE NAMESPACE IPV4
# IPV6`. The node's end is .1 and ::1, the other's .2 and ::2. Nobody asks for a neighbour: what a socket has sent while
# that is not answered has been on no wire.
cable() {
	device=$2 other=$3 near=02:00:00:00:0$1:01 far=02:00:00:00:0$1:02
	ip -n node link add $device address $near type veth peer name eth0 address $far netns $other
	ip -n node link set $device up
	ip -n $other link set eth0 up
	for net in $4. $5::; do
		length=/32
		# an address that is still being checked for duplicates is no socket's
		[ $net = $5:: ] && length="/128 nodad"
		ip -n node address add ${net}1$length dev $device
		ip -n node route add ${net}2 dev $device
		ip -n node neighbour add ${net}2 lladdr $far dev $device
		ip -n $other address add ${net}2$length dev eth0
		ip -n $other route add ${net}1 dev eth0
		ip -n $other neighbour add ${net}1 lladdr $near dev eth0
		ip -n $other route add default via ${net}1
	done
}

# A node, two pods on it, and the world behind its uplink.
cluster() {
	for name in node a b world; do
		ip netns add $name
		ip -n $name link set lo up
	done
	ip netns exec node sh -c '
		echo 1 >/proc/sys/net/ipv4/ip_forward
		echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
		echo 0 >/proc/sys/net/ipv4/conf/all/send_redirects
		echo 0 >/proc/sys/net/ipv4/conf/default/send_redirects'
	cable 1 veth-a a 10.244.1 fd00:1
	cable 2 veth-b b 10.244.2 fd00:2
	cable 3 uplink0 world 192.0.2 fd00:3
	ip -n node route add default via 192.0.2.2
	ip netns exec node nft -f service.nft
	# Debian's kernels with PREEMPT_RT come without the NAT of iptables
	if ip netns exec node iptables-nft-restore service.iptables 2>/dev/null; then
		echo "rules iptables"
	else
		echo "rules nftables"
		ip netns exec node nft -f instead.nft
	fi
}

uncluster() {
	for name in node a b world; do ip netns del $name; done
}

# The agent itself, and a connection on each road that is translated.
roads() {
	echo "run rules - -"
	cluster
	ip netns exec node node $agent/test/kernels/drive.js $agent/ui-stream/cli.js
	uncluster
}

echo "kernel $(uname -r)"
for object in flow flow-5.12 flow-5.10; do
	echo "run verify $object -"
	./capture verify $object.bpf.o
	for way in tcx clsact; do frames $object $way; done
	contend $object
done
roads
umount /run/netns
echo "run end - -"
