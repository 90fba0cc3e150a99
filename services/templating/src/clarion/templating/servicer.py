"""TemplateService: protobuf to domain and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from google.rpc.error_details_pb2 import BadRequest

from clarion.api.event.v1.work_pb2 import Content as ContentMessage
from clarion.api.templating.v1 import template_service_pb2 as pb
from clarion.api.templating.v1 import template_service_pb2_grpc as rpc
from clarion.runtime import page_token
from clarion.runtime.caller import current_caller
from clarion.runtime.errors import InvalidArgumentError
from clarion.templating.answers import encoded
from clarion.templating.catalog import Catalog
from clarion.templating.content import DEFAULT_LOCALE, Content, Template, Variant
from clarion.templating.rendering import Outcome, Renderer, RenderItem
from clarion.templating.values import for_schemas

_PAGE = 50
_NOTHING = Struct()


class TemplateServicer(rpc.TemplateServiceServicer):
    """Serves the templates of the caller's tenant."""

    def __init__(self, catalog: Catalog, renderer: Renderer) -> None:
        self._catalog = catalog
        self._renderer = renderer

    async def PutTemplate(
        self, request: pb.PutTemplateRequest, context: Any
    ) -> pb.PutTemplateResponse:
        stored = await self._catalog.put(
            current_caller().tenant,
            request.template_id,
            _content(request.template),
            draft=request.draft,
        )
        return pb.PutTemplateResponse(template=_message(stored))

    async def GetTemplate(
        self, request: pb.GetTemplateRequest, context: Any
    ) -> pb.GetTemplateResponse:
        found = await self._catalog.get(
            current_caller().tenant, _id(request.template_id), request.version
        )
        return pb.GetTemplateResponse(template=_message(found))

    async def ListTemplates(
        self, request: pb.ListTemplatesRequest, context: Any
    ) -> pb.ListTemplatesResponse:
        size = request.page_size or _PAGE
        (after,) = page_token.decode(request.page_token, 1) or ("",)
        # One more than asked for tells whether there is a next page.
        found = await self._catalog.list(current_caller().tenant, after, size + 1)
        page = found[:size]
        return pb.ListTemplatesResponse(
            templates=[_message(template) for template in page],
            next_page_token=(
                page_token.encode(page[-1].template_id) if len(found) > size else ""
            ),
        )

    async def PublishTemplate(
        self, request: pb.PublishTemplateRequest, context: Any
    ) -> pb.PublishTemplateResponse:
        found = await self._catalog.publish(
            current_caller().tenant, _id(request.template_id), request.version
        )
        return pb.PublishTemplateResponse(template=_message(found))

    async def PreviewTemplate(
        self, request: pb.PreviewTemplateRequest, context: Any
    ) -> pb.PreviewTemplateResponse:
        template: str | Template = _id(request.template_id)
        if request.HasField("template"):
            given = request.template
            template = Template(given.template_id, 0, _content(given))
        item = RenderItem(
            "", 0, "", [request.channel], request.locale, request.title,
            request.message, request.data, _NOTHING,
        )  # fmt: skip
        preview = await self._catalog.preview(current_caller().tenant, template, item)
        response = pb.PreviewTemplateResponse()
        for fault in preview.faults:
            response.violations.append(
                BadRequest.FieldViolation(
                    field=f"template.{fault.path}", description=fault.description
                )
            )
        outcome = preview.outcome
        if outcome is None:
            return response
        if isinstance(outcome.error, InvalidArgumentError):
            for violation in outcome.error.violations:
                response.violations.append(
                    BadRequest.FieldViolation(
                        field=violation.field, description=violation.description
                    )
                )
        elif outcome.error is not None:
            raise outcome.error
        else:
            response.content.CopyFrom(_shown(outcome))
        return response

    async def BatchRender(
        self, request: pb.BatchRenderRequest, context: Any
    ) -> pb.BatchRenderResponse:
        items = request.items
        rendered = await self._renderer.render(current_caller().tenant, items)
        answer = encoded([item.key for item in items], rendered)
        # What is encoded already passes as it is.
        return cast(pb.BatchRenderResponse, answer)


def _id(template_id: str) -> str:
    # Read requests have no pattern: what cannot be an id is not found, and the
    # database would refuse this character.
    return template_id.replace("\0", "")


def _content(message: pb.Template) -> Content:
    default_locale = message.default_locale or DEFAULT_LOCALE
    schema = for_schemas(message.data_schema) or None
    return Content(
        tuple(_variants(message.variants)),
        schema,
        message.layout_id,
        message.description,
        default_locale,
    )


def _variants(messages: Iterable[pb.TemplateVariant]) -> Iterable[Variant]:
    for one in messages:
        yield Variant(one.channel, one.locale, one.title, one.body, one.html)


def _message(template: Template) -> pb.Template:
    content = template.content
    message = pb.Template(
        template_id=template.template_id,
        version=template.version,
        variants=[
            pb.TemplateVariant(
                channel=one.channel,
                locale=one.locale,
                title=one.title,
                body=one.body,
                html=one.html,
            )
            for one in content.variants
        ],
        layout_id=content.layout_id,
        description=content.description,
        published=template.published,
        default_locale=content.default_locale,
    )
    if content.data_schema is not None:
        json_format.ParseDict(dict(content.data_schema), message.data_schema)
    if template.created_time is not None:
        message.created_time.FromDatetime(template.created_time)
    return message


def _shown(outcome: Outcome) -> ContentMessage:
    [result] = pb.BatchRenderResponse.FromString(encoded([""], [[outcome]])).results
    return result.content
