"""Text from users and services, made safe for terminals."""

import unicodedata

# Bidirectional control characters, with which one name can look like another.
_REORDERING = frozenset(chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C))


def plain(text: str) -> str:
    """`text` on one line without control characters (so without escape sequences)."""
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character in "\t\n\r":
        return " "
    if character in _REORDERING or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
        return ""
    return character


def human_size(size_bytes: int) -> str:
    """`6.2 MB`: decimal units."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def human_seconds(seconds: float) -> str:
    """`42s`, `3m 20s`, `2h 05m`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 image`, `364 images`."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
