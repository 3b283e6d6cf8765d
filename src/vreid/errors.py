"""The one kind of error that is the user's to mend."""


class InputError(Exception):
    """Bad input: the message names the file, the row or key, and the mend.

    The command line prints the message alone (no traceback) and exits with status 2.
    """
