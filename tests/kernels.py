"""Counting what a run launches, on any device."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch._C import DispatchKey
from torch.utils._python_dispatch import TorchDispatchMode

# Return a view, or memory without contents, but do not say so in their signature.
NO_KERNEL = {"aten::_unsafe_view", "aten::_reshape_alias", "aten::lift_fresh", "aten::detach"}
NO_KERNEL |= {"aten::empty", "aten::empty_like", "aten::empty_strided", "aten::new_empty"}
# Make the processor wait for a tensor's contents.
SYNCS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::equal"}


class Kernels(TorchDispatchMode):
    """Counts operations that compute or copy, composite ones taken apart."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    @property
    def count(self) -> int:
        return sum(self.names.values())

    @property
    def syncs(self) -> int:
        return sum(n for name, n in self.names.items() if name in SYNCS)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # As PyTorch itself takes them apart; ``decompose`` may use its compiler's recipes, which
        # make some 140 operations of one bicubic kernel.
        composite = DispatchKey.CompositeImplicitAutograd
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), composite.name):
            with self:
                return func._op_dk(composite, *args, **kwargs)
        name = func._schema.name
        view = any(r.alias_info and not r.alias_info.is_write for r in func._schema.returns)
        if not view and name not in NO_KERNEL:
            self.names[name] += 1
        return func(*args, **kwargs)


def per_step(run: Any) -> Counter[str]:
    """What one step more launches: the difference of ``run(steps=3)`` and ``run(steps=2)``."""
    counts = []
    for steps in (2, 3):
        with Kernels() as kernels:
            run(steps)
        counts.append(kernels.names)
    counts[1].subtract(counts[0])
    return counts[1]
