"""Graphs of version 1 that a program sends: their IPAdapterEncoder has other inputs than version
2's of the same id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from server import PromptServer

from .encoder_v1 import ENCODER, ENCODER_V1

ONLY_IN_V1 = "image_1"


def register() -> None:
    """Have the server look through every graph that it is sent; once, however often called."""
    server = getattr(PromptServer, "instance", None)
    if server is not None and tell_encoders_apart not in server.on_prompt_handlers:
        server.add_on_prompt_handler(tell_encoders_apart)


def tell_encoders_apart(json_data: Any) -> Any:
    """What was sent to /prompt, with version 1's encoders under an id of their own."""
    for node in nodes_of(json_data):
        inputs = node.get("inputs")
        if node.get("class_type") == ENCODER and isinstance(inputs, dict) and ONLY_IN_V1 in inputs:
            node["class_type"] = ENCODER_V1
    return json_data


def nodes_of(json_data: Any) -> Iterator[dict[str, Any]]:
    prompt = json_data.get("prompt") if isinstance(json_data, Mapping) else None
    if isinstance(prompt, Mapping):
        yield from (node for node in prompt.values() if isinstance(node, dict))
