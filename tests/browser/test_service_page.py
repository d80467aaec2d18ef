"""The page of a service, in Chromium: it reads by the service and in the browser."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.browser.visit import SEVEN, THREE_SEVEN_ONE, Visit
from tests.serving.service_process import Service

pytestmark = pytest.mark.browser


def test_page_of_a_service_reads_by_it_and_in_the_browser(chromium: Any) -> None:
    token = "a-secret-of-16-or-more"
    with Service("pretrained:line", f"token={token}") as service:
        visit = Visit(chromium, service.url)
        visit.draw(*THREE_SEVEN_ONE)
        visit.says("This service requires an access token: enter it above.")
        visit.page.get_by_label("Access token").fill(token)
        visit.page.keyboard.press("Enter")
        visit.says(re.compile("sure$"))
        assert all("401" in complaint for complaint in visit.complaints)  # of Chromium, before the token
        visit.complaints.clear()
        visit.sees([3, 7, 1])
        assert visit.page.locator("#details").is_hidden()
        visit.page.get_by_label("line, in this browser").check()
        visit.page.locator("#details").wait_for(timeout=120_000)
        visit.sees([3, 7, 1])
        visit.page.context.set_offline(True)
        visit.page.get_by_role("button", name="Undo").click()
        visit.sees([3, 7])


def test_busy_service_is_asked_again(chromium: Any) -> None:
    refused: list[Any] = []

    def refuse_twice(route: Any) -> None:
        if len(refused) == 2:
            route.continue_()
        else:
            refused.append(route)
            route.fulfill(status=429, headers={"Retry-After": "0"})

    with Service("pretrained:line") as service:
        visit = Visit(chromium, service.url)
        visit.page.route("**/read", refuse_twice)
        visit.draw(SEVEN)
        visit.says(re.compile("sure$"))
        assert len(refused) == 2
        assert all("429" in complaint for complaint in visit.complaints)  # of Chromium, not of the page
        visit.complaints.clear()
        visit.sees([7])
