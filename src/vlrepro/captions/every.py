"""Every caption of each picture: for retrieval on sets whose pictures have several, such as COCO and Flickr30K.

Such a caption file has a row a (picture, caption), so keys repeat. What needs one caption a picture (mining, training,
scoring, refinement) refuses it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from vlrepro.captions.noise import Caption
from vlrepro.data.pack import Row

REVISION = 1


def every_caption(rows: Sequence[Row]) -> list[tuple[Row, Caption]]:
    """Each row with its own caption, then with those that its `captions_other` numbers ("2", "3", ...), by number.

    Captions under other names, such as translations under the code of their language, are not among them.
    """
    return [(row, Caption(text, "clean")) for row in rows for text in (row.caption, *_numbered(row))]


def _numbered(row: Row) -> list[str]:
    others = json.loads(row.captions_other)
    return [others[number] for number in sorted(filter(str.isdecimal, others), key=int)]
