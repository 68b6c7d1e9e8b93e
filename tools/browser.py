"""Chromium for the browser tests: the one on PATH, or Debian's where root can install it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


class BrowserError(Exception):
    pass


def chromium() -> str:
    """The path of a Chromium or Chrome."""
    if not on_path() and is_debian() and os.geteuid() == 0:
        install()
    found = on_path()
    if not found:
        raise BrowserError(f"the browser tests need one of {', '.join(NAMES)} on PATH: install one")
    return found


def on_path() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


def is_debian() -> bool:
    try:
        return platform.freedesktop_os_release()["ID"] == "debian" and bool(shutil.which("apt-get"))
    except OSError:  # no such file: not Linux
        return False


def install() -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
        subprocess.run(["apt-get", "--quiet=2", *arguments], env=environment, check=False)


if __name__ == "__main__":
    print(chromium())
