"""The review page: server-rendered, works without script, and nothing of it comes from elsewhere."""

import asyncio
import datetime
from collections.abc import Sequence
from typing import Annotated, Literal
from urllib.parse import quote, unquote, urlencode

import jinja2
from fastapi import FastAPI, Form, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, BeforeValidator, Field

from harmoniad.data.images import ImageError
from harmoniad.errors import HarmoniadError
from harmoniad.serving.current_model import CurrentModel
from harmoniad.serving.guard import COOKIE, LOGIN, Keys
from harmoniad.serving.review import pictures
from harmoniad.serving.review.decisions import LONGEST_WHO, ConflictError, Decisions
from harmoniad.serving.review.store import Item, ReviewStore
from harmoniad.serving.settings import Settings

SHOWN = 60  # small pictures on a page
WHO = "harmoniad_who"  # a cookie, so that nobody types the name twice
WORDS = {"defect": "defect", "false_alarm": "false alarm", "unsure": "unsure"}

Number = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=200)]


class View(BaseModel):
    """What of the images is shown; it stands in the address, so that a reload or a link shows the same."""

    day: Text = ""
    """A date, `all`, or nothing for today."""
    category: Text = ""
    state: Literal["open", "unsure", "decided", "all"] = "open"
    verdict: Literal["flagged", "passed", "all"] = "flagged"
    least: Annotated[Number | None, BeforeValidator(lambda value: None if value == "" else value)] = None
    sort: Literal["newest", "score"] = "newest"
    item: Text = ""
    kind: Text = ""
    """Of the defect, chosen last."""
    done: Text = ""
    """The item that was decided last, which can be taken back."""

    def query(self, **changes: str) -> str:
        """The view as the query of an address."""
        values = {**self.model_dump(exclude={"item", "done"}), **changes}
        return urlencode({key: value for key, value in values.items() if value not in ("", None)})

    def choose(self, items: Sequence[Item], today: str) -> list[Item]:
        """The items that are shown, in their order."""
        day = self.day or today
        chosen = [
            item
            for item in items
            if day in ("all", item.day)
            and self.category in ("", item.category)
            and self.state in ("all", item.state)
            and (self.verdict == "all" or item.is_anomalous == (self.verdict == "flagged"))
            and (self.least is None or item.score >= self.least)
        ]
        return sorted(chosen, key=lambda item: -item.score) if self.sort == "score" else chosen


def add_review(
    app: FastAPI,
    templates: jinja2.Environment,
    store: ReviewStore,
    decisions: Decisions,
    model: CurrentModel,
    keys: Keys,
    settings: Settings,
) -> None:
    """Add the routes of the review page to the app."""

    def categories() -> list[str]:
        return sorted(model.inspector().threshold.categories) if model.is_ready else []

    def named(key: str) -> Item:
        item = store.find(key)
        if item is None:
            raise HTTPException(404, "no such image, or it is no longer kept")
        return item

    def check_form(given: str) -> None:
        if not keys.is_form(given):
            raise HTTPException(403, "this page is out of date: reload it")

    @app.get("/review", include_in_schema=False)
    def review(request: Request, view: Annotated[View, Query()]) -> HTMLResponse:
        items, today = store.items(), datetime.date.today().isoformat()
        chosen = view.choose(items, today)
        item = store.find(view.item) or (chosen[0] if chosen else None)
        place = chosen.index(item) if item in chosen else -1
        page = templates.get_template("review.html").render(
            view=view,
            item=item,
            done=store.find(view.done),
            before=chosen[place - 1] if place > 0 else None,
            after=chosen[place + 1] if place + 1 < len(chosen) else None,
            shown=chosen[:SHOWN],
            count=len(chosen),
            counts=_counts(items, today),
            days=sorted({each.day for each in items} - {today}, reverse=True),
            given=sorted({each.category for each in items} - {""}),
            categories=categories(),
            kinds=settings.kinds,
            keeps_all=settings.keep == "all",
            who=unquote(request.cookies.get(WHO, ""))[:LONGEST_WHO],
            key=keys.form,
            model=model.label[0],
            words=WORDS,
            today=today,
        )
        return HTMLResponse(page)

    @app.get("/review/items/{key}/{picture}", include_in_schema=False)
    def picture(key: str, picture: str) -> Response:
        kind = pictures.PICTURES.get(picture)
        if kind is None:
            raise HTTPException(404, "no such picture")
        try:
            content = pictures.picture(store, named(key), picture)
        except (OSError, ImageError) as error:
            raise HTTPException(404, "no longer kept") from error
        return Response(content, media_type=kind, headers={"Cache-Control": "private, max-age=3600"})

    @app.post("/review/items/{key}/decision", include_in_schema=False)
    def decide(
        key: str,
        view: Annotated[View, Query()],
        word: Annotated[str, Form(max_length=20)],
        form_key: Annotated[str, Form(max_length=100)],
        category: Annotated[str, Form(max_length=200)] = "",
        kind: Annotated[str, Form(max_length=200)] = "",
        who: Annotated[str, Form(max_length=200)] = "",
    ) -> Response:
        check_form(form_key)
        item = named(key)
        following = _following(view.choose(store.items(), datetime.date.today().isoformat()), item)
        try:
            decisions.decide(item, word, category=category, kind=kind, who=who, known=categories())
        except HarmoniadError as error:
            raise HTTPException(409 if isinstance(error, ConflictError) else 422, str(error)) from error
        answer = _see(view.query(item=following, done=item.key, kind=kind))
        answer.set_cookie(WHO, quote(who[:LONGEST_WHO]), max_age=90 * 86400, path="/review", samesite="strict")
        return answer

    @app.post("/review/items/{key}/undo", include_in_schema=False)
    def undo(
        key: str,
        view: Annotated[View, Query()],
        form_key: Annotated[str, Form(max_length=100)],
        who: Annotated[str, Form(max_length=200)] = "",
    ) -> Response:
        check_form(form_key)
        try:
            decisions.undo(named(key), who)
        except ConflictError as error:
            raise HTTPException(409, str(error)) from error
        return _see(view.query(item=key))

    @app.get(LOGIN, include_in_schema=False)
    def login_page() -> HTMLResponse:
        return HTMLResponse(templates.get_template("login.html").render(wrong=False))

    @app.post(LOGIN, include_in_schema=False)
    async def login(request: Request, token: Annotated[str, Form(max_length=1000)] = "") -> Response:
        if not keys.is_token(token):
            await asyncio.sleep(0.5)  # nobody tries many
            return HTMLResponse(templates.get_template("login.html").render(wrong=True), 401)
        answer = _see("")
        is_https = request.url.scheme == "https"
        answer.set_cookie(COOKIE, keys.session, path="/review", httponly=True, samesite="strict", secure=is_https)
        return answer


def _following(chosen: Sequence[Item], item: Item) -> str:
    """The key of the item that comes after one, or before it where it is the last."""
    place = next((number for number, each in enumerate(chosen) if each.key == item.key), -1)
    rest = [*chosen[place + 1 :], *chosen[:place][-1:]] if place >= 0 else []
    return rest[0].key if rest else ""


def _counts(items: Sequence[Item], today: str) -> dict[str, int]:
    of_today = [item for item in items if item.day == today and item.is_anomalous]
    return {state: sum(item.state == state for item in of_today) for state in ("open", "unsure", "decided")}


def _see(query: str) -> RedirectResponse:
    return RedirectResponse(f"/review?{query}" if query else "/review", 303)
