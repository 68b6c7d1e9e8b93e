"""Files that are saved under a model's name by mistake, told by their first bytes."""

from __future__ import annotations

import re

from .errors import IPAdapterError


def is_safetensors(path: str) -> bool:
    """By the ending, as ComfyUI decides it."""
    return path.lower().endswith((".safetensors", ".sft"))


# How they begin, and what to do.
OTHER_KINDS = {
    rb"\s*<": "it is a web page: the download failed; download it again, logged in if need be",
    rb"version https://git-lfs": "it is a Git LFS pointer, not the file itself: run git lfs pull, "
    "or download the file with a browser",
    rb"\s*([{\[]|[A-Z][a-z]+ )": "it is a text: the download failed; open it in an editor to see "
    "why",
    rb"Rar!|7z\xbc\xaf|\x1f\x8b": "it is a packed archive: unpack it and take the file inside",
}
PICKLE = rb"PK\x03\x04|\x80[\x02-\x05]"


def what_it_is(path: str) -> str | None:
    """What a file is that is no model file of its ending, and what to do; None if it may be one."""
    with open(path, "rb") as stream:
        start = stream.read(512)
    if not start:
        return "it is empty: the download was cut short; download it again"
    if start[7:9] == b"\0{":  # the length of a header, and the header
        if is_safetensors(path):
            return None
        return "it is a .safetensors file with another ending: rename it to .safetensors"
    if is_safetensors(path) and re.match(PICKLE, start):
        return "it is a pickled file (.bin), not .safetensors: rename it, or get the .safetensors"
    start = start.removeprefix(b"\xef\xbb\xbf")  # of a text
    return next((what for begin, what in OTHER_KINDS.items() if re.match(begin, start)), None)


def refuse_wrong_file(path: str, file: str) -> None:
    """IPAdapterError, which calls it ``file``, for what is no model file."""
    try:
        what = what_it_is(path)
    except OSError as error:
        raise IPAdapterError(f"{file} cannot be opened: {error.strerror}") from error
    if what is not None:
        raise IPAdapterError(f"{file} is no model file: {what}")
