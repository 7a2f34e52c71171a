"""The verbs of the command line, one file each.

A verb's file holds its options and a function `run(tokens) -> exit code`. Options parse without torch;
what computes is imported when it is known that there is something to compute.
"""

VERBS = {
    "train": "train recipes, one after another; the same command again resumes",
    "sample": "draw images from a run: labelled grid, single pictures, GIF",
    "evaluate": "measure images of runs, or pictures of any program, against real ones",
    "report": "write the experiment record of runs as Markdown and as a page to mail",
    "serve": "show a folder of runs as a web page, with a playground",
    "verify": "check every checkpoint of runs by its bytes, and prove that training can go on",
    "info": "tell sizes, cost, time and disk of runs and recipes, side by side",
    "import": "make a run of a model from files of diffusers or DiT, or of figures written down by hand",
    "export": "write a run's model as files that diffusers or DiT loads",
    "completion": "print a script that lets a shell complete all this",
    "bench": "measure the backbones against their peers, in a checkout",
}
"""Every verb, and what it does in one line."""

FILES = {"import": "import_model"}
"""The file of a verb that cannot bear its name, which is a word of the language."""
