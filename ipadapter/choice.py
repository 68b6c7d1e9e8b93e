"""Which of the files that are there to take for a model. Contents decide, names among equals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .base_models import base_by_layers, has_plus_v1
from .detection import AdapterKind, EncoderKind
from .encoders import File
from .errors import IPAdapterError
from .published import (
    AUTO_ORDER,
    PRESETS,
    Preset,
    encoder_place,
    named_v2,
    place,
    preset_of,
    wanted_encoder,
)

AUTO = "auto"
SHOWN = 12  # files that a message names


class Requirements(NamedTuple):
    """What a model and the encoders that are there ask of an adapter."""

    widths: tuple[int, ...]  # of the model's cross-attentions
    context: int  # what they read
    kolors: bool  # the model projects wider tokens itself, as Kolors does
    encoders: frozenset[EncoderKind]  # that can be loaded

    @property
    def base(self) -> str:
        return base_by_layers(len(self.widths))


class Match(NamedTuple):
    name: str  # of the file
    kind: AdapterKind
    preset: str  # or the name of its family, where no preset stands for that
    known: bool  # the name is one under which such a file was published

    @property
    def published(self) -> Preset:
        """What its preset stands for; of a family that has none, nothing is published."""
        return PRESETS.get(self.preset, Preset(self.kind.family.name, self.kind.family, {}))


def choose(
    found: Mapping[str, AdapterKind | IPAdapterError],
    preset: str,
    requirements: Requirements,
    folder: str,
) -> Match:
    """The adapter file for a preset, for AUTO, or the file that ``preset`` names.

    ``folder`` is where messages say to put one. IPAdapterError says what was found and why it is
    not it, or that several may be.
    """
    if preset != AUTO and preset not in PRESETS:
        return _chosen(found, preset, requirements)
    matches: list[Match] = []
    refused: list[str] = []
    for name, kind in found.items():
        match = _consider(name, kind, preset, requirements)
        if isinstance(match, str):
            refused.append(why_not(name, match))
        else:
            matches.append(match)
    # Where no file has its encoder, the message about the encoder is the one to give.
    matches = [match for match in matches if _has_encoder(match.kind, requirements)] or matches
    known = [match for match in matches if match.known]
    if known:
        return min(known, key=lambda c: (_order(c), place(c.name, c.preset), c.name))
    if not matches:
        raise _missing(preset, requirements, refused, folder)
    first = min(map(_order, matches))
    matches = [match for match in matches if _order(match) == first]
    if len(matches) > 1:
        raise IPAdapterError(
            f"{preset}: several files fit, none with a published name: "
            f"{listed(sorted(c.name for c in matches))}; choose one of them in preset of IPAdapter Auto Loader"
        )
    return matches[0]


def why_not(name: str, sentence: str) -> str:
    """A refusal that begins with the file's name, for a list of them."""
    return f"{name} ({sentence.removeprefix(name).strip()})"


def _order(match: Match) -> int:
    """The place among what AUTO takes; last, what no preset stands for."""
    return AUTO_ORDER.index(match.preset) if match.preset in AUTO_ORDER else len(AUTO_ORDER)


def _consider(
    name: str, kind: AdapterKind | IPAdapterError, preset: str, requirements: Requirements
) -> Match | str:
    """A match, or why it is none."""
    if isinstance(kind, IPAdapterError):
        return str(kind)
    if not fits(kind, requirements):
        return f"{name} is for {kind.base}"
    if preset == AUTO and kind.family.kolors != requirements.kolors:
        return f"{name} is {'' if kind.family.kolors else 'not '}for Kolors"
    match = _as_published(name, kind, preset)
    if preset not in (AUTO, match.preset):
        return f"{name} is {match.preset}"
    return match


def fits(kind: AdapterKind, requirements: Requirements) -> bool:
    """Whether an adapter is for the model."""
    return (kind.widths, kind.context) == (requirements.widths, requirements.context)


def _as_published(name: str, kind: AdapterKind, preset: str) -> Match:
    known = preset_of(name)
    if known is not None and PRESETS[known].means(kind):
        return Match(name, kind, known, known=True)
    possible = [key for key in AUTO_ORDER if PRESETS[key].means(kind)]
    if not possible:
        return Match(name, kind, kind.family.name, known=False)
    says_v2 = named_v2(name)
    if preset in possible and not (says_v2 and preset == "FACEID PLUS"):
        return Match(name, kind, preset, known=False)
    if kind.family.versions:
        is_v2 = says_v2 or not has_plus_v1(kind.base)
        return Match(name, kind, "FACEID PLUS V2" if is_v2 else "FACEID PLUS", known=False)
    return Match(name, kind, possible[0], known=False)


def _has_encoder(kind: AdapterKind, requirements: Requirements) -> bool:
    return not kind.width or any(reads(kind, encoder) for encoder in requirements.encoders)


def reads(kind: AdapterKind, encoder: EncoderKind) -> bool:
    """Whether an encoder gives what the adapter reads."""
    return encoder.gives(kind.family.feature) == kind.width


def _chosen(
    found: Mapping[str, AdapterKind | IPAdapterError], name: str, requirements: Requirements
) -> Match:
    kind = found.get(name)
    if kind is None:
        raise IPAdapterError(f"preset: {name} is not in models/ipadapter (any more)")
    if isinstance(kind, IPAdapterError):
        raise IPAdapterError(str(kind))
    if not fits(kind, requirements):
        raise IPAdapterError(
            f"preset: {name} is for {kind.base} (its layers are up to {max(kind.widths)} wide and "
            f"read width {kind.context}), the model is {requirements.base} (up to {max(requirements.widths)}, "
            f"width {requirements.context}); choose another file or another checkpoint"
        )
    return _as_published(name, kind, AUTO)


def choose_encoder(
    match: Match, found: Mapping[str, EncoderKind | IPAdapterError], folder: str
) -> str | None:
    """The file of the encoder that the adapter was trained with; None where it reads none."""
    kind = match.kind
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
        f"{match.name} needs an image encoder whose {kind.family.feature} are {kind.width} wide; "
        f"models/clip_vision has {listed(refused)}; "
        + (
            put(wanted.file, folder)
            if wanted and wanted.file
            else "get the one that its publisher names"
        )
    )


def _missing(
    preset: str, requirements: Requirements, refused: list[str], folder: str
) -> IPAdapterError:
    files = PRESETS["PLUS" if preset == AUTO else preset].files.get(requirements.base, ())
    wanted = "any IP-Adapter" if preset == AUTO else preset
    advice = put(files[0], folder) if files else "none was published for it; choose another preset"
    return IPAdapterError(
        f"looked for {wanted} for {requirements.base} (layers up to {max(requirements.widths)} wide that "
        f"read width {requirements.context}); models/ipadapter has {listed(refused)}; {advice}"
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
