"""What may be displayed: known types, sound, not too large; text always."""

import base64

from cerebelum_nb import rich

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 20


def test_text_is_always_there_and_what_could_run_is_not():
    made = rich.bundle_of(
        {"application/javascript": "alert(1)", "application/vnd.jupyter.widget-view+json": {}, "text/latex": "$x$"}
    )

    assert made == {"text/plain": b""}


def test_images_may_come_as_bytes_or_base64_and_must_be_what_they_say():
    encoded = base64.b64encode(PNG).decode()
    made = [rich.bundle_of({"image/png": value}) for value in (PNG, encoded, b"<svg/>", "no base64", 5, "")]

    assert [bundle.get("image/png") for bundle in made] == [PNG, PNG, None, None, None, None]


def test_what_is_too_large_is_named_in_the_text():
    made = rich.bundle_of({"text/plain": "x", "text/html": "h" * (rich.HTML_NBYTES + 1), "image/png": PNG})

    assert made == {"text/plain": b"x (text/html of 1.0 MiB, more than the 1 that are shown)", "image/png": PNG}


def test_a_long_text_is_cut_and_one_that_is_no_unicode_is_readable():
    made = rich.bundle_of({"text/plain": "\ud800" + "x" * 30_000})

    assert made["text/plain"].decode() == "?" + "x" * 19_999 + "…"


def test_a_bundle_of_somebody_else_is_looked_at_again_and_an_empty_one_stays_empty():
    assert rich.checked({}) == {}
    assert rich.checked({"text/plain": b"a", "text/html": b"<b>", "text/javascript": b"x"}) == {
        "text/plain": b"a",
        "text/html": b"<b>",
    }


def test_a_message_has_text_as_text_and_images_as_base64():
    made = rich.for_message({"text/plain": b"a", "text/html": "é".encode(), "image/png": PNG})

    assert made == {"text/plain": "a", "text/html": "é", "image/png": base64.b64encode(PNG).decode()}
