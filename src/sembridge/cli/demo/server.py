"""The demo's page as a program: Gradio widgets on 127.0.0.1, and nothing that another machine is asked for."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from sembridge.errors import SembridgeError, require

if TYPE_CHECKING:
    import gradio
    from starlette.middleware import Middleware
    from starlette.types import ASGIApp, Receive, Scope, Send

    from sembridge.cli.demo.systems import Workshop

HOST = "127.0.0.1"
DEFAULT_PORT = 7860

_SWITCH_THEME = """() => {
    const dark = document.body.classList.toggle("dark");
    try { localStorage.setItem("sembridge-theme", dark ? "dark" : "light"); } catch { }
    document.querySelector("#sb-theme").setAttribute("aria-pressed", dark);
}"""
_REMEMBER_THEME = """() => {
    let wanted = null;
    try { wanted = localStorage.getItem("sembridge-theme"); } catch { }
    if (wanted) document.body.classList.toggle("dark", wanted === "dark");
    document.querySelector("#sb-theme").setAttribute("aria-pressed", document.body.classList.contains("dark"));
}"""


class Server:
    """The page while it is served; leaving the `with` block ends it."""

    def __init__(self, page: "gradio.Blocks", url: str) -> None:
        self._page = page
        self.url = url

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self._page.close(verbose=False)

    def wait(self) -> None:
        """Until Ctrl-C."""
        threading.Event().wait()


def serve(language: str, *, port: int = DEFAULT_PORT, workshop: "Workshop | None" = None) -> Server:
    """The demo's page on 127.0.0.1, served by a thread until it is closed.

    Args:
        language: the one that is chosen at first.
        port: 0 takes any free one.
        workshop: makes what answers; of the bundled models by default.

    Raises:
        MissingExtraError: gradio is not installed.
        SembridgeError: the port is taken or not allowed.
    """
    _forbid_telemetry()
    require("demo", "gradio", what="The demo page")
    port = _free_port(port)
    from sembridge.cli.demo.page import style
    from sembridge.cli.demo.systems import Workshop

    page = _build(workshop or Workshop(), language)
    page.queue(default_concurrency_limit=1, api_open=False)
    _, url, _ = page.launch(
        server_name=HOST, server_port=port, share=False, inbrowser=False, prevent_thread_lock=True, quiet=True,
        show_error=True, footer_links=[], run_history=False, ssr_mode=False, pwa=False, mcp_server=False,
        enable_monitoring=False, theme=_theme(), css=style(), i18n=None, app_kwargs={"middleware": _own_pages_only()},
    )  # fmt: skip
    return Server(page, url)


def _own_pages_only() -> "list[Middleware]":
    """Refuses requests that name another host (a web page whose name was pointed at 127.0.0.1 could ask otherwise), and
    requests of another host's pages, which a browser sends here, too."""
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    return [Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"]), Middleware(_OwnOriginOnly)]


class _OwnOriginOnly:
    """ASGI middleware: what a browser sends for a page of another origin than the one that is asked gets 403."""

    def __init__(self, app: "ASGIApp") -> None:
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        headers = dict(scope.get("headers") or ())
        origin, host = (headers.get(name, b"").decode("latin-1") for name in (b"origin", b"host"))
        if origin and origin.partition("://")[2] != host:
            from starlette.responses import PlainTextResponse

            await PlainTextResponse("Asked by a page of another origin", status_code=403)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _forbid_telemetry() -> None:
    """Gradio reads these when it is imported."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def _free_port(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: one just closed is free
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise SembridgeError(
                f"Port {port} of {HOST} cannot be had ({error}); give another with --port, or --port 0 for a free one."
            ) from None
        found: int = probe.getsockname()[1]
        return found


def _theme() -> "gradio.themes.Base":
    """Fonts of the reader's system only: a named web font would be fetched from another machine."""
    from gradio.themes import Base

    return Base(
        primary_hue="blue", neutral_hue="slate",
        font=["system-ui", "Segoe UI", "Roboto", "Noto Sans", "Noto Sans Arabic", "Noto Sans Devanagari",
              "Noto Sans CJK KR", "DejaVu Sans", "sans-serif"],
        font_mono=["ui-monospace", "DejaVu Sans Mono", "monospace"],
    )  # fmt: skip


def _build(workshop: "Workshop", language: str) -> "gradio.Blocks":
    import gradio as gr

    from sembridge.cli.demo import page
    from sembridge.cli.demo.systems import BM25, FIRST_OTHER, OTHERS, SEMBRIDGE, WAYS
    from sembridge.cli.demo.walk import LANGUAGES

    search = _searcher(workshop)
    examples = list(workshop.collection(language).examples)
    with gr.Blocks(title="SemBridge demo", analytics_enabled=False, fill_width=True) as blocks:
        with gr.Row(elem_id="sb-top"):
            gr.HTML("<h1>SemBridge</h1>", apply_default_css=False)
            theme = gr.Button("Dark mode", size="sm", elem_id="sb-theme")
        gr.HTML(page.introduction(), apply_default_css=False)
        with gr.Row(elem_id="sb-choose"):
            chosen = gr.Radio([(name, code) for code, name in LANGUAGES.items()], value=language, label="Language")
            other = gr.Dropdown(
                [(WAYS[way].name, way) for way in OTHERS], value=FIRST_OTHER, label="Beside it", filterable=False
            )
        with gr.Row(elem_id="sb-ask"):
            question = gr.Textbox(
                examples[0], label="Question", lines=1, max_lines=1, scale=8, rtl=language in page.RIGHT_TO_LEFT
            )
            ask = gr.Button("Search", variant="primary", scale=1, min_width=120)
        gloss = gr.HTML(page.gloss(workshop.collection(language), examples[0]), apply_default_css=False)
        offered = gr.Dataset(
            components=[question], samples=[[example] for example in examples], label="Examples", elem_id="sb-examples"
        )
        with gr.Row(elem_id="sb-columns", equal_height=True):
            columns = [gr.HTML(page.waiting(way), apply_default_css=False) for way in (SEMBRIDGE, FIRST_OTHER, BM25)]
        shown = [gloss, *columns]
        runs = [
            gr.on(
                [ask.click, question.submit, other.input], search, [chosen, question, other], shown,
                show_progress="hidden", concurrency_id="search", trigger_mode="always_last",
            ),
            offered.click(lambda sample: sample[0], offered, question, show_progress="hidden").then(
                search, [chosen, question, other], shown, show_progress="hidden", concurrency_id="search"
            ),
        ]  # fmt: skip
        chosen.input(
            _switcher(workshop), [chosen, other], [question, offered, *shown], cancels=runs, show_progress="hidden"
        )
        theme.click(None, js=_SWITCH_THEME)
        blocks.load(None, js=_REMEMBER_THEME)
    return blocks


def _searcher(workshop: "Workshop") -> Callable[[str, str, str], Iterator[list[str]]]:
    """The handler that fills gloss and columns, as often as there is something new to see."""
    from sembridge.cli.demo import page
    from sembridge.cli.demo.systems import BM25, SEMBRIDGE

    def search(language: str, question: str, other: str) -> Iterator[list[str]]:
        ways = (SEMBRIDGE, other, BM25)
        collection = workshop.collection(language)
        shown = [page.gloss(collection, question), *(page.waiting(way, asked=True) for way in ways)]
        for place in (1, 3, 2):  # BM25 takes no time
            way = ways[place - 1]
            try:
                for step in workshop.prepare(language, way):
                    shown[place] = page.working(way, step)
                    yield shown
                result = workshop.system(language, way).search(question)
                shown[place] = page.column(way, collection, question, result)
            except SembridgeError as error:
                shown[place] = page.refusal(way, str(error))
            yield shown

    return search


def _switcher(workshop: "Workshop") -> Callable[[str, str], list[object]]:
    """The handler that offers another language's examples and clears the columns."""
    import gradio as gr

    from sembridge.cli.demo import page
    from sembridge.cli.demo.systems import BM25, SEMBRIDGE

    def switch(language: str, other: str) -> list[object]:
        collection = workshop.collection(language)
        examples = list(collection.examples)
        question = gr.Textbox(value=examples[0], rtl=language in page.RIGHT_TO_LEFT)
        offered = gr.Dataset(samples=[[example] for example in examples])
        columns = [page.waiting(way) for way in (SEMBRIDGE, other, BM25)]
        return [question, offered, page.gloss(collection, examples[0]), *columns]

    return switch
