"""One line a figure: name, value, goal, met or missed."""

import operator
from dataclasses import dataclass, field

_COMPARE = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "=": operator.eq}


@dataclass
class Figures:
    """Prints figures as they come and remembers whether a goal was missed."""

    missed: list[str] = field(default_factory=list)

    def show(self, name: str, value: float, unit: str = "", *, goal: tuple[str, float] | None = None) -> None:
        """Prints one figure; `goal` is an operator among > >= < <= = and a number, None for a figure that is only
        reported.
        """
        verdict, wanted = "reported", "-"
        if goal is not None:
            comparison, limit = goal
            met = _COMPARE[comparison](value, limit)
            verdict, wanted = ("met" if met else "missed"), f"{comparison} {limit:g}"
            if not met:
                self.missed.append(name)
        print(f"{name:<62} {value:>10.4g} {unit:<4} goal {wanted:<8} {verdict}", flush=True)

    def exit_code(self) -> int:
        """1 when a goal was missed."""
        return 1 if self.missed else 0
