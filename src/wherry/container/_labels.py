"""Labels of a container: what is allowed, checked before anything starts."""

from __future__ import annotations

from collections.abc import Mapping

MAX_LABELS = 10
MAX_NAME_BYTES = 16
MAX_VALUE_BYTES = 64


def check_labels(labels: Mapping[str, str] | None) -> dict[str, str]:
    """Return a copy of `labels`.

    Raises:
        TypeError: A name or value is not a `str`.
        ValueError: There are more than 10 labels, a name isn't 1 to 16 bytes, a value is longer than 64 bytes, or one
            holds a control character (the reference's limits).
    """
    if labels is None:
        return {}
    if not isinstance(labels, Mapping):
        raise TypeError(f"labels must be a mapping of str to str, not {type(labels).__name__}")
    if len(labels) > MAX_LABELS:
        raise ValueError(f"labels: {len(labels)} given, at most {MAX_LABELS} are allowed")
    for name, value in labels.items():
        _check_text("name", name, 1, MAX_NAME_BYTES)
        _check_text(f"value of {name!r}", value, 0, MAX_VALUE_BYTES)
    return dict(labels)


def _check_text(what: str, text: object, least: int, most: int) -> None:
    if not isinstance(text, str):
        raise TypeError(f"labels: the {what} must be a str, not {type(text).__name__}")
    size = len(text.encode("utf-8", "surrogatepass"))
    if not least <= size <= most:
        raise ValueError(f"labels: the {what} has {size} bytes, allowed are {least} to {most}: {text!r}")
    if any(ord(character) < 32 or 127 <= ord(character) < 160 for character in text):
        raise ValueError(f"labels: the {what} holds a control character: {text!r}")
