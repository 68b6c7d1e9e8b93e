"""Run a bundled workflow without a browser: ``python3 workflows/run.py --help``."""

from runner.entry import start

if __name__ == "__main__":
    start("command_line")
