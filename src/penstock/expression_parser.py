"""The grammar of expressions: text -> tree. Part of the expressions (`expression.py`).

A tokenizer of one regular expression and a recursive descent; what stands in a text can do nothing but compute. From
what binds least to what binds most:

    or
    and
    not
    = == != <> < <= > >=   in   between   is null        (one of them: they don't chain)
    + -
    * / // %
    - +                    (before an operand)
    **                     (from the right)
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

from penstock.errors import UsageError
from penstock.expression_tree import Between, Binary, Call, Case, Column, Constant, In, IsNull, Node, Unary, complaint

MOST_CHARACTERS = 10_000
"""The longest expression that is read."""
MOST_NESTED = 50
"""How many brackets, functions and signs may be inside one another."""
MOST_OPERATORS = 200
"""How many signs one operand may be the left side of: the length of ``a + b + c + ...``."""

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
      | (?P<name>[^\W\d]\w*)
      | (?P<text>'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")*")
      | (?P<sign>//|\*\*|<=|>=|<>|!=|==|[-+*/%=<>(),])
      | (?P<end>\Z)
      | (?P<other>.)
    )""",
    re.VERBOSE | re.DOTALL,
)
_WORDS = {"and", "or", "not", "in", "is", "null", "between", "case", "when", "then", "else", "end", "true", "false"}
_COMPARISON = 4
_BINDING = {"or": 1, "and": 2, "+": 5, "-": 5, "*": 6, "/": 6, "//": 6, "%": 6}
_BINDING |= dict.fromkeys(("=", "==", "!=", "<>", "<", "<=", ">", ">=", "in", "is", "between", "not"), _COMPARISON)
_SAME = {"==": "=", "<>": "!="}
_NOT = 3


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def tree_of(text: str, where: str) -> Node:
    """The tree of an expression.

    Args:
        text: the expression.
        where: what it belongs to, for messages.

    Raises:
        UsageError: it is not of the grammar, or too long; with the place.
    """
    if not isinstance(text, str):
        raise UsageError(
            "an expression is a text", where=where, expected="such as 'weight / height ** 2'", got=repr(text)
        )
    if len(text) > MOST_CHARACTERS:
        raise UsageError(
            "the expression is too long",
            where=where,
            expected=f"at most {MOST_CHARACTERS:,} characters",
            got=f"{len(text):,}",
            remedy="derive it in several steps",
        )
    return _Parser(text, where).whole()


