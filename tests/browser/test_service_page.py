"""The page of a service, in Chromium: it reads by the service and in the browser."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.browser.visit import SEVEN, THREE_SEVEN_ONE, Visit, encoded, written
from tests.serving.service_process import Service

pytestmark = pytest.mark.browser


def test_page_of_a_service_reads_by_it_and_in_the_browser(chromium: Any) -> None:
    token = "a-secret-of-16-or-more"
    with Service("pretrained:line", f"token={token}") as service:
        visit = Visit(chromium, service.url)
        visit.draw(*THREE_SEVEN_ONE)
        visit.says("This service requires an access token: enter it above.")
        visit.page.get_by_label("Access token").fill("a-secret\N{EN DASH}with a dash")
        visit.page.keyboard.press("Enter")
        visit.says("This access token has characters that no token has: enter it again above.")
        visit.page.get_by_label("Access token").fill("another-secret-of-16")
        visit.page.keyboard.press("Enter")
        visit.says("This access token is wrong: enter another above.")
        visit.page.get_by_label("Access token").fill(token)
        visit.page.keyboard.press("Enter")
        visit.says(re.compile("sure$"))
        assert all("401" in complaint for complaint in visit.complaints)  # of Chromium, before the token
        visit.complaints.clear()
        visit.reads([3, 7, 1])
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
        visit.reads([7])


def test_picture_is_read_again_once_the_service_answers(chromium: Any) -> None:
    with Service("pretrained:line") as service:
        visit = Visit(chromium, service.url)
        visit.page.route("**/read", lambda route: route.abort())
        visit.upload("seven.png", encoded(written(strokes=(SEVEN,))))
        visit.says("The service does not answer. Is it still running?")
        visit.page.unroute("**/read")
        visit.complaints.clear()
        visit.page.get_by_role("button", name="Try again").click()
        visit.reads([7])
        assert visit.page.get_by_role("button", name="Try again").is_hidden()


def test_page_of_another_model_is_not_read_with_this_one(chromium: Any) -> None:
    with Service("pretrained:line") as service:
        visit = Visit(chromium, service.url)
        answer = {"model": "grid", "readings": []}
        visit.page.route("**/read", lambda route: route.fulfill(json=answer))
        visit.draw(SEVEN)
        visit.says("The service runs another model now: reload this page.")
        visit.page.route("**/page/model-*", lambda route: route.fulfill(status=404, json={"detail": "Not Found"}))
        visit.page.get_by_label("line, in this browser").check()
        visit.says("The service runs another model now: reload this page.")


def test_request_that_hangs_does_not_hold_up_another_model(chromium: Any) -> None:
    with Service("pretrained:line") as service:
        visit, in_browser = Visit(chromium, service.url), "line, in this browser"
        visit.draw(SEVEN)
        visit.page.get_by_label(in_browser).check()
        visit.page.locator("#details").wait_for(timeout=120_000)
        visit.page.route("**/read", lambda route: None)  # never answered
        with visit.page.expect_request("**/read"):
            visit.page.get_by_label("line", exact=True).check()
        visit.page.get_by_label(in_browser).check()
        visit.sees([7])  # before the request is given up
