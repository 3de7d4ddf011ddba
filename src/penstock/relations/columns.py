"""MapColumns: columns renamed, and their numbers turned into other units.

A relation. It is done while rows are read, and lays nothing down.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pyarrow as pa

from penstock.batch import Count
from penstock.errors import SchemaError, UsageError
from penstock.relation import Outcome, Relation, Shape, Workbench, require
from penstock.schema import Role, Schema


@dataclass(frozen=True)
class MapColumns(Relation):
    """Columns under other names and in other units, so that data of several origins agree before they are joined.

    A number becomes ``number * scale + offset``: inches to centimetres are a scale of 2.54; °F to °C a scale of 5/9
    and an offset of -160/9.

    Formula:
        y = x * scale + offset

    Args:
        rename: the new names, by the old ones.
        scale: factors, by the old names.
        offset: what is added after that, by the old names.

    Raises:
        UsageError: a number is not finite, a scale is zero, or nothing is asked for.

    Example:
        >>> MapColumns(rename={"height_in": "height"}, scale={"height_in": 2.54}).scale
        {'height_in': 2.54}
    """

    rename: Mapping[str, str] = field(default_factory=dict)
    scale: Mapping[str, float] = field(default_factory=dict)
    offset: Mapping[str, float] = field(default_factory=dict)

    name = "map_columns"
    by_row = True

    def __post_init__(self) -> None:
        for where in ("scale", "offset"):
            for column, number in getattr(self, where).items():
                good = isinstance(number, (int, float)) and not isinstance(number, bool) and math.isfinite(number)
                if not good or (where == "scale" and number == 0):
                    expected = "a number" + (" but zero" if where == "scale" else "")
                    raise UsageError("not a unit", where=where, expected=expected, got=f"{column}: {number!r}")
            object.__setattr__(self, where, {name: float(number) for name, number in getattr(self, where).items()})
        object.__setattr__(self, "rename", dict(self.rename))
        if not (self.rename or self.scale or self.offset):
            raise UsageError("nothing to map", where="rename", expected="rename: {old: new}, scale: {column: 2.54}")

    def shape(self, incoming: Schema, other: Schema | None) -> Shape:
        """The columns under their new names; whole numbers that change are numbers."""
        require(incoming, tuple(self.rename), "map_columns: rename")
        moved = tuple(dict.fromkeys((*self.scale, *self.offset)))
        require(incoming, moved, "map_columns: scale")
        for name in moved:
            if not pa.types.is_float64(incoming[name].type):
                raise SchemaError(
                    "not a column of numbers",
                    where="map_columns: scale",
                    got=f"{name!r} ({incoming[name].kind.value})",
                    remedy=f"roles: {{{name}: number}}, if its values are numbers",
                )
        fields = []
        for one in incoming:
            new = replace(one, name=self.rename.get(one.name, one.name))
            if one.name in moved:
                kind = {"role": Role.number} if one.role.is_feature else {"values": Role.number}
                new = replace(new, reason="in another unit", **kind)  # type: ignore[arg-type]
            fields.append(new)
        origins = {self.rename.get(name, name): name for name in incoming.names}
        scales = {
            self.rename.get(name, name): (self.scale.get(name, 1.0), self.offset.get(name, 0.0)) for name in moved
        }
        return Shape(Schema(tuple(fields)), (), origins, scales=scales)

    def run(self, bench: Workbench) -> Outcome:
        """Nothing to do before the rows are read."""
        rows = bench.rows.rows
        return Outcome(rows, Count(self.name, rows_in=rows, out=rows))
