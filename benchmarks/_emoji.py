"""Emoji: pictures, their names and keywords in many languages, and their kinds."""

from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
ANNOTATIONS = Path("/usr/share/unicode/cldr/common/annotations")
KINDS = Path("/usr/share/unicode/emoji/emoji-test.txt")
PACKAGES = {
    FONT: "fonts-noto-color-emoji",
    ANNOTATIONS: "unicode-cldr-core",
    KINDS: "unicode-data",
}
# The size of the bitmaps of the font, and of a picture, in pixels.
FONT_SIZE, SIDE = 109, 136
# Asks for the colour picture of a character; the annotations are without it.
VARIATION_SELECTOR = "\ufe0f"


def emoji(language=None):
    """Return the pictures or the texts of all emoji, and their kinds.

    These are the 1543 characters and sequences (CLDR 41, Noto Color Emoji 2.042) that
    have English annotations and a picture. Flags of countries, tones of skin on persons
    and part of the men and women have none of their own in CLDR.

    Parameters
    ----------
    language : str, default=None
        Of the texts, such as "en"; None returns pictures.

    Returns
    -------
    inputs : ndarray of shape (n_emoji, 136, 136, 3) or (n_emoji,)
        Pictures as bytes, or texts: the name, and the keywords after a colon.
    kinds : ndarray of str of shape (n_emoji,)
        Subgroups of Unicode, such as "animal-bird".
    """
    pictures = draw_all()
    kinds = read_kinds(KINDS)
    # The keys # and * are emoji only together with another character.
    kinds = np.array([kinds.get(character, "keycap") for character in pictures])
    if language is None:
        return np.stack([*pictures.values()]), kinds
    texts = read_annotations(language)
    n_missing = len(set(pictures) - set(texts))
    if n_missing:
        raise SystemExit(f"CLDR's {language!r} lacks names of {n_missing} emoji.")
    return np.array([": ".join(texts[character]) for character in pictures]), kinds


def read_annotations(language, folder=None):
    """Return the name and the keywords of characters and sequences, as a dict."""
    path = Path(folder or ANNOTATIONS, f"{language}.xml")
    if not path.exists():
        raise SystemExit(f"{path} is missing: CLDR has no language {language!r}.")
    names, keywords = {}, {}
    for found in ElementTree.parse(path).iter("annotation"):
        chosen = names if found.get("type") == "tts" else keywords
        chosen[found.get("cp")] = found.text.replace(" | ", ", ")
    return {c: (name, keywords.get(c, name)) for c, name in names.items()}


def read_kinds(path):
    """Return the subgroups of emoji by character or sequence, from Unicode's list."""
    kinds, kind = {}, None
    for line in Path(path).read_text("utf-8").splitlines():
        if line.startswith("# subgroup: "):
            kind = line.removeprefix("# subgroup: ")
        elif line and not line.startswith("#"):
            points = line.partition(";")[0].split()
            character = "".join(chr(int(point, 16)) for point in points)
            kinds[character.replace(VARIATION_SELECTOR, "")] = kind
    return kinds


@cache
def draw_all():
    """Return the pictures of all emoji by character or sequence."""
    for path, package in PACKAGES.items():
        if not path.exists():
            message = f"{path} is missing: install Debian's package {package}."
            raise SystemExit(message)
    # Without it, a sequence is drawn as its characters side by side.
    if not features.check("raqm"):
        raise SystemExit("Pillow lacks raqm: install Debian's package libfribidi0.")
    font = ImageFont.truetype(str(FONT), FONT_SIZE)
    pictures = {c: draw(c, font) for c in read_annotations("en")}
    # What the font does not have is blank.
    return {c: picture for c, picture in pictures.items() if (picture != 255).any()}


def draw(character, font):
    """Return the picture of a character or sequence on white, as bytes."""
    image = Image.new("RGB", (SIDE, SIDE), "white")
    drawing = ImageDraw.Draw(image)
    middle = (SIDE // 2, SIDE // 2)
    drawing.text(middle, character, font=font, embedded_color=True, anchor="mm")
    return np.asarray(image)
