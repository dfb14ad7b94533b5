"""The roots of the tree of errors. A part with errors of its own derives them from these, beside its code.

* KalshiBusError
    * BadRecord        a record from outside cannot be trusted: quarantine it, keep the rest
    * DecodeError      bytes on the bus are not a message of our protocol: count and drop them
        * VersionError the peer speaks a newer major version: upgrade this process
    * SettingsError    settings are wrong: fix every line it lists, then start again
    * StartupError     the process cannot take its place (port, lock, key file): it says what to do
"""


class KalshiBusError(Exception):
    """Root of all errors that a process raises on purpose.

    The simulator's errors are not part of this tree: they are answers in Kalshi's words.
    """


class BadRecord(KalshiBusError):
    """A record from outside that cannot be trusted.

    Quarantine the record, count it, and let the rest flow.

    Attributes:
        field: dotted name of the offending field, as the sender spells it (cut to 200 characters).
        value: the offending value (cut to 200 characters).
        expected: what would have been accepted, in words.
    """

    def __init__(self, field: str, value: object, expected: str) -> None:
        self.field = field[:200]
        try:
            self.value = repr(value)[:200]
        except (RecursionError, ValueError):  # nested too deeply, or a number of too many digits
            self.value = f"a {type(value).__name__} too large to show"
        self.expected = expected
        super().__init__(f"{self.field}: got {self.value}, expected {expected}")

    def within(self, name: str) -> "BadRecord":
        """Return it as that of an element: its name comes before the field's."""
        self.field = f"{name}.{self.field}"
        self.args = (f"{name}.{self}",)
        return self


class DecodeError(KalshiBusError):
    """Bytes that are not a message of the bus protocol. Count and drop them."""


class VersionError(DecodeError):
    """A message of a newer major version of the bus protocol. Upgrade this process."""


class SettingsError(KalshiBusError):
    """One or more settings are wrong.

    Attributes:
        problems: one line for each wrong setting, naming it, its value and what was expected.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class StartupError(KalshiBusError):
    """The process cannot start. The message names the cause and the remedy."""
