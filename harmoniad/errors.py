"""The exceptions whose message is meant for the user."""


class HarmoniadError(Exception):
    """Something the user can mend. The message names the file or the key and says what to do.

    The command line prints it as one line and exits with code 1, without a traceback.
    """


class UnreachableError(HarmoniadError):
    """Something that is not here now, such as a server, but may be in a minute.

    The command line exits with `TRY_AGAIN`, so that a scheduler can tell it from wrong input.
    """


TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h
