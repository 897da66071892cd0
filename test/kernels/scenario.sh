#!/bin/sh
# Everything that is tried on one kernel: `scenario.sh DIRECTORY`, started in a network and a mount namespace of its own
# (a guest, or `unshare -n -m`), so all that it makes goes with it. DIRECTORY holds capture, stream, the objects, the
# frames and service.nft. Prints the lines of capture and stream between lines `run WHAT OBJECT ATTACH`; judges nothing.
set -u
cd "$1" || exit 1
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

# A pod opens a connection to a service's address, which becomes another pod's, and one over IPv6 as it is.
traffic() {
	echo "run traffic $1 $2"
	for name in node a b; do
		ip netns add $name
		# a neighbour asked from an address that is still being checked for duplicates does not answer for a second
		ip netns exec $name sh -c '
			echo 0 >/proc/sys/net/ipv6/conf/all/accept_dad
			echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad'
	done
	number=1
	for pod in a b; do
		ip -n node link add veth-$pod type veth peer name eth0 netns $pod
		ip -n $pod address add 10.244.$number.2/24 dev eth0
		ip -n $pod address add fd00:$number::2/64 dev eth0 nodad
		ip -n $pod link set eth0 up
		ip -n node address add 10.244.$number.1/24 dev veth-$pod
		ip -n node address add fd00:$number::1/64 dev veth-$pod nodad
		ip -n node link set veth-$pod up
		ip -n $pod route add default via 10.244.$number.1
		ip -n $pod route add default via fd00:$number::1
		number=$((number + 1))
	done
	ip netns exec node sh -c '
		echo 1 >/proc/sys/net/ipv4/ip_forward
		echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
		nft -f service.nft'
	ip netns exec node ./capture run $1.bpf.o $2 veth-a:veth:lo veth-b:veth:lo -- sh -c '
		./stream b 8080 a 10.96.0.10 80 2000000 && ./stream b 9090 a fd00:2::2 9090 2000000'
	for name in node a b; do ip netns del $name; done
}

echo "kernel $(uname -r)"
for object in flow flow-5.12 flow-5.10; do
	echo "run verify $object -"
	./capture verify $object.bpf.o
	for way in tcx clsact; do
		frames $object $way
		traffic $object $way
	done
done
umount /run/netns
echo "run end - -"
