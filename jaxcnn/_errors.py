"""The error that the command line shows as one line."""


class CommandError(Exception):
    """A mistake of the user's or of their machine, told in one clear line.

    The command line prints the message and exits with status 2, without a traceback.
    """
