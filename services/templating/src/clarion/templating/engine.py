"""The template engine: minijinja, with limits, and its errors in our words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from minijinja import Environment, TemplateError

from clarion.templating.faults import TemplateFault
from clarion.templating.values import PRINTED

DEFAULT_FUEL = 50_000
"""Instructions of one rendering: a loop of some thousands, a few milliseconds."""

_VARIABLE = re.compile(r"`([^`]*)`")
_MARKUP = re.compile(r"\{[{%#]")
# What tells of the machine, or lets a value outgrow every limit in few instructions.
_WITHHELD = {"debug": None, "namespace": None, "cycler": None, "joiner": None}

Render = Callable[[Mapping[str, Any]], str]


class Engine:
    """Compiles the sources of one version; one name for each of them."""

    def __init__(self, fuel: int = DEFAULT_FUEL) -> None:
        self._environment = Environment(
            # A missing variable is an error: a message with a hole is never sent.
            undefined_behavior="strict",
            fuel=fuel,
            # Without it an error does not name the variable.
            debug=True,
            globals=_WITHHELD,
            auto_escape_callback=lambda name: name.endswith(".html"),
        )

    def compile(self, name: str, source: str, *, first_line: int = 1) -> Render:
        """A function from variables to text; raises TemplateFault.

        ``name`` is unique here and ends in ``.`` and the field, which is title, body
        or html; html escapes its values. ``first_line`` is the line of the source that
        the author knows as line 1.
        """
        if not _MARKUP.search(source):
            return lambda variables: source
        variable = _LONE_VARIABLES.get(source)
        if variable is not None and not name.endswith(".html"):
            return lambda variables: str(variables[variable])
        environment = self._environment
        field = name.rpartition(".")[2]
        try:
            environment.add_template(name, source)
        except TemplateError as error:
            raise _fault(field, error, first_line) from error
        render_template = environment.render_template

        def render(variables: Mapping[str, Any]) -> str:
            try:
                text: str = render_template(name, **variables)
            except TemplateError as error:
                raise _fault(field, error, first_line) from error
            except Exception as error:  # of a method that the template called
                raise TemplateFault(
                    field, f"a call fails: {type(error).__name__}"
                ) from error
            finally:
                printed = PRINTED.copy() if PRINTED else PRINTED
                if printed:
                    PRINTED.clear()
            if printed:
                raise _missing(field, printed[0], line=0)
            return text

        return render


# The most frequent sources of all need no engine: both are texts, always given.
_LONE_VARIABLES = {
    "{{ title }}": "title",
    "{{ message }}": "message",
    "{{title}}": "title",
    "{{message}}": "message",
}


def _fault(field: str, error: TemplateError, first_line: int) -> TemplateFault:
    line = max(1, (error.line or 1) - first_line + 1)
    detail = error.detail or error.kind
    if error.kind == "UndefinedError":
        match = _VARIABLE.search(detail)
        variable = match[1] if match else ""
        return _missing(field, variable, line)
    if error.kind == "OutOfFuel":
        detail = "it takes too many steps"
    return TemplateFault(field, detail, line=line)


def _missing(field: str, variable: str, line: int) -> TemplateFault:
    named = f"the variable `{variable}`" if variable else "a variable"
    return TemplateFault(field, f"{named} is missing", line=line, variable=variable)