class _Parser:
    """One text on its way to a tree."""

    def __init__(self, text: str, where: str) -> None:
        self._text = text
        self._where = where
        self._tokens = list(self._split())
        self._place = 0
        self._nested = 0

    def _split(self) -> Iterator[_Token]:
        place = 0
        while True:
            found = _TOKEN.match(self._text, place)
            assert found is not None and found.lastgroup is not None
            kind, at = found.lastgroup, found.start(found.lastgroup)
            token = _Token(kind, found.group(kind), at)
            if kind == "other":
                self._refuse_character(token)
            yield token
            if kind == "end":
                return
            place = found.end()
            if kind == "number" and self._text[place : place + 1].isidentifier():
                self._fail(place, "a name can't begin with a digit", remedy='put the name between quotes: "2nd"')

    def _refuse_character(self, token: _Token) -> NoReturn:
        if token.text in "'\"":
            self._fail(token.at, "the quote is not closed", remedy="a quote inside is written twice: 'it''s'")
        remedy = {
            "`": 'a column\'s name stands between double quotes: "name"',
            "&": "write and",
            "|": "write or",
            "~": "write not",
            "^": "write ** for a power",
            "!": "write not",
        }
        self._fail(token.at, f"{token.text!r} means nothing here", remedy=remedy.get(token.text, ""))

    def _fail(self, at: int, message: str, *, expected: str = "", remedy: str = "") -> NoReturn:
        raise complaint(UsageError, self._text, at, message, where=self._where, expected=expected, remedy=remedy)

    # ------------------------------------------------------------------ tokens

    @property
    def _next(self) -> _Token:
        return self._tokens[self._place]

    def _word(self, token: _Token) -> str:
        """The token as a sign or a word of the grammar; empty for operands."""
        if token.kind == "sign":
            return token.text
        word = token.text.lower()
        return word if token.kind == "name" and word in _WORDS else ""

    def _take(self) -> _Token:
        token = self._next
        if token.kind != "end":
            self._place += 1
        return token

    def _meets(self, *words: str) -> bool:
        """Take the next token if it is one of these."""
        if self._word(self._next) in words:
            self._take()
            return True
        return False

    def _need(self, word: str, after: str) -> None:
        if not self._meets(word):
            self._fail(self._next.at, f"{word!r} is missing {after}")

    @contextmanager
    def _inside(self, at: int) -> Iterator[None]:
        self._nested += 1
        if self._nested > MOST_NESTED:
            self._fail(at, f"more than {MOST_NESTED} levels inside one another", remedy="derive it in several steps")
        yield
        self._nested -= 1

    # ------------------------------------------------------------------ grammar

    def whole(self) -> Node:
        """The whole text."""
        node = self._operands(1)
        token = self._next
        if token.kind != "end":
            self._fail(
                token.at,
                f"{token.text!r} was not expected here",
                expected="an operator such as + or and, or the end",
                remedy=self._near(token),
            )
        return node

    def _near(self, token: _Token) -> str:
        if token.kind == "name" and self._place and self._tokens[self._place - 1].kind == "name":
            both = f"{self._tokens[self._place - 1].text} {token.text}"
            return f'is it the name of one column? Put it between double quotes: "{both}"'
        return "close what is open, or leave the ) out" if token.text == ")" else ""

    def _operands(self, least: int) -> Node:
        """Operands and the signs between them that bind at least so much."""
        left = self._negation() if least <= _NOT else self._signed()
        count, compared = 0, False
        while True:
            token = self._next
            sign = self._word(token)
            binding = _BINDING.get(sign, 0)
            if binding < max(least, 1):
                return left
            if binding == _COMPARISON:
                if compared:
                    self._fail(
                        token.at, "comparisons don't chain", remedy="write 1 < x and x < 3, or x between 1 and 3"
                    )
                compared = True
            count += 1
            if count > MOST_OPERATORS:
                self._fail(
                    token.at, f"more than {MOST_OPERATORS} operators in a row", remedy="derive it in several steps"
                )
            self._take()
            left = (
                self._compared(left, sign, token.at)
                if binding == _COMPARISON
                else Binary(token.at, sign, left, self._operands(binding + 1))
            )

    def _compared(self, left: Node, sign: str, at: int) -> Node:
        """What comes after a comparison's sign or word."""
        above = _COMPARISON + 1
        if sign == "is":
            negated = self._meets("not")
            self._need("null", "after 'is'")
            return IsNull(at, left, negated)
        negated = sign == "not"
        if negated and not self._meets("in"):
            self._need("between", "or 'in' after 'not'")
            sign = "between"
        elif negated:
            sign = "in"
        if sign == "between":
            low = self._operands(above)
            self._need("and", "after 'between' and its lower end")
            return Between(at, left, low, self._operands(above), negated)
        if sign == "in":
            self._need("(", "after 'in'")
            return In(at, left, self._list("in"), negated)
        return Binary(at, _SAME.get(sign, sign), left, self._operands(above))

    def _list(self, of: str) -> tuple[Node, ...]:
        """Operands between commas, up to a closing bracket; the opening one is taken."""
        items: list[Node] = []
        if self._meets(")"):
            return ()
        while True:
            items.append(self._operands(1))
            if self._meets(")"):
                return tuple(items)
            if not self._meets(","):
                self._fail(self._next.at, f"a comma or the bracket that closes {of!r} is missing")

    def _negation(self) -> Node:
        token = self._next
        if not self._meets("not"):
            return self._signed()
        with self._inside(token.at):
            return Unary(token.at, "not", self._operands(_NOT))

    def _signed(self) -> Node:
        token = self._next
        if not self._meets("-", "+"):
            return self._power()
        with self._inside(token.at):
            operand = self._signed()
        return Unary(token.at, "-", operand) if token.text == "-" else Unary(token.at, "+", operand)

    def _power(self) -> Node:
        base, token = self._primary(), self._next
        if not self._meets("**"):
            return base
        with self._inside(token.at):
            return Binary(token.at, "**", base, self._signed())

    def _primary(self) -> Node:
        token = self._take()
        word = self._word(token)
        if word == "(":
            with self._inside(token.at):
                node = self._operands(1)
            self._need(")", "to close the bracket")
            return node
        if word == "case":
            with self._inside(token.at):
                return self._case(token.at)
        if word in ("true", "false", "null"):
            return Constant(token.at, None if word == "null" else word == "true")
        if word or token.kind == "end":
            self._refuse_operand(token)
        return self._operand(token)

    def _refuse_operand(self, token: _Token) -> NoReturn:
        shown = "the end" if token.kind == "end" else repr(token.text)
        self._fail(
            token.at,
            f"an operand is missing before {shown}",
            expected="a column, a number, a 'text', a function or a bracket",
            remedy="a column of this name stands between double quotes" if token.kind == "name" else "",
        )

    def _operand(self, token: _Token) -> Node:
        if token.kind == "number":
            number = float(token.text)
            if not math.isfinite(number):
                self._fail(token.at, "the number is too large", expected="a number below 1.8e308")
            return Constant(token.at, number)
        if token.kind == "text":
            return Constant(token.at, token.text[1:-1].replace("''", "'"))
        if token.kind == "quoted":
            return Column(token.at, token.text[1:-1].replace('""', '"'), quoted=True)
        if self._meets("("):
            with self._inside(token.at):
                return Call(token.at, token.text.lower(), self._list(token.text))
        return Column(token.at, token.text)

    def _case(self, at: int) -> Node:
        conditions, values = [], []
        if self._word(self._next) != "when":
            self._fail(self._next.at, "'when' is missing after 'case'", expected="case when x > 0 then 1 else 0 end")
        while self._meets("when"):
            conditions.append(self._operands(1))
            self._need("then", "after the condition of 'when'")
            values.append(self._operands(1))
        otherwise = self._operands(1) if self._meets("else") else Constant(at, None)
        self._need("end", "to close 'case'")
        return Case(at, tuple(conditions), tuple(values), otherwise)
