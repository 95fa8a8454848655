"""Great Expectations' own document of a validation (Data Docs), without anything from outside.

The library's page draws styles and scripts from half a dozen addresses; what it says is kept, and
shown within the pages' own frame. One document a load: their number slows nothing down.
"""

import re
from typing import Any

_NOT_KEPT = re.compile(r"<script.*?</script>|<footer.*|</body>.*|</?a\b[^>]*>", re.DOTALL)
_BLANK = re.compile(r"\n\s+")


def document_of(validated: Any) -> str:
    """The sections of the page that the library would write: HTML without links and scripts."""
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view.view import DefaultJinjaPageView

    content = ValidationResultsPageRenderer(run_info_at_end=True).render(validated)
    page: str = DefaultJinjaPageView().render(content)  # type: ignore[no-untyped-call]
    _, start, rest = page.partition('<div id="section-1"')
    return _BLANK.sub("\n", _NOT_KEPT.sub("", start + rest))
