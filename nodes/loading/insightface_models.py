"""The files and packages that insightface needs: found, checked, and named when they are missing."""

from __future__ import annotations

import glob
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import folder_paths

from ...ipadapter.errors import IPAdapterError, pick
from ..shared.notices import warn

if TYPE_CHECKING:
    from insightface.app import FaceAnalysis

# What the published folders hold that is needed here: what finds faces, what recognizes them.
PUBLISHED = {
    "buffalo_l": "det_10g.onnx and w600k_r50.onnx",
    "antelopev2": "scrfd_10g_bnkps.onnx and glintr100.onnx",
}


class Provider(NamedTuple):
    description: str  # one sentence, as of an Option
    names: tuple[str, ...]  # of which onnxruntime has none or one
    package: str  # that brings it in the place of onnxruntime


PROVIDERS = {
    "CPU": Provider(
        "works everywhere, with onnxruntime as installed, and takes well under a second per picture",
        (),
        "",
    ),
    "CUDA": Provider("NVIDIA, with onnxruntime-gpu", ("CUDAExecutionProvider",), "onnxruntime-gpu"),
    "ROCM": Provider(
        "AMD, with onnxruntime-migraphx",
        ("MIGraphXExecutionProvider", "ROCMExecutionProvider"),
        "onnxruntime-migraphx",
    ),
    "DirectML": Provider(
        "Windows, with onnxruntime-directml", ("DmlExecutionProvider",), "onnxruntime-directml"
    ),
    "OpenVINO": Provider(
        "Intel, with onnxruntime-openvino", ("OpenVINOExecutionProvider",), "onnxruntime-openvino"
    ),
    "CoreML": Provider("Mac, with onnxruntime as installed", ("CoreMLExecutionProvider",), ""),
}


def import_insightface() -> type[FaceAnalysis]:
    try:
        from insightface.app import FaceAnalysis
    except ImportError as error:
        command = pip('install "insightface>=2.0,<3"')
        raise IPAdapterError(
            f"insightface cannot be imported ({error}); install it with: {command} and restart "
            "ComfyUI. It brings onnxruntime, which runs on the CPU; for an NVIDIA card put "
            "onnxruntime-gpu in its place, for AMD onnxruntime-migraphx, for DirectML on Windows "
            "onnxruntime-directml, for Intel onnxruntime-openvino; never keep two of them"
        ) from error
    return FaceAnalysis


def pip(command: str) -> str:
    return f'"{sys.executable}" -m pip {command}'


def usable_providers(provider: str) -> list[str]:
    """What of this choice the installed onnxruntime has, then the CPU; says when that is all."""
    import onnxruntime

    _, names, package = pick(PROVIDERS, provider, "provider")
    available = onnxruntime.get_available_providers()
    found = [name for name in names if name in available]
    if names and not found:
        advice = (
            f"for {provider}: {pip('uninstall -y onnxruntime ' + package)}, then "
            f"{pip('install ' + package)}, and restart ComfyUI"
            if package
            else f"{provider} exists on a Mac only"
        )
        warn(
            f"provider {provider}: the installed onnxruntime has no {names[0]}, so faces run on "
            f"the CPU; {advice}"
        )
    return [*found[:1], "CPUExecutionProvider"]


def model_names() -> list[str]:
    return list(dict.fromkeys([*PUBLISHED, *found_folders()]))


def found_folders() -> dict[str, str]:
    """Name -> folder with .onnx files, which may be one level deeper, as zip files unpack."""
    found: dict[str, str] = {}
    for root in folder_paths.get_folder_paths("insightface"):
        for parent in (os.path.join(root, "models"), root):
            for named in subfolders(parent):
                name = os.path.basename(named)
                inside = next(filter(onnx_files, [named, *subfolders(named)]), None)
                if inside and name != "models":
                    found.setdefault(name, inside)
    return found


def subfolders(folder: str) -> list[str]:
    if not os.path.isdir(folder):
        return []
    return sorted(entry.path for entry in os.scandir(os.path.abspath(folder)) if entry.is_dir())


def onnx_files(folder: str) -> list[str]:
    return sorted(str(path) for path in Path(folder).glob("*.onnx"))


def read_folder(
    face_analysis: type[FaceAnalysis], folder: str, providers: list[str], model_name: str
) -> FaceAnalysis:
    """An absolute path for a name is neither downloaded nor looked for beside where ComfyUI runs."""
    if glob.escape(folder) != folder:
        raise IPAdapterError(
            f"{folder}: insightface reads no folder with one of * ? [ in its path; rename it"
        )
    tasks = ["detection", "recognition"]
    try:
        app = face_analysis(
            name=folder,
            root=os.path.dirname(folder),
            allowed_modules=tasks,
            providers=providers,
            static_shape_sessions=False,  # else one more session for each size tried
        )
    except AssertionError as error:
        raise incomplete(model_name, "has no model that finds faces", folder) from error
    except Exception as error:  # onnxruntime's have no class in common
        file = next((f for f in onnx_files(folder) if f in str(error)), folder)
        reason = " ".join(str(error).split())
        again = "download it again"
        advice = again if len(providers) == 1 else f"{again} or choose provider CPU"
        raise IPAdapterError(
            f"{file} cannot be read: it is cut short or no face model; {advice} ({reason})"
        ) from error
    if "recognition" not in app.models:
        raise incomplete(model_name, "has no model that recognizes faces", folder)
    app.prepare(ctx_id=0, det_thresh=0.5, det_size=(640, 640))
    return app


def incomplete(model_name: str, problem: str, folder: str = "") -> IPAdapterError:
    root = folder_paths.get_folder_paths("insightface")[0]
    folder = folder or os.path.join(root, "models", model_name)
    files = PUBLISHED.get(model_name, "a detector and a recognizer, both .onnx,")
    source = (
        f"they are in {model_name}.zip at https://github.com/deepinsight/insightface/releases"
        if model_name in PUBLISHED
        else "or choose another model_name"
    )
    return IPAdapterError(f"{folder} {problem}: put {files} there; {source}; none is downloaded")
