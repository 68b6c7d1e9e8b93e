"""What went wrong with a run."""


class RunError(Exception):
    """In the user's words: the command line prints it and stops."""
