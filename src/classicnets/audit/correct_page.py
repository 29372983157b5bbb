"""The page that corrects labels, served to this machine alone: one suspect at a time, every decision saved at once.

GET  /TOKEN/             the page
GET  /TOKEN/state        the suspects, what was decided, the classes
GET  /TOKEN/suspect/7    the pictures of a suspect
POST /TOKEN/decide       {"number": 7, "action": "relabel", "label": "dog"}; the action "" takes a decision back
"""

from __future__ import annotations

from typing import Any

from classicnets.audit.decisions import Decisions
from classicnets.reports.html import render
from classicnets.system.local_page import LocalPage, Refused, nothing_here


class CorrectPage(LocalPage):
    """The server of the page. `serve_forever` answers until `shutdown`, or Ctrl-C.

    Args:
        decisions: what is shown and decided.
        port: the port on 127.0.0.1; 0 takes a free one.

    Raises ConfigError if the port is taken.
    """

    def __init__(self, decisions: Decisions, port: int = 0) -> None:
        super().__init__(port)
        self.decisions = decisions

    def page(self, nonce: str) -> str:
        """The page."""
        audit = self.decisions.audit
        return render(
            "correct.html.j2", data=audit.data, suspects=len(audit.suspects), file=self.decisions.file, nonce=nonce
        )

    def get(self, place: str) -> Any:
        """The state, or a suspect."""
        if place == "state":
            return self.decisions.state()
        kind, _, number = place.partition("/")
        if kind == "suspect" and number.isdecimal() and int(number[:9]) < len(self.decisions.audit.suspects):
            return self.decisions.describe(int(number[:9]))
        raise nothing_here()

    def post(self, place: str, values: Any) -> Any:
        """Save a decision."""
        if place != "decide":
            raise nothing_here()
        try:
            number, action, label = values["number"], values["action"], values["label"]
        except (KeyError, TypeError):
            raise _no_decision() from None
        if type(number) is not int or not isinstance(action, str) or not isinstance(label, str):
            raise _no_decision()
        self.decisions.decide(number, action, label)
        return {"saved": True}


def _no_decision() -> Refused:
    return Refused(400, 'A decision is {"number": 0, "action": "keep", "label": ""}.')
