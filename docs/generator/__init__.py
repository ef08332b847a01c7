"""Writes the pages below ``docs/reference/`` from the code: settings, commands, transcript, errors, assets.

``pages`` has the list, and one module beside it makes each page. ``python -m docs.generator`` writes them; ``make docs`` builds the
site too. Pages depend on the code alone: no date, no path of this machine and no variable of the environment is in them.

Here belongs how code becomes Markdown. Here does not belong a fact: it stands in the code, as a description or a docstring.
"""
