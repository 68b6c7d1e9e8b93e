"""Two references in two regions, and what each of them changes: ``make demo``."""

from runner.entry import start

if __name__ == "__main__":
    start("showcase")
