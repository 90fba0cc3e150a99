from __future__ import annotations

import pytest

from clarion.api.event.v1.work_pb2 import Content
from clarion.api.templating.v1.template_service_pb2 import (
    BatchRenderResponse,
    RenderResult,
)
from clarion.runtime.errors import NotFoundError
from clarion.runtime.status import message_of
from clarion.templating.answers import encoded
from clarion.templating.compiled import Rendered
from clarion.templating.rendering import Outcome

TEXTS = ["", "plain", "ümläut ß", "\U0001f600", "ÿ", "x" * 127, "x" * 128, "é" * 9000]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("html", ["", "<p>ü</p>", "<p>y</p>" * 3000])
def test_the_answer_is_that_of_the_message(text: str, html: str) -> None:
    rendered = Rendered(text, text + "b", html, "de-AT")
    outcome = Outcome("in_app", "orders", 300, rendered, None)
    wanted = RenderResult(
        key=text,
        channel="in_app",
        content=Content(
            title=text,
            body=text + "b",
            html=html,
            template_id="orders",
            template_version=300,
            locale="de-AT",
        ),
    )
    answer = BatchRenderResponse.FromString(encoded([text, "2"], [[outcome], []]))
    assert answer == BatchRenderResponse(results=[wanted])


def test_errors_stand_between_results_in_order() -> None:
    good = Outcome("push", "t", 1, Rendered("T", "B", "", "en"), None)
    bad = Outcome("sms", "t", 1, None, NotFoundError.of("template variant", "t/sms"))
    answer = BatchRenderResponse.FromString(encoded(["ü", "b"], [[bad, good], [good]]))
    assert [(one.key, one.channel) for one in answer.results] == [
        ("ü", "sms"),
        ("ü", "push"),
        ("b", "push"),
    ]
    assert bad.error is not None
    assert answer.results[0].error == message_of(bad.error)
