from __future__ import annotations

import pytest

from clarion.templating.engine import Engine
from clarion.templating.faults import TemplateFault

GIVEN = {"title": "T & <b>", "message": "m", "data": {"name": "<i>"}}


def fault_of(source, name="0.body", **engine):
    with pytest.raises(TemplateFault) as caught:
        Engine(**engine).compile(name, source)(GIVEN)
    return caught.value


def test_a_text_without_markup_is_itself():
    assert Engine().compile("0.body", "a { b }")(GIVEN) == "a { b }"


@pytest.mark.parametrize(
    "source", ["{{ title }}", "{{title}}", "{{ title }}\n{{ '' }}"]
)
def test_plain_text_is_not_escaped(source):
    assert Engine().compile("0.title", source)(GIVEN).strip() == "T & <b>"


@pytest.mark.parametrize("source", ["{{ title }}", "{{ data.name }}"])
def test_html_is_escaped(source):
    text = Engine().compile("0.html", source)(GIVEN)
    assert "<" not in text
    assert "&lt;" in text


@pytest.mark.parametrize(
    ("source", "variable", "line"),
    [
        ("{{ data.order_id }}", "data.order_id", 1),
        ("a\nb {{ data.order.id }}", "data.order", 2),
        ("\n\n{% if data.paid %}x{% endif %}", "data.paid", 3),
        ("{{ nobody }}", "nobody", 1),
    ],
)
def test_a_missing_variable_is_named_with_its_line(source, variable, line):
    fault = fault_of(source)
    assert (fault.variable, fault.line) == (variable, line)
    assert variable in fault.description


@pytest.mark.parametrize(
    "source", ["{{ data.x|default('-') }}", "{{ '-' if data.x is not defined }}"]
)
def test_a_missing_variable_can_have_a_default(source):
    assert Engine().compile("0.body", source)(GIVEN) == "-"


@pytest.mark.parametrize(
    ("source", "line"),
    [("{{ a", 1), ("\n{% if a %}", 2), ("\n\n{% endfor %}", 3), ("{% nonsense %}", 1)],
)
def test_a_syntax_error_is_a_fault_with_its_line(source, line):
    with pytest.raises(TemplateFault) as caught:
        Engine().compile("0.html", source)
    assert (caught.value.field, caught.value.line) == ("html", line)


def test_an_endless_loop_runs_out_of_steps():
    source = (
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}"
    )
    assert "steps" in fault_of(source).description


def test_a_line_is_counted_from_where_the_author_began():
    render = Engine().compile("0.html", "layout\nlayout\n\n{{ nobody }}", first_line=3)
    with pytest.raises(TemplateFault) as caught:
        render(GIVEN)
    assert caught.value.line == 2


@pytest.mark.parametrize(
    "source",
    [
        "{{ debug() }}",
        "{{ data.__class__ }}",
        "{{ title.__class__.__mro__ }}",
        "{{ data.__getitem__('name') }}",
        "{{ namespace(a=1) }}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_a_template_does_not_get_out_of_its_sandbox(source):
    assert fault_of(source)
