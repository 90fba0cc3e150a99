"""Contract rules in plain Python, for the requests that break none.

protovalidate walks a whole request, also the parts that no rule is about (20 us for a
notification with data). Almost every request is in order, and that is seen in a few
microseconds: ``keeps_rules`` says yes only where protovalidate would find nothing.
Where it says no, protovalidate is asked, whose words are the answer.

Rules that are not known here (CEL, formats) make a message never plain: it then costs
what it cost before. buf.validate says what the rules mean.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from buf.validate import validate_pb2

Test = Callable[[Any], bool]

_SKIPPED_UNKNOWN = frozenset({"ignore", "required"})
_NOT_EMPTY = re.compile(r"this\.(\w+) != ''")
_ZEROS: Mapping[int, Any] = {
    FieldDescriptor.CPPTYPE_STRING: "",
    FieldDescriptor.CPPTYPE_BOOL: False,
}


def keeps_rules(message: Message) -> bool:
    """Whether a message surely keeps all of its rules; False means: ask."""
    return _test_of(message.DESCRIPTOR)(message)


@cache
def _test_of(descriptor: Descriptor) -> Test:
    """The test of a message type. Types that contain themselves have no rules here."""
    fields, demanded = _rules_of(descriptor)
    if fields is None:
        return _never
    if not fields:
        return _always
    # By the descriptors themselves, as asking each for its number costs more than all
    # else here. A field of another pool is not among them and left to protovalidate.
    known = {
        field: (fields.get(field.number, _always), field.number in demanded)
        for field in descriptor.fields
    }

    def holds(message: Message) -> bool:
        missing = len(demanded)
        for field, value in message.ListFields():
            test, is_demanded = known.get(field, _UNKNOWN)
            if test is not _always and not test(value):
                return False
            missing -= is_demanded
        return not missing

    return holds


def _rules_of(
    descriptor: Descriptor,
) -> tuple[dict[int, Test] | None, frozenset[int]]:
    """The test of each field that has one, and the fields that may not be empty."""
    demanded: set[int] = set()
    options = descriptor.GetOptions()
    if options.HasExtension(validate_pb2.message):
        rules = options.Extensions[validate_pb2.message]
        for field, value in rules.ListFields():
            if field.name != "cel":
                return None, frozenset()
            for cel in value:
                found = _NOT_EMPTY.fullmatch(cel.expression)
                if found is None:
                    return None, frozenset()
                demanded.add(descriptor.fields_by_name[found[1]].number)
    fields: dict[int, Test] = {}
    for field in descriptor.fields:
        test = _test_of_field(field, demanded)
        if test is _never:
            return None, frozenset()
        if test is not _always or field.number in demanded:
            fields[field.number] = test
    return fields, frozenset(demanded)


def _test_of_field(field: FieldDescriptor, demanded: set[int]) -> Test:
    options = field.GetOptions()
    rules = options.Extensions[validate_pb2.field]
    if rules.ignore == validate_pb2.IGNORE_ALWAYS:
        return _always
    test = _value_test(field, rules)
    if test is _never:
        return _never
    if rules.required:
        demanded.add(field.number)
    elif (
        rules.ignore != validate_pb2.IGNORE_IF_ZERO_VALUE
        and not field.has_presence
        and not test(_zero_of(field))
    ):
        # What is not set has the zero value, and that would break the rule.
        demanded.add(field.number)
    return test


def _zero_of(field: FieldDescriptor) -> Any:
    return {} if field.is_repeated else _ZEROS.get(field.cpp_type, 0)


def _value_test(field: FieldDescriptor, rules: Any) -> Test:
    if field.is_repeated and _is_map(field):
        return _map_test(field, rules)
    if field.is_repeated:
        return _list_test(field, rules)
    return _single_test(field, rules)


def _is_map(field: FieldDescriptor) -> bool:
    inner = field.message_type
    return inner is not None and bool(inner.GetOptions().map_entry)


def _single_test(field: FieldDescriptor, rules: Any) -> Test:
    """The test of one value: of a field, or of an item of a list or map."""
    tests: list[Test] = []
    for part, value in rules.ListFields():
        if part.name in _SKIPPED_UNKNOWN:
            continue
        known = _SCALARS.get(part.name)
        made = _never if known is None else known(value)
        if made is _never:
            return _never
        tests.append(made)
    if field.message_type is not None:
        if tests:
            return _never
        return _nested(field.message_type)
    return _both(tests)


def _nested(descriptor: Descriptor) -> Test:
    if _has_no_rules(descriptor):
        return _always
    return _test_of(descriptor)


@cache
def _has_no_rules(descriptor: Descriptor) -> bool:
    """Whether nothing in a type, nor in what it is made of, has a rule."""
    seen: set[str] = set()
    waiting = [descriptor]
    while waiting:
        one = waiting.pop()
        if one.full_name in seen:
            continue
        seen.add(one.full_name)
        if one.GetOptions().HasExtension(validate_pb2.message):
            return False
        for field in one.fields:
            if field.GetOptions().HasExtension(validate_pb2.field):
                return False
            if field.message_type is not None:
                waiting.append(field.message_type)
    return True


def _list_test(field: FieldDescriptor, rules: Any) -> Test:
    own = rules.repeated
    if _unknown(rules, "repeated") or _unknown_in(
        own, ("min_items", "max_items", "unique", "items")
    ):
        return _never
    item = _item_test(field, own.items)
    if item is _never:
        return _never
    tests: list[Test] = _sizes(own, "min_items", "max_items")
    if own.unique:
        tests.append(lambda values: len(set(values)) == len(values))
    if item is not _always:
        tests.append(lambda values: all(map(item, values)))
    return _both(tests)


def _item_test(field: FieldDescriptor, rules: Any) -> Test:
    if rules.ignore == validate_pb2.IGNORE_ALWAYS:
        return _always
    if rules.ignore != validate_pb2.IGNORE_UNSPECIFIED or rules.required:
        return _never
    return _single_test(field, rules)


def _map_test(field: FieldDescriptor, rules: Any) -> Test:
    own = rules.map
    if _unknown(rules, "map") or _unknown_in(
        own, ("min_pairs", "max_pairs", "keys", "values")
    ):
        return _never
    entry: Any = field.message_type
    key = _item_test(entry.fields_by_name["key"], own.keys)
    value = _item_test(entry.fields_by_name["value"], own.values)
    if key is _never or value is _never:
        return _never
    tests: list[Test] = _sizes(own, "min_pairs", "max_pairs")
    if key is not _always:
        tests.append(lambda pairs: all(map(key, pairs)))
    if value is not _always:
        tests.append(lambda pairs: all(map(value, pairs.values())))
    return _both(tests)


def _sizes(rules: Any, least: str, most: str) -> list[Test]:
    tests: list[Test] = []
    if rules.HasField(least):
        tests.append(_min_size(getattr(rules, least)))
    if rules.HasField(most):
        tests.append(_max_size(getattr(rules, most)))
    return tests


def _unknown(rules: Any, kind: str) -> bool:
    return any(
        part.name not in _SKIPPED_UNKNOWN and part.name != kind
        for part, _ in rules.ListFields()
    )


def _unknown_in(rules: Any, known: Iterable[str]) -> bool:
    return any(part.name not in known for part, _ in rules.ListFields())


def _string(rules: Any) -> Test:
    return _each(rules, _OF_STRINGS)


def _number(rules: Any) -> Test:
    return _each(rules, _OF_NUMBERS)


def _each(rules: Any, known: Mapping[str, Callable[[Any], Test]]) -> Test:
    tests: list[Test] = []
    for part, value in rules.ListFields():
        made = known.get(part.name)
        if made is None:
            return _never
        tests.append(made(value))
    return _both(tests)


def _at_least(least: Any) -> Test:
    return lambda value: bool(value >= least)


def _at_most(most: Any) -> Test:
    return lambda value: bool(value <= most)


def _min_size(least: int) -> Test:
    return lambda value: len(value) >= least


def _max_size(most: int) -> Test:
    return lambda value: len(value) <= most


def _one_of(values: Iterable[str]) -> Test:
    return frozenset(values).__contains__


def _pattern(pattern: str) -> Test:
    inner = pattern[1:-1]
    is_whole = pattern.startswith("^") and pattern.endswith("$")
    if not is_whole or ("|" in inner and not _is_grouped(inner)):
        return _never
    # RE2's classes are ASCII: a value with other letters is left to protovalidate.
    match = re.compile(inner, re.ASCII).fullmatch
    return lambda text: text.isascii() and match(text) is not None


def _is_grouped(pattern: str) -> bool:
    """Whether every alternative stands inside of a group, so that ^ and $ hold."""
    depth = 0
    for letter in pattern:
        depth += (letter == "(") - (letter == ")")
        if letter == "|" and depth == 0:
            return False
    return True


_OF_STRINGS: Mapping[str, Callable[[Any], Test]] = {
    "min_len": _min_size,
    "max_len": _max_size,
    "in": _one_of,
    "pattern": _pattern,
}
_OF_NUMBERS: Mapping[str, Callable[[Any], Test]] = {"gte": _at_least, "lte": _at_most}
_SCALARS: Mapping[str, Callable[[Any], Test]] = {
    "string": _string,
    "int32": _number,
    "uint32": _number,
    "int64": _number,
    "uint64": _number,
}


def _both(tests: list[Test]) -> Test:
    if _never in tests:
        return _never
    tests = [test for test in tests if test is not _always]
    if not tests:
        return _always
    if len(tests) == 1:
        return tests[0]
    first, others = tests[0], _both(tests[1:])
    return lambda value: first(value) and others(value)


def _always(value: Any) -> bool:
    return True


def _never(value: Any) -> bool:
    return False


_UNKNOWN = (_never, False)
