"""Evaluation sets in the layouts of their official archives: one module a set, `fetch(path, folder)` each.

`files` reads what all have in common and says what is missing; `examples` makes the rows of a pack of what they found;
`imagenet_classes` knows the 1,000 classes. docs/packs.md lists the archives.
"""
