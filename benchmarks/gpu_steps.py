"""The commands of benchmarks/gpu.py."""

from dataclasses import dataclass

DIMS, TINY_DIMS, TINY = "12,24,48,96,192,384", "4,8,32", "--device cpu --threads 1"


@dataclass(frozen=True)
class Step:
    """A command of the list: its words, the words that make it tiny, and the most seconds it gets."""

    name: str
    what: str
    words: str
    tiny: str
    most: float
    needs_model: bool = False


# In order of importance. BASE stands for the random model, SECONDS for the time of each timing.
STEPS = (
    Step(
        "kernels",
        "the fused kernels' tests",
        "-m pytest -x tests/nested/test_fused.py",
        tiny="-k rows_of_zeros",
        most=150,
    ),
    Step(
        "infonce",
        "InfoNCE, 16,384 pairs, width 768, K = 7, bf16",
        "nested_loss.py --case h100-infonce --seconds 8 --leave-out compiled",
        tiny=f"{TINY} --dtype float32 --batch 48 --width 32 --dims {TINY_DIMS} --seconds 0.1 "
        "--leave-out compiled,sentence-transformers",
        most=100,
    ),
    Step(
        "mlm",
        "masked language model, 8,192 rows, V = 30,522, width 768, K = 7, bf16",
        "nested_loss.py --case h100-mlm --seconds 8 --leave-out compiled",
        tiny=f"{TINY} --dtype float32 --mlm-rows 16 --vocabulary 50 --mlm-width 32 --mlm-dims {TINY_DIMS} "
        "--seconds 0.1 --leave-out compiled",
        most=100,
    ),
    Step(
        "whole-step",
        "whole step with gradient caching, 16,384 pairs, K = 6, bf16",
        f"whole_step.py --case h100-infonce --base BASE --dims {DIMS} --batches 1 --seconds 30",
        tiny=f"{TINY} --batch 16 --chunk 8 --dims {TINY_DIMS} --precision float32 --seconds 0.1 --no-loop",
        most=120,
        needs_model=True,
    ),
    Step(
        "training",
        "pairs a second against SentenceTransformerTrainer, batch 512",
        f"training.py --device cuda --base BASE --dims {DIMS} --batch 512 --steps 25 --segments 1 --precision bf16",
        tiny=f"{TINY} --batch 8 --steps 3 --warm 1 --check-steps 2 --dims {TINY_DIMS} --precision float32",
        most=120,
        needs_model=True,
    ),
    Step(
        "encoding",
        "texts a second of encode, float32 and bf16",
        f"encoding.py --device cuda --model BASE --dims {DIMS} --texts 20000 --batches 32,256 --stream 0 --seconds 20",
        tiny=f"--device cpu --texts 20 --batches 32 --dims {TINY_DIMS} --seconds 0.1",
        most=90,
        needs_model=True,
    ),
    Step(
        "caching",
        "memory and seconds of one step on 65,536 pairs",
        f"gradient_caching.py --device cuda --base BASE --dims {DIMS} --batch 4096,65536 --chunk 1024 --precision bf16",
        tiny=f"{TINY} --batch 8,16 --chunk 4 --check-batch 6 --dims {TINY_DIMS} --precision float32",
        most=90,
        needs_model=True,
    ),
)
