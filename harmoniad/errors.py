"""The one exception whose message is meant for the user."""


class HarmoniadError(Exception):
    """Something the user can mend. The message names the file or the key and says what to do.

    The command line prints it as one line and exits with code 1, without a traceback.
    """
