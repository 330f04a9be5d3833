"""Signals as arrays: channels by name, rates, units, gaps, and windows."""

import numpy as np
import pytest

from osler.errors import InputError
from osler.record import Case, Signal
from osler.tasks.case_input import CaseInput, encode_input, example_input, run_input
from osler.tasks.signal_input import SignalInput, encoded_signal, windows
from osler.tasks.task import Sample

RATE, SECONDS = 200.0, 4.0


def case(array, *, rate=RATE, channels=("II", "V1"), units=("mV", "mV")):
    return Case("c1", "p1", {"ecg": Signal("ecg", np.asarray(array), rate, channels, units)})


def waves(rate=RATE, seconds=SECONDS):
    time = np.arange(round(rate * seconds)) / rate
    return np.stack([np.sin(2 * np.pi * 3 * time), 2 + np.cos(2 * np.pi * 5 * time)])


def wanted(**said):
    plain = {"channels": ["II", "V1"], "rate": RATE, "seconds": SECONDS, "scale": "units"}
    return SignalInput.model_validate({**plain, **said})


def test_channels_come_in_the_order_of_their_names():
    array, present, length = encoded_signal(case(waves()), wanted(channels=["v1", "II"]))
    np.testing.assert_allclose(array, waves()[::-1], atol=1e-6)
    assert present.tolist() == [1, 1]
    assert length == 800


@pytest.mark.parametrize("rate", [100.0, 128.0, 360.0])
def test_another_rate_keeps_the_wave(rate):
    array, _, length = encoded_signal(case(waves()), wanted(rate=rate))
    time = np.arange(length) / rate
    inner = slice(int(rate * 0.5), int(rate * 3.5))  # the filter's ends are another matter
    exact = np.sin(2 * np.pi * 3 * time)
    np.testing.assert_allclose(array[0, :length][inner], exact[inner], atol=0.01)


def test_what_lies_above_half_the_new_rate_is_gone():
    time = np.arange(800) / RATE
    fast = np.sin(2 * np.pi * 70 * time)
    array, _, length = encoded_signal(case([fast, fast]), wanted(rate=50.0))
    assert np.abs(array[0, 20 : length - 20]).max() < 0.02


def test_units_of_voltage_are_converted_and_others_refused():
    micro = case(waves() * 1000, units=("uV", "mV"))
    array, *_ = encoded_signal(micro, wanted())
    np.testing.assert_allclose(array[0], waves()[0], atol=1e-5)
    with pytest.raises(InputError, match="is in 'mmHg', not 'mV'"):
        encoded_signal(case(waves(), units=("mV", "mmHg")), wanted())
    encoded_signal(case(waves(), units=("mV", "mmHg")), wanted(units=None))


def test_z_scores_are_of_the_channel():
    array, *_ = encoded_signal(case(waves()), wanted(scale="z-score"))
    for made, raw in zip(array, waves(), strict=True):
        np.testing.assert_allclose(made, (raw - raw.mean()) / raw.std(), atol=1e-5)
    flat, *_ = encoded_signal(case(np.ones((2, 800))), wanted(scale="z-score"))
    assert (flat == 0).all()


def test_a_channel_that_is_lacking_is_refused_or_absent():
    with pytest.raises(InputError, match=r"lacks the channel 'aVR'; it has II, V1"):
        encoded_signal(case(waves()), wanted(channels=["II", "aVR"]))
    array, present, _ = encoded_signal(
        case(waves()), wanted(channels=["II", "aVR"], lacking="absent")
    )
    assert present.tolist() == [1, 0]
    assert (array[1] == 0).all()
    with pytest.raises(InputError, match="none of the channels"):
        encoded_signal(case(waves()), wanted(channels=["aVR"], lacking="absent"))


def test_a_short_gap_is_bridged_and_a_long_one_refused():
    line = np.linspace(0, 1, 800)
    holed = np.stack([line, line])
    holed[0, 100:120] = np.nan
    array, *_ = encoded_signal(case(holed), wanted(bridge=0.1))
    np.testing.assert_allclose(array[0], line, atol=1e-6)
    with pytest.raises(InputError, match=r"0\.10 s at a stretch"):
        encoded_signal(case(holed), wanted(bridge=0.05))


def test_two_channels_of_one_name_are_refused():
    with pytest.raises(InputError, match="2 channels called 'II'"):
        encoded_signal(case(waves(), channels=("II", "II")), wanted(channels=["II"]))


@pytest.mark.parametrize(("length", "samples"), [(5, 10), (10, 10), (11, 10), (35, 10), (1000, 7)])
def test_windows_cover_every_sample(length, samples):
    begins = windows(length, samples)
    seen = np.zeros(max(length, samples), bool)
    for begin in begins:
        assert begin + samples <= len(seen)
        seen[begin : begin + samples] = True
    assert seen.all()
    assert len(begins) == max(1, int(np.ceil(length / samples)))


def test_a_short_recording_is_filled_up_and_its_end_told():
    said = CaseInput(signal=wanted(seconds=6.0))
    inputs = encode_input(case(waves()), said)
    assert inputs["signal"].shape == (2, 1200)
    assert inputs["length"].tolist() == [800]
    assert (inputs["signal"][:, 800:] == 0).all()


def test_a_long_recording_is_taught_by_windows_and_read_whole():
    said = CaseInput(signal=wanted(seconds=1.5))
    sample = Sample("c1", "p1", encode_input(case(waves()), said))
    rng = np.random.default_rng(1)
    for _ in range(20):
        window = example_input(sample.inputs, said, rng)
        assert window["signal"].shape == (2, 300)
        assert window["length"].tolist() == [300]
        ahead = np.correlate(sample.inputs["signal"][0], window["signal"][0]).argmax()
        assert np.allclose(sample.inputs["signal"][:, ahead : ahead + 300], window["signal"])

    def predict(inputs):
        return {"scores": inputs["signal"].mean(axis=2)}

    out = run_input(predict, sample, said)["scores"]
    slow = np.mean([sample.inputs["signal"][:, b : b + 300].mean(1) for b in (0, 250, 500)], axis=0)
    np.testing.assert_allclose(out, slow, rtol=1e-5)


def test_an_image_and_a_signal_are_alternatives():
    with pytest.raises(ValueError, match="alternatives"):
        CaseInput.model_validate({"image": {"size": [8, 8]}, "signal": wanted().model_dump()})
    with pytest.raises(ValueError, match="one of image, signal and table"):
        CaseInput()
