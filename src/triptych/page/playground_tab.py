"""The playground: choose, draw, watch the images come, and take the command home."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import gradio as gr

from triptych.errors import UserError
from triptych.page.glance import ODD
from triptych.page.place import PICTURE, QUIETLY, Place, in_one_line, in_turn, told
from triptych.page.sampler_fields import SamplerFields, order, sampler_fields
from triptych.page.studio import HIGHEST_SCALE
from triptych.report import numbers


def playground_tab(place: Place) -> gr.Dropdown:
    """Add the tab's content; return the field that names the run."""
    words, view = place.words, Playground(place)
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            with gr.Row():
                run = gr.Dropdown([], label=words("run"), min_width=140, elem_id="draw-run")
                title = words("checkpoint")
                checkpoint = gr.Dropdown([], label=title, min_width=140, elem_id="draw-checkpoint")
            classes = gr.Dropdown([], multiselect=True, label=words("class_title"), elem_id="draw-classes")
            how: SamplerFields = sampler_fields(words, "draw")
            with gr.Row():
                above = gr.Number(0, label=words("above_title"), min_width=120)
                below = gr.Number(0, label=words("below_title"), min_width=120)
            with gr.Row():
                draw = gr.Button(words("draw"), variant="primary", elem_id="draw")
                cancel = gr.Button(words("cancel"), elem_id="cancel")
        with gr.Column(scale=3, min_width=300):
            status = gr.Textbox(label=words("state"), interactive=False, elem_id="draw-state")
            images = gr.Image(elem_id="images", **PICTURE)
            film = gr.Image(type="filepath", elem_id="film", **PICTURE)
            title = words("command_title")
            command = gr.Code(
                label=title, language="shell", interactive=False, wrap_lines=True, elem_id="command"
            )

    offered = gr.State(None)
    run.change(view.choices, [run, offered], [checkpoint, classes, how.scale, offered], **QUIETLY)
    asked, shown = [run, checkpoint, classes, above, below, *how.all], [status, images, film, command]
    in_turn(draw, cancel, view.draw, asked, shown, words)
    return run


class Playground:
    """What the fields of the tab offer, and what is drawn."""

    def __init__(self, place: Place):
        self.place, self.words = place, place.words

    @in_one_line
    def choices(self, name: str | None, offered: str | None) -> tuple[Any, Any, Any, Any]:
        """Return the checkpoints and the classes of a run, the guidance scale of its recipe, and its name.

        Nothing where they are offered already: a field tells of more changes than there are, and what was
        chosen meanwhile would be undone.
        """
        if not name or name == offered:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        found, run = self.place.shelf.checkpoints(name), self.place.shelf.run(name)
        known = list(run.origin.data.class_names) if run.origin.conditional else []
        scale = float(run.setting("sampling", "guidance", default=1.0)) if known else 1.0
        return (
            gr.update(choices=found, value=next(iter(found), None)),
            gr.update(choices=known, value=[], interactive=bool(known)),
            min(max(0.0, scale), HIGHEST_SCALE),
            name,
        )

    def draw(
        self,
        name: str | None,
        checkpoint: str | None,
        classes: list[str] | None,
        above: float | None,
        below: float | None,
        *how: Any,
    ) -> Iterator[tuple[Any, Any, Any, Any]]:
        """Yield how far it is, the images, the film of the whole way, and the command that draws the same."""
        words, place = self.words, self.place
        keep = (gr.skip(), gr.skip(), gr.skip())
        try:
            bounds = {"above": above or 0.0, "below": below or 0.0}
            asked = order(name, checkpoint, *how, classes=tuple(classes or ()), **bounds)
            yield words("opening", checkpoint=asked.checkpoint, run=asked.run), *keep
            typed = place.studio.command(asked, place.runs)
            for moment in place.studio.draw(asked):
                if moment.film is None:
                    yield words("step_of", step=moment.step, steps=moment.steps), moment.picture, None, typed
                    continue
                path = place.scratch / f"{secrets.token_hex(8)}.gif"
                moment.film.save(path, title=asked.caption)
                seconds = numbers.duration(moment.seconds)
                text = words("drawn", count=asked.count, seconds=seconds, calls=moment.calls)
                yield text, moment.picture, str(path), typed
        except (UserError, OSError, *ODD) as error:
            yield told(error), *keep  # what was drawn before stays beside its command
