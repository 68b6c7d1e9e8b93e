"""The one exception that a user of the pack meets."""


class IPAdapterError(ValueError):
    """One line in the user's words: what was given, what was expected, what to change."""
