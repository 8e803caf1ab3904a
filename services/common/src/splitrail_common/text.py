"""Words for people."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 image`, `364 images`."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
