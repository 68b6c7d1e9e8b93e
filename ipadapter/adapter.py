"""A whole IP-Adapter: the projection, and a key and a value projection per layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .base_models import base_by_layers
from .checkpoint import Checkpoint
from .errors import IPAdapterError
from .families import find_family
from .projections import Projection


class IPAdapter(nn.Module):
    def __init__(self, projection: Projection, shapes: list[torch.Size], operations: Any):
        super().__init__()
        self.projection = projection
        linears = [operations.Linear(cols, rows, bias=False) for rows, cols in 2 * shapes]
        self.to_k_ip = nn.ModuleList(linears[: len(shapes)])
        self.to_v_ip = nn.ModuleList(linears[len(shapes) :])
        self.widths = [shape[0] for shape in shapes]  # per layer, in the checkpoint's order
        self.context = shapes[0][1]

    @property
    def base_model(self) -> str:
        """What it was made for, by the number of its layers."""
        return base_by_layers(len(self.widths))

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, operations: Any, file: str) -> IPAdapter:
        """Build the adapter around the checkpoint's tensors, which it shares; its LoRA stays out.

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
            family = find_family(checkpoint.image_proj, shapes[0][1], file)
            with torch.device("meta"):
                projection = family.from_tensors(checkpoint.image_proj, operations)
                adapter = cls(projection, shapes, operations)
            adapter.load_state_dict(weights, assign=True)
        except IPAdapterError:
            raise
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            why = str(error).strip().splitlines()[-1].strip()
            raise IPAdapterError(f"{file} is damaged or of an unknown kind: {why}") from error
        # Kolors' wider tokens go through the UNet's own projection first.
        if projection.channels != adapter.context and not projection.kolors:
            raise IPAdapterError(
                f"{file} is damaged: its image tokens are {projection.channels} wide, its layers "
                f"read {adapter.context}"
            )
        return adapter.requires_grad_(False).eval()

    def as_file(self) -> dict[str, dict[str, Tensor]]:
        """The tensors under the names that they have in adapter files, nested as in a .bin."""
        weights = self.state_dict()
        return {
            "image_proj": self.projection.state_dict(),
            "ip_adapter": {
                f"{2 * i + 1}.{name}.weight": weights[f"{name}.{i}.weight"]
                for i in range(len(self.widths))
                for name in ("to_k_ip", "to_v_ip")
            },
        }

    def key_and_value(self, layer: int, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Image tokens [images, tokens, context] -> K and V of a layer, [images, tokens, width]"""
        return self.to_k_ip[layer](tokens), self.to_v_ip[layer](tokens)
