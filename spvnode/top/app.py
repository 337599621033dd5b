"""The page itself, in Textual."""

from __future__ import annotations

from collections import deque
from typing import ClassVar

import anyio
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Footer, Input, RichLog, Static

from spvnode.client import ClientError, Passing
from spvnode.client.concurrent import AsyncClient
from spvnode.top.look import Look, take_look
from spvnode.top.rows import (
    NETWORK_COLUMNS,
    PEER_COLUMNS,
    event_line,
    head_line,
    matches,
    network_rows,
    peer_rows,
    shown,
)

LOOK_SECONDS = 1.0
"""Between two looks: each costs the daemon a few calls."""
MAX_LINES = 2_000
"""Lines of the log that are kept for the filter, 0.8 MB at most; a reorganizing peer could fill it."""
MAX_ROWS = 500
"""Peers that are shown."""


class Top(App[None]):
    """``client`` is the daemon; ``networks`` limits what is shown, empty for all."""

    TITLE = "spvnode"
    CSS = """
    #head { height: 1; background: $primary; color: $text; padding: 0 1; }
    #networks { height: auto; max-height: 12; }
    #peers { height: 1fr; min-height: 4; border-top: solid $primary; }
    #log { height: 1fr; min-height: 4; border-top: solid $primary; }
    #filter { display: none; height: 3; }
    #filter.open { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("slash", "filter", "Filter events"),
        Binding("p", "pause", "Pause"),
        Binding("c", "clear", "Clear events"),
        Binding("escape", "close_filter", "Close", show=False),
    ]

    def __init__(self, client: AsyncClient, networks: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._client = client
        self._only = networks
        self._before: Look | None = None
        self._lines: deque[str] = deque(maxlen=MAX_LINES)
        self._words: list[str] = []
        self._paused = False
        self._problem = ""
        # By reference: what runs beside the page may look for them by name a moment after it has closed.
        self._head = Static("connecting ...", id="head", markup=False)
        self._networks: DataTable[str] = DataTable(id="networks", cursor_type="none")
        self._peers: DataTable[str] = DataTable(id="peers", cursor_type="row")
        self._log_lines = RichLog(id="log", max_lines=MAX_LINES, wrap=True)
        self._filter = Input(placeholder="words that a line must hold; -word must not", id="filter")

    def compose(self) -> ComposeResult:
        """Head, networks, peers, log, filter, keys."""
        yield self._head
        yield self._networks
        yield self._peers
        yield self._log_lines
        yield self._filter
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Begins looking and listening."""
        for table, columns in ((self._networks, NETWORK_COLUMNS), (self._peers, PEER_COLUMNS)):
            for label, width in columns.items():
                table.add_column(label, width=width)
        self._peers.focus()
        self.run_worker(self._keep_looking(), exit_on_error=True)
        self.run_worker(self._listen(), exit_on_error=True)

    # -- what the keys do

    def action_filter(self) -> None:
        """Opens the filter's line."""
        self._filter.add_class("open")
        self._filter.focus()

    def action_close_filter(self) -> None:
        """Closes it and shows all lines again."""
        self._filter.value = ""
        self._filter.remove_class("open")
        self._peers.focus()

    def action_pause(self) -> None:
        """Stops or goes on showing; looking goes on."""
        self._paused = not self._paused
        self._show_head()
        if not self._paused:
            self._show_log()

    def action_clear(self) -> None:
        """Forgets the lines so far."""
        self._lines.clear()
        self._show_log()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filters as one types."""
        self._words = event.value.lower().split()
        self._show_log()

    def on_input_submitted(self, _: Input.Submitted) -> None:
        """Enter keeps the filter and gives the keys back."""
        self._peers.focus()

    # -- looking

    async def _keep_looking(self) -> None:
        while True:
            try:
                look = await take_look(self._client, self._only)
                self._problem = ""
                if not self._paused:
                    self._show(look)
            except ClientError as error:  # also a daemon that ends or begins between two calls
                self._problem = str(error)
            self._show_head()
            await anyio.sleep(LOOK_SECONDS)

    async def _listen(self) -> None:
        while True:
            try:
                async with self._client.events(networks=self._only) as events:
                    async for event in events:
                        self._tell(event_line(event.data))
            except ClientError as error:  # no place for another listener, or no events there
                self._tell(f"no events: {shown(error)}")
                await anyio.sleep(getattr(error, "wait", 0.0) if isinstance(error, Passing) else 10 * LOOK_SECONDS)

    # -- showing

    def _show(self, look: Look) -> None:
        before, self._before = self._before, look
        shown_now = ((self._networks, network_rows(look, before)), (self._peers, peer_rows(look, before)[:MAX_ROWS]))
        for table, rows in shown_now:
            place = table.scroll_offset, table.cursor_row
            table.clear()
            for row in rows:
                table.add_row(*row)
            table.move_cursor(row=place[1])
            table.scroll_to(*place[0], animate=False)

    def _show_head(self) -> None:
        parts = ["connecting ..." if self._before is None else head_line(self._before)]
        parts += ["PAUSED"] if self._paused else []
        parts += [shown(self._problem, 100)] if self._problem else []
        self._head.update("   ".join(parts))

    def _tell(self, line: str) -> None:
        self._lines.append(line)
        if not self._paused and matches(line, self._words):
            self._log_lines.write(line)

    def _show_log(self) -> None:
        self._log_lines.clear()
        for line in self._lines:
            if matches(line, self._words):
                self._log_lines.write(line)
