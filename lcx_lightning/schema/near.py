"""Near names: what somebody may have meant who typed a name that there is not."""

from collections.abc import Iterable
from difflib import get_close_matches


def near(name: str, names: Iterable[str], count: int = 3) -> list[str]:
    """Return the names that are like one, the most alike first.

    A dotted name is also like another if their last parts are: `windo` is like `method.pattern.window`. Those whose
    last part is the same come first, the shortest ahead. Upper and lower case are alike.

    Args:
        name: Name that was typed.
        names: Names that there are.
        count: Largest number of names that is returned.
    """
    name, last = name.lower(), name.lower().rpartition(".")[2]
    whole: dict[str, list[str]] = {}
    by_last: dict[str, list[str]] = {}
    for one in dict.fromkeys(names):
        whole.setdefault(one.lower(), []).append(one)
        by_last.setdefault(one.lower().rpartition(".")[2], []).append(one)
    found = [*whole.get(name, ()), *sorted(by_last.get(last, ()), key=lambda one: one.count("."))]
    found += [one for like in get_close_matches(name, whole, count, 0.75) for one in whole[like]]
    for part in get_close_matches(last, by_last, count, 0.75):
        found += sorted(by_last[part], key=lambda one: one.count("."))
    return list(dict.fromkeys(found))[:count]


def did_you_mean(name: str, names: Iterable[str], prefix: str = "") -> str:
    """Return a question, such as "Did you mean window?", with a space before it; nothing if no name is like it.

    Args:
        name: Name that was typed.
        names: Names that there are.
        prefix: What stands before a name where it is shown.
    """
    found = [prefix + one for one in near(name, names)]
    return f" Did you mean {' or '.join(found)}?" if found else ""
