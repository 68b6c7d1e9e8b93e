"""A whole IP-Adapter: the projection, and a key and a value projection per layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .checkpoint import Checkpoint
from .errors import IPAdapterError
from .projections import Projection, find_family


class IPAdapter(nn.Module):
    def __init__(self, projection: Projection, shapes: list[torch.Size], operations: Any):
        super().__init__()
        self.projection = projection
        linears = [operations.Linear(cols, rows, bias=False) for rows, cols in 2 * shapes]
        self.to_k_ip = nn.ModuleList(linears[: len(shapes)])
        self.to_v_ip = nn.ModuleList(linears[len(shapes) :])
        self.widths = [shape[0] for shape in shapes]  # per layer, in the checkpoint's order
        self.context = shapes[0][1]

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, operations: Any, file: str) -> IPAdapter:
        """Build the adapter around the checkpoint's tensors, which it shares.

        Raises IPAdapterError, naming the file, for an unknown family or tensors that do not fit.
        """
        layers = checkpoint.layer_numbers
        # Detached, so that the module never keeps alive what another pack gave it.
        weights = {f"projection.{key}": t.detach() for key, t in checkpoint.image_proj.items()}
        for i, number in enumerate(layers):
            for name in ("to_k_ip", "to_v_ip"):
                weight = checkpoint.ip_adapter[f"{number}.{name}.weight"]
                weights[f"{name}.{i}.weight"] = weight.detach()
        shapes = [checkpoint.ip_adapter[f"{n}.to_k_ip.weight"].shape for n in layers]
        try:
            family = find_family(checkpoint.image_proj, file)
            with torch.device("meta"):
                projection = family.from_tensors(checkpoint.image_proj, operations)
                adapter = cls(projection, shapes, operations)
            adapter.load_state_dict(weights, assign=True)
        except IPAdapterError:
            raise
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            why = str(error).strip().splitlines()[-1].strip()
            raise IPAdapterError(f"{file} is damaged or of an unknown kind: {why}") from error
        if projection.channels != adapter.context:
            raise IPAdapterError(
                f"{file} is damaged: its image tokens are {projection.channels} wide, its layers "
                f"read {adapter.context}"
            )
        return adapter.requires_grad_(False).eval()

    def keys_and_values(self, tokens: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """[images, tokens, context] -> per layer K and V, each [images, tokens, layer width]"""
        for to_k, to_v in zip(self.to_k_ip, self.to_v_ip, strict=True):
            yield to_k(tokens), to_v(tokens)
