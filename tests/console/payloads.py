"""Texts that run something where a page takes them for markup, an address, an expression or a style.

Each calls `pwned`, which the check defines. They are every combination of what is known to work somewhere
(https://cheatsheetseries.owasp.org/cheatsheets/XSS_Filter_Evasion_Cheat_Sheet.html,
https://html.spec.whatwg.org/multipage/webappapis.html#event-handlers-on-elements,-document-objects,-and-window-objects).
"""

RUN = "pwned(1)"
EVENTS = ["onerror", "onload", "onclick", "onfocus", "ontoggle", "onanimationstart", "onbegin", "onpointerover", "onmouseenter", "onwheel"]
TAGS = ["img src=x", "svg", "body", "iframe srcdoc=x", "input autofocus", "details open", "video src=x", "audio src=x",
        "object data=x", "embed src=x", "marquee", "math", "style", "link rel=stylesheet href=x"]  # fmt: skip
BREAKS = ["", '"', "'", "`", "-->", "</script>", "</textarea>", "</title>", "]]>"]
ADDRESSES = [f"javascript:{RUN}", f"JaVaScRiPt:{RUN}", f" javascript:{RUN}", f"java\tscript:{RUN}", f"data:text/html,<script>{RUN}</script>",
             f"vbscript:{RUN}", f"javascript&colon;{RUN}", f"//x/%0a{RUN}"]  # fmt: skip
EXPRESSIONS = ["{{pwned(1)}}", "${pwned(1)}", "#{pwned(1)}", "<%= pwned(1) %>", "{{constructor.constructor('pwned(1)')()}}",
               "__proto__", "constructor", "?lit$0$", "<!--?lit$1$-->", "{{-function(){pwned(1)}()}}"]  # fmt: skip

PAYLOADS = [
    *(f"<{tag} {event}={RUN}>" for tag in TAGS for event in EVENTS),
    *(f"{end}<script>{RUN}</script>" for end in BREAKS),
    *(f"{end}><img src=x onerror={RUN}>" for end in BREAKS),
    *ADDRESSES,
    *(f'<a href="{address}">x</a>' for address in ADDRESSES),
    *(f'<form action="{address}"><button>x</button></form>' for address in ADDRESSES[:4]),
    *(f'<svg><a xlink:href="{address}"><text>x</text></a></svg>' for address in ADDRESSES[:4]),
    *EXPRESSIONS,
    f"<div style=\"background:url('javascript:{RUN}')\">x</div>",
    f"<style>*{{background:url('javascript:{RUN}')}}</style>",
    f"<base href='javascript:{RUN}//'>",
    f"<meta http-equiv=refresh content='0;url=javascript:{RUN}'>",
    f"<template><script>{RUN}</script></template>",
    f"<noscript><p title=\"</noscript><img src=x onerror={RUN}>\">",
    f"<svg><animate onbegin={RUN} attributeName=x dur=1s>",
    f"<svg><use href=\"data:image/svg+xml,<svg id='x' xmlns='http://www.w3.org/2000/svg'><image href='1' onerror='{RUN}'/></svg>#x\">",
    f"&lt;script&gt;{RUN}&lt;/script&gt;",
    f"\\u003cscript\\u003e{RUN}\\u003c/script\\u003e",
    f"<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror={RUN}&gt;\">",
    "\u202e<script>pwned(1)</script>",
    "<img src='http://127.0.0.1:9/beacon'>",
    "<link rel=prefetch href='http://127.0.0.1:9/beacon'>",
]

assert len(PAYLOADS) >= 200 and len(set(PAYLOADS)) == len(PAYLOADS)
