"""Which of the files that are there to take for a model. Contents decide, names among equals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .base_models import base_by_layers
from .detection import AdapterKind, EncoderKind
from .errors import IPAdapterError
from .published import (
    AUTO_ORDER,
    PRESETS,
    File,
    encoder_place,
    named_v2,
    place,
    preset_of,
    wanted_encoder,
)

AUTO = "auto"
SHOWN = 12  # files that a message names


class Need(NamedTuple):
    """What a model and the encoders that are there ask of an adapter."""

    widths: tuple[int, ...]  # of the model's cross-attentions
    context: int  # what they read
    kolors: bool  # the model projects wider tokens itself, as Kolors does
    encoders: frozenset[EncoderKind]  # that can be loaded

    @property
    def base(self) -> str:
        return base_by_layers(len(self.widths))


class Choice(NamedTuple):
    name: str  # of the file
    kind: AdapterKind
    preset: str
    known: bool  # the name is one under which such a file was published


def choose(
    found: Mapping[str, AdapterKind | IPAdapterError], preset: str, need: Need, folder: str
) -> Choice:
    """The adapter file for a preset, for AUTO, or the file that ``preset`` names.

    ``folder`` is where messages say to put one. IPAdapterError says what was found and why it is
    not it, or that several may be.
    """
    if preset != AUTO and preset not in PRESETS:
        return _chosen(found, preset, need)
    choices: list[Choice] = []
    refused: list[str] = []
    for name, kind in found.items():
        choice = _consider(name, kind, preset, need)
        if isinstance(choice, str):
            refused.append(why_not(name, choice))
        else:
            choices.append(choice)
    # Where no file has its encoder, the message about the encoder is the one to give.
    choices = [choice for choice in choices if _has_encoder(choice.kind, need)] or choices
    known = [choice for choice in choices if choice.known]
    if known:
        return min(known, key=lambda c: (_order(c), place(c.name, c.preset), c.name))
    if not choices:
        raise _missing(preset, need, refused, folder)
    first = min(map(_order, choices))
    choices = [choice for choice in choices if _order(choice) == first]
    if len(choices) > 1:
        raise IPAdapterError(
            f"{preset}: several files may be meant, none under a published name: "
            f"{listed(sorted(c.name for c in choices))}; choose one of them in preset of IPAdapter Auto Loader"
        )
    return choices[0]


def why_not(name: str, sentence: str) -> str:
    """A refusal that begins with the file's name, for a list of them."""
    return f"{name} ({sentence.removeprefix(name).strip()})"


def _order(choice: Choice) -> int:
    return AUTO_ORDER.index(choice.preset)


def _consider(
    name: str, kind: AdapterKind | IPAdapterError, preset: str, need: Need
) -> Choice | str:
    """A choice, or why it is none."""
    if isinstance(kind, IPAdapterError):
        return str(kind)
    if not fits(kind, need):
        return f"{name} is for {kind.base}"
    if preset == AUTO and kind.family.kolors != need.kolors:
        return f"{name} is {'' if kind.family.kolors else 'not '}for Kolors"
    choice = _as_published(name, kind, preset)
    if preset not in (AUTO, choice.preset):
        return f"{name} is {choice.preset}"
    return choice


def fits(kind: AdapterKind, need: Need) -> bool:
    """Whether an adapter is for the model."""
    return (kind.widths, kind.context) == (need.widths, need.context)


def _as_published(name: str, kind: AdapterKind, preset: str) -> Choice:
    known = preset_of(name)
    if known is not None and PRESETS[known].means(kind):
        return Choice(name, kind, known, known=True)
    possible = [key for key in AUTO_ORDER if PRESETS[key].means(kind)]
    says_v2 = named_v2(name)
    if preset in possible and not (says_v2 and preset == "FACEID PLUS"):
        return Choice(name, kind, preset, known=False)
    if kind.family.versions:
        is_v2 = kind.base == "SDXL" or says_v2
        return Choice(name, kind, "FACEID PLUS V2" if is_v2 else "FACEID PLUS", known=False)
    return Choice(name, kind, possible[0], known=False)


def _has_encoder(kind: AdapterKind, need: Need) -> bool:
    return not kind.width or any(reads(kind, encoder) for encoder in need.encoders)


def reads(kind: AdapterKind, encoder: EncoderKind) -> bool:
    """Whether an encoder gives what the adapter reads."""
    return encoder.gives(kind.family.feature) == kind.width


def _chosen(found: Mapping[str, AdapterKind | IPAdapterError], name: str, need: Need) -> Choice:
    kind = found.get(name)
    if kind is None:
        raise IPAdapterError(f"preset: {name} is not in models/ipadapter (any more)")
    if isinstance(kind, IPAdapterError):
        raise IPAdapterError(str(kind))
    if not fits(kind, need):
        raise IPAdapterError(
            f"preset: {name} is for {kind.base} (its layers are up to {max(kind.widths)} wide and "
            f"read width {kind.context}), the model is {need.base} (up to {max(need.widths)}, "
            f"width {need.context}); choose another file or another checkpoint"
        )
    return _as_published(name, kind, AUTO)


def choose_encoder(
    choice: Choice, found: Mapping[str, EncoderKind | IPAdapterError], folder: str
) -> str | None:
    """The file of the encoder that the adapter was trained with; None where it reads none."""
    kind = choice.kind
    if not kind.width:
        return None
    fitting: dict[str, EncoderKind] = {}
    refused: list[str] = []
    for name, encoder in found.items():
        if isinstance(encoder, IPAdapterError):
            refused.append(why_not(name, str(encoder)))
        elif not reads(kind, encoder):
            refused.append(f"{name} (is {encoder})")
        elif not encoder.core:
            refused.append(f"{name} (is {encoder}, for Load CLIP Vision (OpenCLIP))")
        else:
            fitting[name] = encoder
    if fitting:
        return min(fitting, key=lambda name: (encoder_place(kind, fitting[name], name), name))
    wanted = wanted_encoder(kind)
    raise IPAdapterError(
        f"{choice.name} needs an image encoder whose {kind.family.feature} are {kind.width} wide; "
        f"models/clip_vision has {listed(refused)}; "
        + (put(wanted.file, folder) if wanted else "get the one that its publisher names")
    )


def _missing(preset: str, need: Need, refused: list[str], folder: str) -> IPAdapterError:
    files = PRESETS["PLUS" if preset == AUTO else preset].files.get(need.base, ())
    wanted = "any IP-Adapter" if preset == AUTO else preset
    advice = put(files[0], folder) if files else "none was published for it; choose another preset"
    return IPAdapterError(
        f"looked for {wanted} for {need.base} (layers up to {max(need.widths)} wide that "
        f"read width {need.context}); models/ipadapter has {listed(refused)}; {advice}"
    )


def put(file: File, folder: str) -> str:
    owner, repository, *inside = file.source.split("/")
    address = "/".join(
        ["huggingface.co", owner, repository, *(["tree", "main"] if inside else []), *inside]
    )
    called = f", where it is called {file.there}" if file.there else ""
    return f"put {file.name} into {folder} (from {address}{called})"


def listed(items: Iterable[str]) -> str:
    items = list(items)
    more = f", and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(items[:SHOWN]) + more if items else "no file"
