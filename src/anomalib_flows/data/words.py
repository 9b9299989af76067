"""Words of the field for good images, for defective ones and for masks, in names of folders and in tables."""

from __future__ import annotations

import re

from anomalib_flows.core.types import ANOMALOUS, NORMAL

_GOOD = """accept accepted clean defectfree faultless fine flawless good gut healthy intact io nodefect nodefects
nondefective nonanomalous normal normals ok okay pass passed undamaged"""
_BAD = """abnormal abnormals anomalies anomalous anomaly bad broken damaged defect defective defects fail failed faulty
ko ng nio nok notgood notok reject rejected rejects scrap"""
_MASK = "annotation annotations groundtruth groundtruths gt mask masks segmentation segmentations"
GOOD_WORDS, BAD_WORDS, MASK_WORDS = (frozenset(words.split()) for words in (_GOOD, _BAD, _MASK))
"""Words by their letters, in lower case; "io" and "nio" are German for in order and not in order."""
DENIALS = frozenset(("free", "no", "non", "not", "without"))
"""Words that turn the meaning of others around."""
LABELS = dict.fromkeys(("0", *GOOD_WORDS), NORMAL) | dict.fromkeys(("1", *BAD_WORDS), ANOMALOUS)


def letters(name: str) -> str:
    """Return the letters of a name in lower case.

    Example:
        >>> letters("Defect-free 2")
        'defectfree'
    """
    return re.sub(r"[\W\d_]+", "", name.casefold())


def label_of(text: str) -> int | None:
    """Return the label that a word or a digit means, or None if it is unknown.

    Example:
        >>> label_of(" OK"), label_of("1"), label_of("maybe")
        (0, 1, None)
    """
    word = text.strip().casefold()
    return LABELS.get(word if re.search(r"\d", word) else letters(word))


def means_good(name: str) -> bool:
    """Return whether the name of a folder says that its images are good."""
    return letters(name) in GOOD_WORDS


def means_bad(name: str) -> bool:
    """Return whether the name of a folder says that its images are defective."""
    return letters(name) in BAD_WORDS


def means_mask(name: str) -> bool:
    """Return whether the name of a folder says that it has masks."""
    return letters(name) in MASK_WORDS


def mentions_bad(name: str) -> bool:
    """Return whether a word in the name of a file says that the image is defective.

    Example:
        >>> mentions_bad("7_bad"), mentions_bad("defect-free_7"), mentions_bad("no defect 7")
        (True, False, False)
    """
    words = re.split(r"[\W\d_]+", name.casefold())
    return not (BAD_WORDS.isdisjoint(words) or DENIALS.intersection(words))
