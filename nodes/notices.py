"""What a node tells its user without failing: a line in the log and on the node."""

import logging

from comfy_execution.utils import get_executing_context
from server import PromptServer


def say(text: str) -> None:
    """Log the text, and show it on the node that is running, if one is."""
    logging.warning("IPAdapter Regions: %s", text)
    context = get_executing_context()
    server = getattr(PromptServer, "instance", None)
    if context is not None and server is not None:
        server.send_progress_text(text, context.node_id)
