"""What a node tells its user without failing: a line in the log and on the node."""

import logging

from comfy_execution.utils import get_executing_context
from server import PromptServer

# What the node that is running has said in this run: a new text replaces what it shows.
_shown: tuple[object, list[str]] = (None, [])


def warn(text: str) -> None:
    """Log the text, and show it on the node that is running."""
    logging.warning("IPAdapter Regions: %s", text.replace("\n", "; "))
    show_on_node(text)


def show_on_node(text: str) -> None:
    """Put the text on the node that is running, below what it has said before in this run."""
    global _shown
    context = get_executing_context()
    server = getattr(PromptServer, "instance", None)
    if context is None or server is None:
        return
    run = (context.prompt_id, context.node_id)
    before = _shown[1] if _shown[0] == run else []
    texts = [*before, text] if text not in before else before
    _shown = (run, texts)
    server.send_progress_text("\n".join(texts), context.node_id)
