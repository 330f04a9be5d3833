"""Tools over a case: what they measure is so, and what they refuse stays refused."""

import contextlib
import json

import numpy as np
import pytest
from asked_case import BUNDLE, asked_case
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.language.tools import MOST_CALLS, MOST_GIVEN, Toolbox, ToolError
from osler.record import Case, Image, Label, Mask, Text


def test_distance_is_between_centres_in_pixels_and_in_disc_diameters() -> None:
    tools = Toolbox(asked_case())
    said = tools.call("measure", {"what": "distance", "of": "disc", "to": "fovea"})
    assert said.values["value"] == pytest.approx(120.0)
    assert said.values["unit"] == "[pix_i]"
    assert said.values["disc_diameters"] == pytest.approx(3.0)
    assert set(said.evidence) == {"disc", "fovea", "disc-diameter"}


def test_distance_between_edges_ends_at_the_rim() -> None:
    tools = Toolbox(asked_case())
    said = tools.call("measure", {"what": "distance", "of": "disc", "to": "fovea", "edges": True})
    assert said.values["value"] == pytest.approx(100.0)  # the radius of 20 less
    inside = tools.call(
        "measure", {"what": "distance", "of": "disc", "to": [100.0, 225.0], "edges": True}
    )
    assert inside.values["value"] == 0


def test_lengths_are_millimetres_where_the_file_states_a_scale() -> None:
    case = asked_case()
    photo = case.image("photo")
    case.items["photo"] = Image("photo", photo.array, spacing=(0.02, 0.01))
    tools = Toolbox(case)
    said = tools.call("measure", {"what": "distance", "of": [0.0, 0.0], "to": [30.0, 80.0]})
    assert said.values["value"] == pytest.approx(np.hypot(0.6, 0.8))
    assert said.values["unit"] == "mm"
    area = tools.call("measure", {"what": "area", "of": "haemorrhages"})
    assert (area.values["value"], area.values["unit"]) == (pytest.approx(24 * 2e-4), "mm2")


def test_areas_and_the_largest_part_are_counted() -> None:
    case = asked_case()
    mask = case["haemorrhages"].mask  # type: ignore[union-attr]
    mask[60:70, 10:20] = True
    tools = Toolbox(case)
    assert tools.call("measure", {"what": "area", "of": "haemorrhages"}).values["value"] == 124
    largest = tools.call("measure", {"what": "largest", "of": "haemorrhages"}).values
    assert (largest["value"], largest["at"], largest["of"]) == (100, [64.5, 14.5], 3)
    round_ = tools.call("measure", {"what": "diameter", "of": "disc"}).values
    assert round_["value"] == pytest.approx(40, abs=0.3)


def test_sectors_are_seen_from_the_fovea_with_the_disc_on_the_nasal_side() -> None:
    said = Toolbox(asked_case()).call("measure", {"what": "where", "of": "haemorrhages"})
    # the disc lies at higher columns: nasal; the two lie above at columns 81.5 and 101.5
    assert said.values["sectors"] == {"superior-temporal": 1, "superior-nasal": 1}


def test_a_volume_is_measured_in_millilitres() -> None:
    case = Case("ct", items={"ct": Image("ct", np.zeros((1, 10, 10, 10)), spacing=(5.0, 2.0, 2.0))})
    mask = np.zeros((10, 10, 10), bool)
    mask[2:6, 2:7, 2:7] = True
    case.add(Mask(id="liver", name="Liver", source=BUNDLE, item="ct", mask=mask))
    said = Toolbox(case).call("measure", {"what": "area", "of": "liver"}).values
    assert (said["value"], said["unit"]) == (pytest.approx(2.0), "mL")
    with pytest.raises(ToolError, match="volume"):
        Toolbox(case).call("measure", {"what": "largest", "of": "liver"})


def test_a_crop_shows_the_finding_and_is_bounded() -> None:
    case = asked_case()
    said = Toolbox(case).call("crop", {"of": "haemorrhages"})
    h0, w0, h1, w1 = said.values["box"]
    assert said.image is not None
    assert np.array_equal(said.image, case.image("photo").array[:, h0:h1, w0:w1])
    assert h0 <= 40
    assert 43 <= h1 <= 200
    assert w0 <= 80
    case.items["photo"] = Image("photo", np.zeros((3, 3000, 2000), np.uint8))
    whole = Toolbox(case).call("crop", {"box": [0, 0, 99999, 99999]})
    assert whole.image is not None
    assert max(whole.image.shape) <= 512
    with pytest.raises(ToolError, match="outside"):
        Toolbox(case).call("crop", {"box": [5000, 0, 6000, 10]})


def test_grey_values_of_any_range_are_shown_in_eight_bits() -> None:
    case = Case("x", items={"ct": Image("ct", np.linspace(-1000, 3000, 64).reshape(1, 8, 8))})
    said = Toolbox(case).call("crop", {"box": [0, 0, 8, 8]}).image
    assert said is not None
    assert (said.shape, said.dtype, said.min(), said.max()) == ((3, 8, 8), np.uint8, 0, 255)


def test_visits_are_compared_with_both_values() -> None:
    then = asked_case(grade="0", haemorrhages=0, day=1)
    tools = Toolbox(asked_case(grade="3", day=11), earlier=then)
    said = tools.call("compare_visits").values
    rows = {row["id"]: row for row in said["changes"]}
    assert said["days"] == 10
    assert (rows["dr-grade"]["before"][0], rows["dr-grade"]["now"][0]) == ("0", "3")
    assert rows["dr-grade"]["changed"] is False  # both leave 3 open
    assert rows["lesion-count.haemorrhages"]["difference"] == 2
    assert rows["lesion-count.haemorrhages"]["changed"] is None  # repeatability is not known


