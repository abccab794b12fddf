"""Self-contained HTML pages: one style, pictures inside."""

from __future__ import annotations

import base64
import html

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1.2rem; color: #1d2830; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
.lead { color: #51606b; margin-top: 0; }
.notice { background: #fff4e5; border-left: 4px solid #d9822b; padding: .7rem 1rem; margin: 1.2rem 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .6rem; border-bottom: 1px solid #dfe5e9; text-align: right; }
th:first-child, td:first-child { text-align: left; }
td small { color: #6a7984; display: block; }
figure { margin: 1rem 0; } figure img { max-width: 100%; } figcaption { color: #51606b; font-size: .9rem; }
.pair { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: flex-start; } .pair figure { flex: 1 1 24rem; }
.wide { overflow-x: auto; }
pre { background: #f4f6f8; padding: .8rem 1rem; overflow-x: auto; font-size: .85rem; }
"""


def document(title: str, body: str) -> str:
    """Returns a whole page.

    Args:
      title: shown by the browser; escaped here.
      body: HTML.
    """
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>
{body}
</body></html>
"""


def figure(picture: bytes, caption: str, *, kind: str = "png") -> str:
    """Returns a picture with its caption as HTML, its bytes inside.

    Args:
      picture: encoded.
      caption: text; escaped here.
      kind: `png` or `jpeg`.
    """
    data, text = base64.b64encode(picture).decode(), html.escape(caption)
    return f'<figure><img alt="{text}" src="data:image/{kind};base64,{data}"><figcaption>{text}</figcaption></figure>'


def table(head: list[str], rows: list[list[str]]) -> str:
    """Returns a table as HTML; every cell is escaped here."""
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
