"""Test the recogniser of spoken sentences, with sentences that espeak-ng speaks."""

import subprocess
import wave
from pathlib import Path

import numpy as np
import pytest

from retention.errors import BadInput, Refused
from retention.texts import speech

# Every second sentence of the list, so that none was chosen for its result.
COMMANDS = speech.sentences()[::2][:20]
# Sentences for `ask` that are not in the list (tests/benchmarks/sentences/report.txt).
OTHERS = (
    "list everyone who might leave us",
    "who might leave among those who bought pasta",
    "churn risk by customer",
    "run a sweep for medium risk and above",
    "tell me which customers i should worry about",
    "please draft a campaign for these customers",
    "revenue at risk",
    "set the discount to ten percent",
    "draft fifteen percent off",
    "the first hundred customers at risk",
    "who approved this",
    "erase this customer",
)
SPEEDS = (130, 175)  # words a minute


def voice(test):
    """Mark a test of the recogniser, which needs the extra: make test-voice."""
    missing = pytest.mark.skipif(speech.Decoder is None, reason="make test-voice")
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
def test_spoken_sentences_of_the_list_are_heard_or_refused(tmp_path, speed):
    heard = [speech.recognise(spoken(tmp_path, text, speed)) for text in COMMANDS]
    exact = sum(one == text for one, text in zip(heard, COMMANDS, strict=True))
    misread = [pair for pair in zip(COMMANDS, heard, strict=True) if pair[1] not in ("", pair[0])]
    print(f"{speed} words a minute: {exact} of {len(COMMANDS)} exact, misread: {misread}")
    assert exact >= 15  # another version of espeak-ng speaks differently
    assert not misread


@voice
@pytest.mark.parametrize("speed", SPEEDS)
def test_most_other_sentences_are_refused(tmp_path, speed):
    heard = [speech.recognise(spoken(tmp_path, text, speed)) for text in OTHERS]
    print(f"{speed} words a minute: {sum(map(bool, heard))} of {len(OTHERS)} others: {heard}")
    assert sum(map(bool, heard)) <= len(OTHERS) / 2


@voice
@pytest.mark.parametrize("name", ["said.mp3", "said.m4a", "said.ogg"])
def test_other_formats_are_converted(tmp_path, name):
    path = spoken(tmp_path, "is the model still good", 130)
    other = tmp_path / name
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(path), str(other)], check=True)
    assert speech.recognise(other) == "is the model still good"


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
    monkeypatch.setattr(speech, "Decoder", None)
    with pytest.raises(Refused, match=r"retention-desk\[voice\]"):
        speech.recognise(tmp_path / "said.wav")


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2), (8_000, 1)])
def test_wav_becomes_16_khz_in_one_channel(tmp_path, rate, channels):
    sound = np.repeat(tone(1, rate), channels)
    samples = speech.samples(write(tmp_path / "said.wav", sound, rate, channels))
    assert samples.dtype == np.int16
    assert len(samples) == pytest.approx(speech.RATE, abs=2)
    assert np.abs(samples[2_000:-2_000]).max() == pytest.approx(8_000, rel=0.05)


def test_other_format_without_ffmpeg_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(speech.shutil, "which", lambda name: None)
    path = tmp_path / "said.mp3"
    path.write_bytes(b"ID3")
    with pytest.raises(BadInput):
        speech.samples(path)