def test_visits_of_other_patients_eyes_or_order_are_refused() -> None:
    now = asked_case(day=11)
    for then in (asked_case(patient="OTHER-1"), asked_case(side="L"), asked_case(day=20)):
        with pytest.raises(ToolError) as error:
            Toolbox(now, earlier=then).call("compare_visits")
        assert "OTHER" not in str(error.value)
        assert "MRN" not in str(error.value)


def test_a_change_beyond_repeatability_is_one() -> None:
    from osler.language.visits import changes

    found = changes(
        asked_case(haemorrhages=9, day=11), asked_case(haemorrhages=2, day=1),
        repeatability={"lesion-count.haemorrhages": 5.0, "cdr.vertical": 0.1},
    )  # fmt: skip
    said = {one.id: one.changed for one in found}
    assert said["lesion-count.haemorrhages"] is True
    assert said["cdr.vertical"] is False


def test_quoted_texts_lose_the_people_in_them_unless_identity_is_asked_for() -> None:
    case = asked_case(text="Adaeze Okonkwo, MRN-4471209: no haemorrhage on 3 March 2026.")
    hidden = Toolbox(case).call("read_text", {"name": "report"}).values["quoted"]
    shown = Toolbox(case, identity=True).call("read_text", {"name": "report"}).values["quoted"]
    for word in ("Okonkwo", "Adaeze", "4471209"):
        assert word not in hidden
        assert word in shown
    assert "no haemorrhage" in hidden
    with pytest.raises(ToolError, match="who the patient is"):
        Toolbox(case).call("read_table", {"name": "table", "variable": "patient_name"})
    assert Toolbox(case).call("read_table", {"name": "table", "variable": "HbA1c"}).values == {
        "variable": "HbA1c", "value": 7.2, "unit": "%",
    }  # fmt: skip


def test_a_name_that_a_page_cuts_is_taken_out_too() -> None:
    case = asked_case(text="x " * 30 + "Okonkwo " + "y " * 30)
    for start in range(55, 70):
        said = Toolbox(case).call("read_text", {"name": "report", "start": start, "count": 5})
        assert not set("Oknw") & set(said.values["quoted"].replace("[NAME]", ""))


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("shell", {"command": "id"}),
        ("read_text", {"name": "../../etc/passwd"}),
        ("read_text", {"name": "photo"}),
        ("get_finding", {"id": "disc", "path": "/etc/passwd"}),
        ("measure", {"what": "distance", "of": "disc"}),
        ("measure", {"what": "distance", "of": [1e400, 0.0], "to": "disc"}),
        ("measure", {"what": "explode", "of": "disc"}),
        ("measure", {"what": "area", "of": "soft-exudates-of-mars"}),
        ("measure", {"what": "where", "of": "soft-exudates"}),
        ("list_findings", {"count": 10**9}),
        ("list_findings", {"count": "10"}),
        ("crop", {"of": "disc", "box": [0, 0, 1, 1]}),
        ("crop", {"of": "soft-exudates"}),
        ("search", {"words": "anything"}),
        ("compare_visits", {}),
        ("call", {}),
        ("__class__", {}),
    ],
)
def test_what_no_tool_does_is_refused(tool: str, arguments: dict) -> None:
    with pytest.raises(ToolError) as error:
        Toolbox(asked_case(text="words")).call(tool, arguments)
    assert "passwd" not in str(error.value)


def test_calls_and_what_they_give_are_bounded() -> None:
    case = asked_case(text="long " * 400_000)
    for number in range(300):
        case.add(Label(id=f"label-{number}", name="\u202e\x07" + "n" * 5000, source=BUNDLE,
                       value="v" * 5000))  # fmt: skip
    tools = Toolbox(case)
    for tool, arguments in (
        ("list_findings", {"count": 40}), ("get_finding", {"id": "label-7"}),
        ("read_text", {"name": "report", "count": 3000}), ("list_items", {}),
    ):  # fmt: skip
        text = tools.call(tool, arguments).as_text()
        assert len(text) <= MOST_GIVEN + 20
        assert "\u202e" not in text
        assert "\x07" not in text
    while len(tools.calls) < MOST_CALLS:
        tools.call("list_items")
    with pytest.raises(ToolError, match="calls"):
        tools.call("list_items")


def test_schemas_are_json_and_leave_out_what_is_not_at_hand() -> None:
    names = {one["name"] for one in json.loads(json.dumps(Toolbox(asked_case()).schemas()))}
    assert "measure" in names
    assert not {"search", "compare_visits"} & names
    found = Toolbox(asked_case(), search=lambda words, count: [{"name": words, "score": 1.0}] * 50)
    assert (
        found.call("search", {"words": "drusen", "count": 3}).values["found"]
        == [{"name": "drusen", "score": 1.0}] * 3
    )


@settings(max_examples=60)
@given(
    st.sampled_from([*Toolbox.TOOLS, "x"]),
    st.dictionaries(
        st.sampled_from(["id", "of", "to", "what", "box", "name", "count", "start", "about", "x"]),
        st.one_of(st.text(max_size=20), st.integers(), st.floats(), st.none(),
                  st.sampled_from(["disc", "fovea", "distance", "area", "report"]),
                  st.lists(st.integers() | st.floats(), max_size=5)),
    ),
)  # fmt: skip
def test_whatever_is_asked_only_a_tool_error_comes_of_it(tool: str, arguments: dict) -> None:
    with contextlib.suppress(ToolError):
        Toolbox(CASE).call(tool, arguments)


CASE = asked_case(text="some words")
CASE.items["other"] = Text("other", "")
