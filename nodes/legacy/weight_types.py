"""Version 2's weight types by their names, and those that older prompts still send."""

from __future__ import annotations

from ...weight_types.layers import SCHEDULES
from ..shared.node import Node

# What version 2 calls weight types, as layer schedules. The one that is left out only its node for
# style and composition had.
WEIGHT_TYPES = {
    "linear" if name == "even" else name: name
    for name in SCHEDULES
    if name != "strong style and composition"
}
# What version 1 called weight types; version 2 took them for linear.
VERSION_1 = {"original": "even", "channel penalty": "even"}


class WeightTypeNode(Node):
    """A node whose menu of weight types is version 2's, and which takes version 1's too."""

    @classmethod
    def validate_inputs(cls, weight_type: str | None = None) -> bool | str:
        """Asked in place of ComfyUI's own look at the menu; None where another node is connected."""
        if weight_type is None or weight_type in WEIGHT_TYPES | VERSION_1:
            return True
        return f"weight_type {weight_type}: choose one of {', '.join(WEIGHT_TYPES)}"
