"""What the commands of the library and of training share: which paths they take."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer
from typer.core import TyperCommand

from ..errors import UserError
from ..files import check_path


class Command(TyperCommand):
    """A command whose options and arguments take no text for a path that is none."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Raises BadParameter as `files.check_path` refuses."""
        texts = self.make_parser(ctx).parse_args(args=list(args))[0]  # as given: a Path of "" is the present folder
        kinds = get_type_hints(self.callback)
        for each in self.params:
            if _takes_path(kinds.get(str(each.name))) or each.metavar == "BUNDLE":  # a folder or a name
                given = texts.get(str(each.name))
                for text in given if isinstance(given, (list, tuple)) else [given]:
                    if isinstance(text, str):
                        try:
                            check_path(text)
                        except UserError as error:
                            raise typer.BadParameter(str(error), ctx, each) from error
        return super().parse_args(ctx, args)


def _takes_path(kind: Any) -> bool:
    return kind is Path or any(map(_takes_path, get_args(kind)))
