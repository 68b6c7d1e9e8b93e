"""What went wrong, in the user's words: the command line prints it and stops."""


class Problem(Exception):
    pass
