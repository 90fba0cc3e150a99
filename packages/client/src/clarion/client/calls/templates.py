"""Calls about templates."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from clarion.api.templating.v1.template_service_pb2 import PutTemplateRequest, Template
from clarion.api.templating.v1.template_service_pb2_grpc import TemplateServiceStub
from clarion.client.calls.connection import Connection

if TYPE_CHECKING:
    from clarion.api.templating.v1.template_service_pb2_grpc import (
        TemplateServiceAsyncStub,
    )


class TemplateCalls(Connection):
    """What notifications say."""

    @cached_property
    def _templates(self) -> TemplateServiceAsyncStub:
        return TemplateServiceStub(self._channel)

    async def put_template(self, template: Template) -> None:
        """Stores and publishes a template."""
        request = PutTemplateRequest(
            template_id=template.template_id, template=template
        )
        await self._call(self._templates.PutTemplate, request)
