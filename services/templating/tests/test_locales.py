from __future__ import annotations

import pytest

from clarion.templating.locales import candidates, choose


@pytest.mark.parametrize(
    ("locale", "available", "chosen"),
    [
        ("de-AT", ["en", "de", "de-AT"], "de-AT"),
        ("de-AT", ["en", "de"], "de"),
        ("de_at", ["en", "de-AT"], "de-AT"),
        ("DE", ["en", "de"], "de"),
        ("zh-Hant-TW", ["en", "zh-Hant"], "zh-Hant"),
        ("fr", ["de", "en"], "en"),
        ("", ["de", "en"], "en"),
        ("fr", ["it", "de"], "it"),
        ("de", ["de-AT", "it"], "de-AT"),
        ("fr", [], None),
    ],
)
def test_the_nearest_language_is_chosen(locale, available, chosen):
    assert choose(locale, "en", available) == chosen


def test_the_default_has_shorter_forms_too():
    assert candidates("de-AT", "en-GB") == ["de-at", "de", "en-gb", "en"]
