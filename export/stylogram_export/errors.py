"""The one error that users see: what was got and what is accepted, in one line."""

import difflib
from collections.abc import Iterable


class Error(ValueError):
    """Bad input, said in one line. The command line prints it after `error: ` and exits with 2."""


def one_of(what: str, got: str, accepted: Iterable[str], most: int = 40) -> Error:
    """The error for a name that is not in a table: the nearest names first, then the others.

    >>> str(one_of("preset", "gatis", ["keras", "gatys"]))
    "unknown preset 'gatis'; accepted: gatys, keras"
    """
    names = list(accepted)
    near = difflib.get_close_matches(got, names, n=3, cutoff=0.5)
    ordered = near + [name for name in names if name not in near]
    more = f", ... ({len(ordered)} in all)" if len(ordered) > most else ""
    return Error(f"unknown {what} {got!r}; accepted: {', '.join(ordered[:most]) or 'none'}{more}")
