"""Run a bundled workflow without a browser: ``python3 workflows/run.py --help``."""

from entry import start

if __name__ == "__main__":
    start("runner")
