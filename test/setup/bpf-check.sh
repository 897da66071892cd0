#!/usr/bin/env bash
# Shows that the committed kernel objects are what their sources say: rebuilt with the pinned compiler they are the same
# bytes, instructions and BTF alike, and their checksums hold. Without the compiler only the checksums are looked at.
set -euo pipefail
cd "$(dirname "$0")/../.."

(cd bpf/prebuilt && sha256sum --check --quiet SHA256SUMS)
if ! command -v clang-19 >/dev/null; then
  echo "bpf: clang-19 is missing, the objects were not rebuilt (make bpf installs it)" >&2
  exit 0
fi
fresh=$PWD/.make/bpf
rm -rf "$fresh"
mkdir -p "$fresh"
make --no-print-directory -C bpf OUT="$fresh" >"$fresh/build.log" 2>&1 || { cat "$fresh/build.log" >&2; exit 1; }
different=0
for object in bpf/prebuilt/*.o; do
  name=$(basename "$object")
  if ! cmp -s "$object" "$fresh/$name"; then
    echo "bpf: $object is not what its sources give; run make bpf and commit the result" >&2
    different=1
  fi
done
exit $different
