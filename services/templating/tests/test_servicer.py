from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.code_pb2 import INVALID_ARGUMENT, NOT_FOUND
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo

from clarion.api.templating.v1 import template_service_pb2 as pb
from clarion.runtime.caller import as_tenant
from clarion.runtime.errors import (
    InvalidArgumentError,
    InvalidPageTokenError,
    NotFoundError,
    TemplateInvalidError,
)

pytestmark = pytest.mark.integration


def variant(channel="push", locale="en", **fields):
    return pb.TemplateVariant(channel=channel, locale=locale, **fields)


def put(template_id, *variants, draft=False, **template):
    return pb.PutTemplateRequest(
        template_id=template_id,
        draft=draft,
        template=pb.Template(variants=variants, **template),
    )


def item(channels=("push",), data=None, **fields):
    made = pb.RenderItem(key="k", channels=channels, title="T", message="M")
    made.MergeFrom(pb.RenderItem(**fields))
    made.data.update(data or {})
    return made


async def render(stub, *items):
    answer = await stub.BatchRender(pb.BatchRenderRequest(items=items))
    return list(answer.results)


async def test_a_notification_without_a_template_gets_the_default_one(mesh):
    results = await render(
        mesh, item(["push", "email", "sms", "in_app"], type="order", locale="de-AT")
    )
    assert [result.channel for result in results] == ["push", "email", "sms", "in_app"]
    push = results[0].content
    assert (push.title, push.body, push.template_id) == ("T", "M", "default")
    assert (push.template_version, push.locale, results[0].key) == (1, "de", "k")
    assert "<!doctype html>" in results[1].content.html


async def test_numbers_in_data_keep_their_kind_over_the_wire(mesh, shop):
    await shop.PutTemplate(
        put("order", variant(body="{{ data.n }} {{ data.price }} {{ data.l[0].n }}"))
    )
    data = {"n": 20, "price": 99.99, "l": [{"n": 3}]}
    [result] = await render(mesh, item(template_id="order", data=data))
    assert result.content.body == "20 99.99 3"


async def test_a_template_named_like_the_type_is_used(mesh, shop):
    await shop.PutTemplate(put("order", variant(body="of the type")))
    by_type, by_id = await render(
        mesh, item(type="order"), item(type="order", template_id="default")
    )
    assert by_type.content.body == "of the type"
    assert by_id.content.template_id == "default"


async def test_a_pinned_version_outlives_a_later_one(mesh, shop):
    await shop.PutTemplate(put("order", variant(body="one")))
    await shop.PutTemplate(put("order", variant(body="two")))
    results = await render(
        mesh,
        item(template_id="order"),
        item(template_id="order", template_version=1),
        item(template_id="order", template_version=9),
    )
    assert [result.content.body for result in results] == ["two", "one", ""]
    assert results[2].error.code == NOT_FOUND
    published = await shop.PublishTemplate(
        pb.PublishTemplateRequest(template_id="order", version=1)
    )
    assert published.template.published
    [result] = await render(mesh, item(template_id="order"))
    assert result.content.body == "one"


async def test_a_missing_variable_fails_one_item_and_no_other(mesh, shop):
    await shop.PutTemplate(put("order", variant(body="a\n{{ data.order_id }}")))
    good, bad = await render(
        mesh,
        item(template_id="order", data={"order_id": "4711"}),
        item(template_id="order"),
    )
    assert good.content.body == "a\n4711"
    assert bad.error.code == INVALID_ARGUMENT
    assert "data.order_id" in bad.error.message
    assert "line 2" in bad.error.message
    info, request = ErrorInfo(), BadRequest()
    bad.error.details[0].Unpack(info)
    bad.error.details[1].Unpack(request)
    assert info.reason == "TEMPLATE_INVALID"
    assert dict(info.metadata) == {
        "template_id": "order",
        "line": "2",
        "variable": "data.order_id",
    }
    assert request.field_violations[0].field == "data.order_id"


async def test_an_unknown_template_or_channel_is_not_found(mesh, shop):
    await shop.PutTemplate(put("order", variant(body="x")))
    results = await render(
        mesh,
        item(template_id="unknown"),
        item(template_id="default-other"),
        item(["sms"], template_id="order"),
    )
    assert [result.error.code for result in results] == [NOT_FOUND] * 3


async def test_data_is_checked_against_the_schema(mesh, shop):
    request = put("order", variant(body="x"))
    request.template.data_schema.update(
        {"required": ["n"], "properties": {"n": {"type": "integer"}}}
    )
    stored = (await shop.PutTemplate(request)).template
    assert dict(stored.data_schema)["required"] == ["n"]
    good, missing, wrong = await render(
        mesh,
        item(template_id="order", data={"n": 5}),
        item(template_id="order"),
        item(template_id="order", data={"n": 5.5}),
    )
    assert good.content.body == "x"
    assert "n" in missing.error.message
    assert wrong.error.message.startswith("data.n:")


async def test_what_was_accepted_before_a_change_is_rendered_as_it_was(mesh, shop):
    before = item(template_id="order", published_time=instant())
    await shop.PutTemplate(put("order", variant(body="old")))
    between = instant()
    await shop.PutTemplate(put("order", variant(body="new")))
    results = await render(
        mesh,
        item(template_id="order", published_time=between),
        item(type="order", published_time=between),
        item(template_id="order", published_time=instant()),
        item(template_id="order"),
        item(template_id="order", template_version=2, published_time=between),
        before,
        item(type="other", published_time=between, message="default"),
    )
    assert [result.content.body for result in results] == [
        "old", "old", "new", "new", "new", "old", "default"
    ]  # fmt: skip


