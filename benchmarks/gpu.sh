#!/usr/bin/env bash
# Whoever has a GPU runs this first: the kernels' tests, then the open bars of benchmarks/README.md, within ten minutes.
#
#   benchmarks/gpu.sh carry WHEELS          on a connected machine: download what the machine with the GPU may lack
#   benchmarks/gpu.sh OUT [--wheels WHEELS] on the machine with the GPU: from a bare checkout, without a network
#   benchmarks/gpu.sh OUT --tiny            the same on a CPU, with tiny sizes: does every step run?
#
# OUT gets results.json, table.md and log.txt, after every step anew, so that a run that is cut off is not lost.
# PYTHON names the interpreter that has torch, triton and transformers (python3). Further options: benchmarks/gpu.py --help.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}

if [ "${1:-}" = carry ]; then
    [ $# -ge 2 ] || { echo "benchmarks/gpu.sh carry: found no folder; give one for the wheels" >&2; exit 2; }
    shift
    folder=$1
    shift
    # Without their dependencies: torch and transformers are there. More words go to pip (--python-version 3.12 …).
    exec "$python" -m pip download --no-deps --only-binary :all: --dest "$folder" \
        -c "$here/constraints.txt" -r "$here/benchmarks/gpu-wheels.txt" "$@"
fi

export PYTHONPATH="$here/src${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
exec "$python" "$here/benchmarks/gpu.py" "$@"
