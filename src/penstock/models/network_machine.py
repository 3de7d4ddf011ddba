"""What a machine does well: precision, threads and device of a network. A helper of models.

torch is loaded when it is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

Precision: TypeAlias = Literal["float32", "bfloat16"]
_FLAGS = {"amx_bf16", "avx512_bf16"}


@cache
def device() -> str:
    """Where networks of pictures, clips and sequences compute: "cuda" where there is one, else "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@cache
def best_precision() -> Precision:
    """bfloat16 where the machine multiplies in it (GPUs from Ampere on, processors with AMX or AVX512-BF16)."""
    import torch

    if device() == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    try:
        lines = Path("/proc/cpuinfo").read_text("ascii", "replace").splitlines()
    except OSError:
        return "float32"  # no such file on this system: what the processor has is not known
    flags = next((set(line.split()) for line in lines if line.startswith(("flags", "Features"))), set())
    return "bfloat16" if flags & _FLAGS else "float32"


def laid_out(module: Any, precision: Precision) -> Any:
    """The module on the machine's device, its weights laid out as the precision likes them."""
    import torch

    module = module.to(device())
    return module.to(memory_format=torch.channels_last) if precision == "bfloat16" else module


def computing(precision: Precision, where: str) -> Any:
    """Within it torch multiplies in this precision; sums, norms and weights stay float32."""
    import torch

    if precision == "float32":
        return nullcontext()
    return torch.autocast(where, dtype=torch.bfloat16)


@contextmanager
def inner_threads(count: int) -> Iterator[None]:
    """So many inner threads of torch for the calling thread."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_thread() -> Any:
    """One inner thread of torch for the calling thread: blocks are predicted side by side."""
    return inner_threads(1)
