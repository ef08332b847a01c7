"""The documentation site: pages in Markdown, and ``generator``, which writes those below ``reference/``.

Here belong pages and what makes them. Here does not belong anything that the product imports.
"""
