from __future__ import annotations

import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from clarion.templating.compiled import MAX_SMS, CompiledTemplate, faults_of
from clarion.templating.content import Content, Template, Variant
from clarion.templating.default_template import default_template
from clarion.templating.faults import TemplateFault
from clarion.templating.values import Given


def given(title="Shipped", message="On its way", data=None, recipient=None):
    return Given(
        title,
        message,
        ParseDict(data or {}, Struct()),
        ParseDict(recipient or {}, Struct()),
    )


def template(*variants, **more):
    return Template("t", 1, Content(variants, **more))


def test_the_default_template_renders_every_channel():
    compiled = CompiledTemplate(default_template())
    push = compiled.render("push", "en", given())
    assert (push.title, push.body, push.html) == ("Shipped", "On its way", "")
    in_app = compiled.render("in_app", "en", given())
    assert (in_app.title, in_app.body) == ("Shipped", "On its way")
    assert compiled.render("sms", "en", given()).body == "Shipped: On its way"
    assert compiled.render("sms", "en", given(title="")).body == "On its way"
    assert compiled.render("fax", "en", given()) is None


def test_the_default_mail_is_escaped_html_in_a_layout_and_plain_text():
    compiled = CompiledTemplate(default_template())
    mail = compiled.render(
        "email", "en", given("A & B", "<script>x</script>", recipient={"name": "<Ada>"})
    )
    assert mail.title == "A & B"
    assert "Hello <Ada>," in mail.body
    assert "<script>x</script>" in mail.body
    assert mail.html.startswith("<!doctype html>")
    assert "<script>" not in mail.html
    assert "Hello &lt;Ada&gt;," in mail.html
    assert "A &amp; B" in mail.html
    assert '<html lang="en">' in mail.html
    assert mail.html.rstrip().endswith("</html>")


def test_the_default_mail_needs_no_recipient_name():
    mail = CompiledTemplate(default_template()).render("email", "en", given())
    assert "Hello" not in mail.html + mail.body


@pytest.mark.parametrize("locale", ["de", "de-AT", "de_CH"])
def test_the_default_template_speaks_german(locale):
    mail = CompiledTemplate(default_template()).render(
        "email", locale, given(recipient={"name": "Ada"})
    )
    assert mail.locale == "de"
    assert "Hallo Ada," in mail.body
    assert '<html lang="de">' in mail.html


def test_a_language_nobody_wrote_gets_the_template_default():
    compiled = CompiledTemplate(
        template(
            Variant("push", "en", body="hello"),
            Variant("push", "", body="bonjour {{ locale }}"),
            default_locale="fr",
        )
    )
    rendered = compiled.render("push", "it-IT", given())
    assert (rendered.locale, rendered.body) == ("fr", "bonjour fr")


def test_a_layout_of_none_leaves_the_html_as_it_is():
    variant = Variant("email", "en", html="<html>{{ title }}</html>")
    compiled = CompiledTemplate(template(variant, layout_id="none"))
    assert compiled.render("email", "en", given()).html == "<html>Shipped</html>"


def test_a_missing_variable_in_wrapped_html_has_the_line_of_the_author():
    variant = Variant("email", "en", html="<p>\n{{ data.order_id }}</p>")
    with pytest.raises(TemplateFault) as fault:
        CompiledTemplate(template(variant)).render("email", "en", given())
    assert (fault.value.field, fault.value.line) == ("html", 2)


@pytest.mark.parametrize(
    ("channel", "field", "length"),
    [("push", "title", 1025), ("push", "body", 65537), ("sms", "body", MAX_SMS + 1)],
)
def test_a_rendered_text_has_a_limit(channel, field, length):
    compiled = CompiledTemplate(
        template(Variant(channel, "en", **{field: "{{ message }}"}))
    )
    assert compiled.render(channel, "en", given(message="x" * (length - 1)))
    with pytest.raises(TemplateFault, match="more than") as fault:
        compiled.render(channel, "en", given(message="x" * length))
    assert fault.value.field == field


def test_everything_wrong_with_a_template_is_found():
    faults = faults_of(
        template(
            Variant("push", "en", title="{{ a", body="fine"),
            Variant("push", "EN", body="\0"),
            Variant("email", "en", html="a\n{% if x %}"),
            data_schema={"type": "nonsense"},
        )
    )
    assert [fault.path for fault in faults] == [
        *("variants[0].title", "variants[1].body", "variants[1]"),
        *("variants[2].html", "data_schema"),
    ]
    assert "line 2" in faults[3].description
