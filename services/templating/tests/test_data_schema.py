from __future__ import annotations

import pytest

from clarion.templating.data_schema import DataFault, DataSchema

ORDER = {
    "type": "object",
    "required": ["order_id"],
    "properties": {
        "order_id": {"type": "string"},
        "lines": {"type": "array", "items": {"properties": {"n": {"type": "integer"}}}},
    },
}


@pytest.mark.parametrize(
    "data", [{"order_id": "1"}, {"order_id": "", "lines": [{"n": 2}]}]
)
def test_data_that_fits_has_no_fault(data):
    assert DataSchema(ORDER).fault(data) is None


def test_a_missing_property_is_named():
    fault = DataSchema(ORDER).fault({})
    assert fault == DataFault("data", "lacks a required property: order_id")


def test_a_fault_deep_inside_has_its_path_and_not_the_value():
    fault = DataSchema(ORDER).fault({"order_id": "1", "lines": [{"n": "secret"}]})
    assert fault.path == "data.lines[0].n"
    assert "secret" not in fault.description


@pytest.mark.parametrize(
    "schema", [{"type": "nonsense"}, {"properties": {"a": {"type": 1}}}]
)
def test_what_is_no_schema_is_refused(schema):
    with pytest.raises(ValueError, match="data_schema"):
        DataSchema(schema)


def test_a_schema_elsewhere_is_not_fetched():
    fault = DataSchema({"$ref": "http://127.0.0.1:1/schema.json"}).fault({})
    assert "refers to" in fault.description
