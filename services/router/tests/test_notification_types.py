from __future__ import annotations

import pytest

from clarion.router.notification_types import policy_for

CATEGORIES = (
    ("order_confirmation", "order_updates"),
    ("order_delivered", "order_updates"),
    ("password_reset", "security"),
    ("otp", "security"),
    ("newsletter", "promotional"),
    ("comment", "comment"),
    ("Order_Confirmation", "Order_Confirmation"),
)


@pytest.mark.parametrize(("type_", "category"), CATEGORIES)
def test_a_type_has_the_category_of_the_table_or_its_own_name(
    type_: str, category: str
) -> None:
    assert policy_for(type_).category == category


def test_a_type_goes_to_push_and_inbox_at_medium_priority() -> None:
    policy = policy_for("anything")
    assert policy.channels == ("push", "in_app")
    assert policy.priority == "medium"
