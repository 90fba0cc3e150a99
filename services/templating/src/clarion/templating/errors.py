"""Faults of templates and data as errors of the mesh."""

from __future__ import annotations

from collections.abc import Iterable

from clarion.runtime.errors import FieldViolation, TemplateInvalidError
from clarion.templating.compiled import SourceFault
from clarion.templating.data_schema import DataFault
from clarion.templating.faults import TemplateFault


def render_error(template_id: str, fault: TemplateFault) -> TemplateInvalidError:
    """A version that cannot be rendered with what was given.

    The message names the variable and the line; the field is the missing variable, or
    title, body or html of the template.
    """
    line = f", line {fault.line}" if fault.line else ""
    text = f"{fault.description} ({fault.field}{line} of the template)"
    metadata = {"template_id": template_id}
    if fault.line:
        metadata["line"] = str(fault.line)
    if fault.variable:
        metadata["variable"] = fault.variable
    field = fault.variable or fault.field
    return TemplateInvalidError(
        text, violations=[FieldViolation(field, text)], metadata=metadata
    )


def data_error(template_id: str, fault: DataFault) -> TemplateInvalidError:
    """Data that does not satisfy the schema of its template."""
    return TemplateInvalidError(
        f"{fault.path}: {fault.description}",
        violations=[FieldViolation(fault.path, fault.description, "data_schema")],
        metadata={"template_id": template_id},
    )


def source_error(faults: Iterable[SourceFault]) -> TemplateInvalidError:
    """A template that is not stored, with the path of everything wrong."""
    return TemplateInvalidError(
        violations=[
            FieldViolation(f"template.{fault.path}", fault.description, "template")
            for fault in faults
        ]
    )
