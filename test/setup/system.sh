#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that a group of commands needs and that are missing. Says one line when there is
# something to install, nothing otherwise. Usage: test/setup/system.sh GROUP...
set -euo pipefail
cd "$(dirname "$0")/../.."

packages=()
for group in "$@"; do
  case $group in
    # What the agent itself needs.
    run) packages+=(libbpf1) ;;
    # The testbed: namespaces, NAT, CNI plugins, the traffic tool, captures to compare with.
    testbed)
      packages+=(iproute2 iptables nftables conntrack nfacct ethtool tcpdump util-linux iputils-ping)
      packages+=(containernetworking-plugins bpftool gcc libc6-dev openssl socat python3-websockets)
      ;;
    # Other kernels under qemu's software emulation.
    kernels)
      packages+=(qemu-system-x86 cpio busybox-static xz-utils zstd)
      packages+=(gcc libc6-dev libbpf-dev libelf-dev zlib1g-dev iproute2 nftables iptables libbpf1 util-linux)
      ;;
    # The same for the other architecture.
    arm64) packages+=(qemu-system-arm gcc-aarch64-linux-gnu libc6-dev-arm64-cross) ;;
    # Rebuilding the kernel side; running it needs no compiler.
    bpf) packages+=(clang-19 llvm-19 libbpf-dev) ;;
    *)
      echo "system.sh: no group $group (run, testbed, kernels, arm64, bpf)" >&2
      exit 2
      ;;
  esac
done

installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort -u)
mapfile -t missing < <(comm -23 <(printf '%s\n' "${packages[@]}" | sort -u) <(printf '%s\n' "$installed"))

if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" -ne 0 ]; then
    echo "system packages are missing; as root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  echo "installing ${missing[*]}" >&2
  mkdir -p .make
  log=.make/apt.log
  export DEBIAN_FRONTEND=noninteractive
  if ! { apt-get -q update && apt-get -q install -y --no-install-recommends "${missing[@]}"; } \
    >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    echo "apt-get failed; the whole of it is in $log" >&2
    exit 1
  fi
fi

if ! command -v node >/dev/null; then
  echo "node is missing; vethflow needs Node.js 20.19 or later" >&2
  exit 1
fi
if ! node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)'; then
  echo "vethflow needs Node.js 20.19 or later; this is $(node --version)" >&2
  exit 1
fi
