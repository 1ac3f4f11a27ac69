"""Test the recogniser of speech, with sentences that espeak-ng speaks."""

import subprocess
import wave
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from retention.errors import BadInput, Refused
from retention.progress import silent as silent_progress
from retention.texts import calls, speech

SENTENCE = "retrain the recommendation model"  # heard exactly in both speeds
SPEEDS = (130, 175)  # words a minute


def voice(test):
    """Mark a test of the recogniser, which needs the extra: make test-voice."""
    missing = pytest.mark.skipif(speech.moonshine_voice is None, reason="make test-voice")
    return pytest.mark.voice(missing(test))


def spoken(folder: Path, text: str, speed: int) -> Path:
    path = folder / "said.wav"
    command = ["espeak-ng", "-v", "en-us", "-s", str(speed), "-w", str(path), text]
    subprocess.run(command, check=True)
    return path


def write(path: Path, sound: np.ndarray, rate: int = speech.RATE, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(sound.astype("<i2").tobytes())
    return path


def tone(seconds: float, rate: int = speech.RATE) -> np.ndarray:
    return 8_000 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)


@voice
@pytest.mark.parametrize("speed", SPEEDS)
def test_spoken_sentence_is_heard(tmp_path, speed):
    heard = speech.recognise(spoken(tmp_path, SENTENCE, speed))
    assert heard.lower().strip(".") == SENTENCE


@voice
def test_long_recording_is_cut_between_words(tmp_path):
    """The repeats take longer than one piece."""
    path = spoken(tmp_path, ". ".join([SENTENCE] * 24), SPEEDS[0])
    heard = speech.recognise(path, speech.MAX_CALL_SECONDS).lower()
    assert heard.count("recommendation model") >= 22
    with pytest.raises(BadInput, match="30 seconds"):
        speech.recognise(path)


@voice
def test_recorded_calls_become_texts(tmp_path):
    path = tmp_path / "c0001_2025-03-04_14-30.wav"
    spoken(tmp_path, "the parcel came late", SPEEDS[0]).rename(path)
    silent = write(tmp_path / "c0002_2025-03-05.wav", np.zeros(5 * speech.RATE))
    rows = calls.transcribe_calls([path, silent], ZoneInfo("Europe/Berlin"), silent_progress)
    assert rows.customer_id.tolist() == ["c0001", "c0002"]
    assert rows.occurred_at.tolist() == ["2025-03-04T14:30:00+01:00", "2025-03-05T00:00:00+01:00"]
    assert "late" in rows.text[0]
    assert (rows.text[1], bool(rows.fault[1])) == ("", True)


@voice
@pytest.mark.parametrize("name", ["said.mp3", "said.m4a", "said.ogg"])
def test_other_formats_are_converted(tmp_path, name):
    path = spoken(tmp_path, SENTENCE, 130)
    other = tmp_path / name
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(path), str(other)], check=True)
    assert speech.recognise(other).lower().strip(".") == SENTENCE


@voice
def test_noise_is_no_sentence(tmp_path):
    noise = np.random.default_rng(1).normal(0, 3_000, 5 * speech.RATE)
    assert speech.recognise(write(tmp_path / "noise.wav", noise)) == ""
    assert speech.recognise(write(tmp_path / "tone.wav", tone(5))) == ""


@voice
@pytest.mark.parametrize(
    "path",
    [
        lambda folder: write(folder / "silent.wav", np.zeros(5 * speech.RATE)),
        lambda folder: write(folder / "empty.wav", np.zeros(0)),
        lambda folder: write(folder / "long.wav", tone(600)),
    ],
    ids=["silent", "empty", "ten minutes"],
)
def test_recording_that_cannot_be_a_command_is_refused(tmp_path, path):
    with pytest.raises(BadInput):
        speech.recognise(path(tmp_path))


@voice
@pytest.mark.parametrize("content", [b"", b"RIFF", b"#EXTM3U\nhttp://127.0.0.1/x\n", b"\x00" * 99])
def test_broken_recording_is_refused(tmp_path, content):
    path = tmp_path / "said.m4a"
    path.write_bytes(content)
    with pytest.raises(BadInput):
        speech.recognise(path)


def test_without_the_recogniser_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(speech, "moonshine_voice", None)
    with pytest.raises(Refused, match=r"retention-desk\[voice\]"):
        speech.recognise(tmp_path / "said.wav")


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2), (8_000, 1)])
def test_wav_becomes_16_khz_in_one_channel(tmp_path, rate, channels):
    sound = np.repeat(tone(1, rate), channels)
    samples = speech.samples(write(tmp_path / "said.wav", sound, rate, channels), 30)
    assert samples.dtype == np.int16
    assert len(samples) == pytest.approx(speech.RATE, abs=2)
    assert np.abs(samples[2_000:-2_000]).max() == pytest.approx(8_000, rel=0.05)


def test_other_format_without_ffmpeg_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(speech.shutil, "which", lambda name: None)
    path = tmp_path / "said.mp3"
    path.write_bytes(b"ID3")
    with pytest.raises(BadInput):
        speech.samples(path, 30)


def test_long_sound_is_cut_where_it_is_quietest():
    sound = tone(75).astype(np.int16)
    gaps = [25 * speech.RATE, 50 * speech.RATE]
    for gap in gaps:
        sound[gap : gap + speech.RATE // 5] = 0
    parts = speech.pieces(sound)
    assert np.array_equal(np.concatenate(parts), sound)
    ends = np.cumsum([len(part) for part in parts])[:-1]
    assert [abs(end - gap) <= speech.RATE // 5 for end, gap in zip(ends, gaps, strict=True)] == [
        True,
        True,
    ]


@pytest.mark.parametrize("name", ["call.wav", "c0001_2025-13-01.wav", "c0001_2025-03-04_25-00.wav"])
def test_call_that_names_no_customer_and_time_is_refused(tmp_path, name):
    with pytest.raises(BadInput, match=name):
        calls.transcribe_calls([tmp_path / name], ZoneInfo("UTC"), silent_progress)
