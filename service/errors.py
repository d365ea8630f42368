"""The error that an operator caused, and that a command prints as one line."""


class OperatorError(Exception):
    """Ends a command with one line on stderr and no traceback.

    The message says what happened and what to do about it. Exit code 1: what was asked for is not so or could not be
    done; 2: the command or the configuration is wrong.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