def instant():
    """Now, as the clock of the database is."""
    now = Timestamp()
    now.GetCurrentTime()
    return now


async def test_a_batch_is_answered_in_order(mesh):
    answer = await mesh.BatchRender(
        pb.BatchRenderRequest(
            items=[
                pb.RenderItem(key=str(n), channels=["push", "sms"], message=f"m{n}")
                for n in range(250)
            ]
        )
    )
    assert [result.key for result in answer.results] == [
        str(n // 2) for n in range(500)
    ]
    assert answer.results[499].content.body == "m249"


async def test_a_syntax_error_names_its_field_and_line(shop):
    request = put(
        "order",
        variant(body="fine"),
        variant(locale="de", body="fine"),
        variant("email", html="<p>\n{% if %}</p>"),
    )
    with pytest.raises(TemplateInvalidError) as refused:
        await shop.PutTemplate(request)
    [violation] = refused.value.violations
    assert violation.field == "template.variants[2].html"
    assert "line 2" in violation.description
    with pytest.raises(NotFoundError):
        await shop.GetTemplate(pb.GetTemplateRequest(template_id="order"))


async def test_the_same_content_keeps_its_version(shop):
    first = (await shop.PutTemplate(put("order", variant(body="1")))).template
    again = (await shop.PutTemplate(put("order", variant(body="1")))).template
    assert first == again
    assert (first.version, first.published, first.default_locale) == (1, True, "en")
    draft = await shop.PutTemplate(put("order", variant(body="2"), draft=True))
    assert (draft.template.version, draft.template.published) == (2, False)
    used = await shop.GetTemplate(pb.GetTemplateRequest(template_id="order"))
    assert used.template == first
    later = pb.GetTemplateRequest(template_id="order", version=2)
    assert (await shop.GetTemplate(later)).template == draft.template


@pytest.mark.parametrize("template_id", ["default", "default.mine"])
async def test_built_in_ids_are_not_for_tenants(shop, template_id):
    with pytest.raises(InvalidArgumentError) as refused:
        await shop.PutTemplate(put(template_id, variant(body="x")))
    assert refused.value.violations[0].field == "template_id"


async def test_an_unknown_layout_is_refused(shop):
    with pytest.raises(InvalidArgumentError) as refused:
        await shop.PutTemplate(put("order", variant(body="x"), layout_id="mine"))
    assert refused.value.violations[0].field == "template.layout_id"


async def test_templates_are_listed_page_by_page_with_the_built_in_one(shop):
    for name in ("alpha", "zulu", "echo"):
        await shop.PutTemplate(put(name, variant(body=name)))
    seen, token = [], ""
    while True:
        page = await shop.ListTemplates(
            pb.ListTemplatesRequest(page_size=2, page_token=token)
        )
        seen += [template.template_id for template in page.templates]
        token = page.next_page_token
        if not token:
            break
    assert seen == ["alpha", "default", "echo", "zulu"]
    with pytest.raises(InvalidPageTokenError):
        await shop.ListTemplates(pb.ListTemplatesRequest(page_token="nonsense"))


async def test_a_preview_renders_without_storing(shop):
    request = pb.PreviewTemplateRequest(
        template=pb.Template(variants=[variant(body="{{ message }} {{ data.n }}")]),
        channel="push",
        message="hi",
    )
    request.data.update({"n": 20})
    assert (await shop.PreviewTemplate(request)).content.body == "hi 20"
    request.data.Clear()
    faulty = await shop.PreviewTemplate(request)
    assert [violation.field for violation in faulty.violations] == ["data.n"]
    request.template.variants[0].body = "{{ oops"
    broken = await shop.PreviewTemplate(request)
    assert broken.violations[0].field == "template.variants[0].body"
    stored = pb.PreviewTemplateRequest(
        template_id="default", channel="sms", message="m"
    )
    assert (await shop.PreviewTemplate(stored)).content.body == "m"
    with pytest.raises(NotFoundError):
        await shop.PreviewTemplate(
            pb.PreviewTemplateRequest(template_id="unknown", channel="sms")
        )


async def test_a_foreign_tenant_sees_nothing(mesh, shop):
    await shop.PutTemplate(put("order", variant(body="of the shop")))
    with as_tenant("other"):
        for request in (
            mesh.GetTemplate(pb.GetTemplateRequest(template_id="order")),
            mesh.PublishTemplate(
                pb.PublishTemplateRequest(template_id="order", version=1)
            ),
            mesh.PreviewTemplate(
                pb.PreviewTemplateRequest(template_id="order", channel="push")
            ),
        ):
            with pytest.raises(NotFoundError):
                await request
        listed = await mesh.ListTemplates(pb.ListTemplatesRequest())
        assert [one.template_id for one in listed.templates] == ["default"]
        by_id, by_type = await render(
            mesh, item(template_id="order"), item(type="order")
        )
    assert by_id.error.code == NOT_FOUND
    assert by_type.content.template_id == "default"
