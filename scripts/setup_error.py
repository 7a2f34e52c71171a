"""The one kind of error that the set-up raises."""


class SetupError(Exception):
    """Something on this machine or in what was asked that its user has to mend.

    Printed as one line that says what was asked, what was found, and what to do; the exit code is 2.
    """

    def __init__(self, asked: str, found: str, remedy: str):
        super().__init__(f"{asked}: {found}; {remedy}")
