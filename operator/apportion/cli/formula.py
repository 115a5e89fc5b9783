"""Formulas of R on the command line: arithmetic and a few functions, and nothing that takes long or does anything."""

import ast
import math
import re
from collections.abc import Callable
from typing import Any

from simpleeval import InvalidExpression, SimpleEval

LONGEST = 200
FUNCTIONS: dict[str, Callable[..., float]] = {
    "sqrt": math.sqrt,
    "log": math.log,
    "log2": math.log2,
    "exp": math.exp,
    "ceil": math.ceil,
    "floor": math.floor,
    "min": min,
    "max": max,
}
EXPECTED = f"expected arithmetic of R (+ - * / **, {', '.join(FUNCTIONS)})"

OBJECT = re.compile(r"<ast\.(\w+) object at \w+>")


class NotAFormula(Exception):
    """One line that names the option."""


def _power(base: float, exponent: float) -> float:
    """In floats: 9 ** 9 ** 9 is an error at once, and no number of 370 million digits. Complex ones are refused."""
    return float(float(base) ** float(exponent))


OPERATORS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: lambda left, right: float(left) + float(right),
    ast.Sub: lambda left, right: float(left) - float(right),
    ast.Mult: lambda left, right: float(left) * float(right),
    ast.Div: lambda left, right: float(left) / float(right),
    ast.Pow: _power,
    ast.USub: lambda value: -value,
    ast.UAdd: lambda value: value,
}


def _constant(node: ast.Constant) -> float:
    if isinstance(node.value, bool) or not isinstance(node.value, int | float):
        raise InvalidExpression(f"{node.value!r} is not a number")
    return float(node.value)


class Formula:
    """A function of R. `option` is where it came from, for what is said of it. Raises NotAFormula, also when called."""

    def __init__(self, option: str, text: str) -> None:
        self.option = option
        self.text = text
        self._evaluator = SimpleEval(operators=OPERATORS, functions=dict(FUNCTIONS), names={})
        allowed = (ast.Expr, ast.Name, ast.UnaryOp, ast.BinOp, ast.Call)
        kept: dict[type[ast.AST], Any] = {kind: self._evaluator.nodes[kind] for kind in allowed}
        self._evaluator.nodes = {**kept, ast.Constant: _constant}
        if len(text) > LONGEST:
            raise NotAFormula(f"{option}: expected at most {LONGEST} characters")
        try:
            self._parsed = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            raise self._refusal("this is none") from None
        self(1)

    def __call__(self, replicas: int) -> float:
        self._evaluator.names = {"R": float(replicas)}
        try:
            found = float(self._evaluator.eval(self.text, previously_parsed=self._parsed))
        except InvalidExpression as error:
            raise self._refusal(OBJECT.sub(r"\1", str(getattr(error, "message", error)))) from None
        except ZeroDivisionError:
            raise NotAFormula(f"{self.option} {self.text!r}: divides by zero at R = {replicas}") from None
        except (ArithmeticError, ValueError, TypeError, RecursionError) as error:
            raise NotAFormula(f"{self.option} {self.text!r}: no number at R = {replicas}: {error.args[-1]}") from None
        if not math.isfinite(found):
            raise NotAFormula(f"{self.option} {self.text!r}: no finite number at R = {replicas}")
        return found

    def _refusal(self, why: str) -> NotAFormula:
        return NotAFormula(f"{self.option} {self.text!r}: {EXPECTED}; {why}")
