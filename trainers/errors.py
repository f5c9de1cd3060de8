"""The one exception for what a user can mend: run.py prints it as one line and exits with 1."""


class UserError(Exception):
    """Something in the user's command, configuration or files is wrong.

    The message is one line in the form `where: what is wrong; how to mend it`.
    """
