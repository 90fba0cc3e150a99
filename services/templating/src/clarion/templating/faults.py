"""What can be wrong with a template or its data, as domain values."""

from __future__ import annotations


class TemplateFault(Exception):
    """A source that does not compile or does not render.

    ``field`` is title, body or html; ``line`` counts from 1, and 0 means unknown;
    ``variable`` is the missing one, where that is the reason.
    """

    def __init__(
        self, field: str, description: str, *, line: int = 0, variable: str = ""
    ) -> None:
        super().__init__(description)
        self.field = field
        self.description = description
        self.line = line
        self.variable = variable
