from __future__ import annotations

import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from clarion.templating.engine import Engine
from clarion.templating.faults import TemplateFault
from clarion.templating.values import for_schemas, for_templates

NUMBERS = [
    (20, "20"),
    (99.99, "99.99"),
    (0, "0"),
    (-0.0, "0"),
    (-7, "-7"),
    (0.1, "0.1"),
    (2**53 - 1, "9007199254740991"),
    (-(2**53) + 1, "-9007199254740991"),
    (float(2**53), "9007199254740992.0"),
]


def render(source, data):
    struct = ParseDict(data, Struct())
    compiled = Engine().compile("0.body", source)
    return compiled({"data": for_templates(struct)})


@pytest.mark.parametrize(("value", "text"), NUMBERS)
def test_a_number_renders_as_it_was_given(value, text):
    assert render("{{ data.n }}", {"n": value}) == text


@pytest.mark.parametrize(("value", "text"), NUMBERS)
def test_a_nested_number_renders_as_it_was_given(value, text):
    data = {"order": {"lines": [{"n": [value]}]}}
    assert render("{{ data.order.lines[0].n[0] }}", data) == text


def test_numbers_in_lists_and_sums_keep_their_kind():
    data = {"list": [1, 2.5, 3], "a": 20, "b": 22}
    assert render("{{ data.list|join(' ') }}", data) == "1 2.5 3"
    assert render("{{ data.a + data.b }}", data) == "42"


def test_all_kinds_of_values_arrive():
    data = {"t": "x", "yes": True, "none": None, "list": [1], "map": {"k": "v"}}
    assert for_schemas(ParseDict(data, Struct())) == data
    source = "{{ data.t }} {{ data.none is none }} {% if data.yes %}yes{% endif %}"
    assert render(source, data) == "x True yes"


def test_mappings_can_be_iterated_in_every_usual_way():
    data = {"map": {"a": 1}}
    assert render("{% for k, v in data.map|items %}{{ k }}{{ v }}{% endfor %}", data)
    assert (
        render("{% for k, v in data.map.items() %}{{ k }}{{ v }}{% endfor %}", data)
        == "a1"
    )
    assert render("{{ data.map.get('b', 'none') }}", data) == "none"


def test_a_key_named_like_a_method_is_the_key():
    assert render("{{ data.items[0] }} {{ data.pop }}", {"items": [5], "pop": 1}) == (
        "5 1"
    )


@pytest.mark.parametrize("name", ["items", "get", "keys", "values", "pop", "clear"])
def test_a_missing_key_named_like_a_method_is_missing(name):
    with pytest.raises(TemplateFault) as fault:
        render(f"{{{{ data.{name} }}}}", {})
    assert fault.value.variable.endswith(name)


@pytest.mark.parametrize(
    "call", ["clear()", "update({'a': 2})", "pop('a')", "setdefault('b', 1)"]
)
def test_a_template_cannot_change_the_data(call):
    data = for_templates(ParseDict({"a": 1, "l": [1]}, Struct()))
    with pytest.raises(TemplateFault):
        Engine().compile("0.body", f"{{{{ data.{call} }}}}")({"data": data})
    with pytest.raises(TemplateFault):
        Engine().compile("0.body", "{{ data.l.append(1) }}")({"data": data})
    assert dict(data) == {"a": 1, "l": (1,)}
