"""Messages about one value that its annotation does not allow."""

import re

COUNT = "a whole number of at least 1"
MULTIPLES = "a list, not empty, of numbers above 0"


def refusal(changes, allowed):
    """Return the pattern of the message about the one value in `changes`."""
    ((name, value),) = changes.items()
    return f"^{re.escape(f'{name} must be {allowed}, got {value!r}.')}$"
