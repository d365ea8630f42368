"""The error that an operator caused, and that a command prints as one line."""

# The exit codes of every command.
DONE = 0
NOT_TRUE = 1  # a check found differences, or the command failed
MISUSE = 2  # the command line or the configuration is wrong
INTERRUPTED = 130  # ended by Ctrl-C, as shells count it


class OperatorError(Exception):
    """Ends a command with one line on stderr and no traceback.

    The message says what happened and what to do about it.
    """

    def __init__(self, message: str, exit_code: int = NOT_TRUE) -> None:
        super().__init__(message)
        self.exit_code = exit_code
