from __future__ import annotations

import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from clarion.templating import compiled
from clarion.templating.compiled import CompiledTemplate
from clarion.templating.content import Content, Template, Variant
from clarion.templating.faults import TemplateFault
from clarion.templating.plain_sources import is_plain
from clarion.templating.values import Given

DATA = {
    "name": "Ada & Bob",
    "empty": "",
    "zero": 0,
    "none": None,
    "yes": True,
    "no": False,
    "price": 99.99,
    "count": 3,
    "large": 1e17,
    "items": [{"name": "<Cups>", "count": 2}, {"name": "Kettle", "count": 1}],
    "nested": {"b": [1, [2, {"c": None}]], "a": {}, "items": ["x"]},
}
PLAIN = [
    "Order {{ data.name }}",
    "{{ data['name'] }} {{ data[\"count\"] }} {{ data.nested.b[0] }}",
    "{% for item in data['items'] %}{{ item.count }} x {{ item.name }}, {% endfor %}",
    "{%- for item in data.items -%}{{ item.name }}{% endfor %}",
    "{% for name, value in data.items() %}{{ name }}={{ value }};{% endfor %}",
    "{{ data }} {{ data.nested }} {{ data.nested.b[1:] }}",
    "{{ data.nested|tojson }} {{ data.nested|length }}",
    "{% for key in data.nested %}{{ key }}{% endfor %}",
    "{{ 'name' in data }} {{ data.name is defined }} {{ data.nope is defined }}",
    "{{ data.empty }}|{{ data.zero }}|{{ data.none }}|{{ data.yes }}|{{ data.no }}",
    "{{ data.price }} {{ data.large }} {{ data.count + 1 }} {{ data.zero == 0 }}",
    "{% for k, v in data.nested|dictsort %}{{ k }}{{ v }}{% endfor %}",
    "{% for k, v in data.nested|items %}{{ k }}{{ v }}{% endfor %}",
    "{% if data.yes and not data.no %}{{ data.name|upper }}{% endif %}",
    "Get the items, clear the keys and copy the values.",
]
NOT_PLAIN = [
    "{{ data.items }}",
    "{{ data['items'] }}",
    "{{ data[ 'items' ]|upper }}",
    "{{ data . get }}",
    "{{ data.pop('name') }}",
    "{{ data.clear() }}{{ data }}",
    "{% set d = data.items %}{{ d }}",
    "{% for x in data.nope.items() if x %}{{ x }}{% endfor %}",
    "{{ data[title] }}",
    "{{ data['it' ~ 'ems'] }}",
    "{{ data['\\x69tems'] }}",
    "{{ data|attr('items') }}",
    "{{ data['items']|map(attribute='count')|list }}",
    "{% for g in data.items|groupby('count') %}{{ g }}{% endfor %}",
]
MISSING = [
    "{{ data.nope }}",
    "{% for item in data.nested.a['items'] %}{{ item }}{% endfor %}",
    "{% for item in data.nested.a.items %}{{ item }}{% endfor %}",
    "{% for item in data.items %}{{ item.nope }}{% endfor %}",
]


@pytest.mark.parametrize("source", PLAIN)
def test_a_source_that_reaches_no_method_is_plain(source: str) -> None:
    assert is_plain(source)


@pytest.mark.parametrize("source", NOT_PLAIN)
def test_a_source_that_may_reach_a_method_is_not(source: str) -> None:
    assert not is_plain(source)


@pytest.mark.parametrize("field", ["body", "html"])
@pytest.mark.parametrize("source", [*PLAIN, *NOT_PLAIN, *MISSING])
def test_it_makes_no_difference_to_what_is_rendered(
    monkeypatch: pytest.MonkeyPatch, source: str, field: str
) -> None:
    answered = outcome(source, field)
    monkeypatch.setattr(compiled, "is_plain", lambda source: False)

    assert answered == outcome(source, field)


def outcome(source: str, field: str) -> object:
    template = Template("t", 1, Content([Variant("push", "en", **{field: source})]))
    given = Given("Shipped", "On its way", ParseDict(DATA, Struct()), Struct())
    try:
        return CompiledTemplate(template).render("push", "en", given)
    except TemplateFault as fault:
        return (fault.field, fault.line, fault.variable, fault.description)
