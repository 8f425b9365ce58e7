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


def test_one_thing_shows_itself_as_it_was_displayed_and_an_svg_as_text():
    one = rich.Shown(
        "step 'a'", [rich.Bundle({"text/plain": b"a figure", "image/png": PNG, "image/svg+xml": b"<svg/>"})]
    )

    assert one._repr_mimebundle_() == {
        "text/plain": "a figure",
        "image/png": base64.b64encode(PNG).decode(),
        "image/svg+xml": "<svg/>",
    }
    assert (repr(one), one[0]["image/png"], len(one)) == ("a figure", PNG, 1)


def test_several_things_are_one_page_in_their_order_with_images_in_it():
    table = rich.Bundle({"text/plain": b"<a table>", "text/html": b"<b>bold</b>"})
    figure = rich.Bundle({"text/plain": b"<a figure>", "image/png": PNG})
    text = rich.Bundle({"text/plain": b"<script>"})

    page = rich.Shown("step 'a'", [table, figure, text])._repr_mimebundle_()

    encoded = base64.b64encode(PNG).decode()
    assert page["text/html"] == (
        "<div><b>bold</b></div>"
        f'<div><img alt="&lt;a figure&gt;" src="data:image/png;base64,{encoded}"></div>'
        "<div><pre>&lt;script&gt;</pre></div>"
    )
    assert page["text/plain"] == "<a table>\n<a figure>\n<script>"


def test_html_that_anybody_could_have_written_runs_nothing():
    bundle = rich.Bundle({"text/plain": b"", "text/html": b'<script>alert("1")</script>'}, framed=True)

    page = bundle._repr_mimebundle_()["text/html"]

    assert page.startswith('<iframe sandbox="" srcdoc="&lt;script&gt;alert(&quot;1&quot;)')
    assert bundle.as_html() == page


def test_one_cell_is_not_given_more_than_it_can_bear_and_the_rest_can_be_asked_for():
    many = rich.Shown("step 'a'", [rich.Bundle({"text/plain": b"%d" % n, "text/html": b"%d" % n}) for n in range(25)])
    large = rich.Shown("step 'a'", [rich.Bundle({"text/plain": b"", "text/html": b"h" * (6 << 20)})] * 4)

    assert many._repr_mimebundle_()["text/html"].endswith("<div>19</div><div>and 5 more, from [20] on</div>")
    assert repr(many[20:]) == "20\n21\n22\n23\n24"
    assert large._repr_mimebundle_()["text/html"].endswith("</div><div>and 2 more, from [2] on</div>")


def test_a_step_that_displayed_nothing_says_so():
    nothing = rich.Shown("step 'a' of run 1", [])

    assert nothing._repr_mimebundle_() == {"text/plain": "step 'a' of run 1 displayed nothing but text"}


def test_a_drawing_that_anybody_could_have_written_is_an_image():
    svg = b'<svg onload="alert(1)"/>'
    bundle = rich.Bundle({"text/plain": b"a drawing", "image/svg+xml": svg}, framed=True)

    encoded = base64.b64encode(svg).decode()
    assert bundle._repr_mimebundle_() == {
        "text/plain": "a drawing",
        "text/html": f'<img alt="a drawing" src="data:image/svg+xml;base64,{encoded}">',
    }
