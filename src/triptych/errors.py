"""Errors that are the user's to mend; everything else that is raised is a fault in the program."""


class UserError(Exception):
    """Something asked of the program that it cannot do as asked.

    The message is one line that says what was asked, what was found, and what to do.
    The command line prints it without a traceback and exits with code 2.
    """

    def __init__(self, asked: str, found: str, remedy: str):
        super().__init__(f"{asked}: {found}; {remedy}")
        self.asked, self.found, self.remedy = asked, found, remedy
