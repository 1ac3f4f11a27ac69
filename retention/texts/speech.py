"""Recognise spoken sentences without a network.

The recogniser chooses one of `sentences`, or none. Free speech is beyond it: with its own language
model it heard none of 20 spoken commands exactly (docs/crm/voice.md).
"""

import shutil
import subprocess
import wave
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from retention.errors import BadInput, Refused
from retention.text import gettext

try:
    from pocketsphinx import Decoder
except ImportError:  # the extra `voice`
    Decoder = None

RATE = 16_000  # samples a second that the acoustic model was trained on
MAX_SECONDS = 30  # of a sentence
QUIET = 0.003  # root mean square of a recording without speech; full scale is 1
CONVERSION_SECONDS = 30
_SENTENCES = Path(__file__).with_name("spoken.txt")


def sentences() -> tuple[str, ...]:
    """Return the sentences that are recognised, in small letters without punctuation."""
    lines = _SENTENCES.read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


def recognise(path: Path) -> str:
    """Return the sentence of a recording, or an empty text if it is none of `sentences`.

    Raises `BadInput`: it is silent, too long, or no sound. `Refused`: the extra is missing.
    """
    if Decoder is None:
        message = gettext(
            "I cannot hear here: Slack gave no text, and the recogniser is not installed. Type "
            "it, or ask an operator to run: pip install 'retention-desk[voice]'"
        )
        raise Refused(message)
    sound = samples(path)
    if len(sound) > MAX_SECONDS * RATE:
        message = gettext("A spoken command may take {seconds} seconds; say it in fewer words.")
        raise BadInput(message.format(seconds=MAX_SECONDS))
    if not len(sound) or np.sqrt(np.mean(np.square(sound / 2**15))) < QUIET:
        raise BadInput(gettext("I heard nothing in this recording; speak closer, or type it."))
    known = sentences()
    grammar = f"#JSGF V1.0; grammar desk; public <sentence> = {' | '.join(known)};"
    # Without fillers between words it heard 92 of 100 spoken sentences, with them 40.
    decoder = Decoder(samprate=RATE, lm=None, loglevel="FATAL", cmn="batch", fsgusefiller=False)
    decoder.add_jsgf_string("desk", grammar)
    decoder.activate_search("desk")
    decoder.start_utt()
    decoder.process_raw(sound.tobytes(), full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    # An unfinished path through the grammar is returned, too: it is no whole sentence.
    return found.hypstr if found and found.hypstr in known else ""


def samples(path: Path) -> "np.ndarray[tuple[int], np.dtype[np.int16]]":
    """Return a recording's samples: 16 bit, 16 kHz, one channel, a little over `MAX_SECONDS`."""
    try:
        return _wav(path)
    except (wave.Error, EOFError, ValueError):
        if shutil.which("ffmpeg") is None:
            message = gettext("I read WAV here; an operator can install ffmpeg for other formats.")
            raise BadInput(message) from None
        return _converted(path)


def _wav(path: Path) -> "np.ndarray[tuple[int], np.dtype[np.int16]]":
    with wave.open(str(path)) as file:
        rate, channels = file.getframerate(), file.getnchannels()
        if file.getsampwidth() != 2 or not 8_000 <= rate <= 96_000:
            raise wave.Error
        frames = file.readframes((MAX_SECONDS + 1) * rate)
    sound = np.frombuffer(frames, "<i2").reshape(-1, channels).mean(axis=1)
    if rate != RATE:
        common = np.gcd(rate, RATE)
        sound = resample_poly(sound, RATE // common, rate // common)
    return np.clip(np.rint(sound), -(2**15), 2**15 - 1).astype("<i2")


def _converted(path: Path) -> "np.ndarray[tuple[int], np.dtype[np.int16]]":
    """Convert by ffmpeg, which may open nothing but this file."""
    command = [
        *("ffmpeg", "-nostdin", "-v", "error", "-protocol_whitelist", "file,pipe"),
        *("-format_whitelist", "wav,mp3,mov,matroska,ogg,flac,aac"),  # no list of other files
        *("-i", f"file:{path}", "-vn", "-t", str(MAX_SECONDS + 1)),
        *("-f", "s16le", "-ar", str(RATE), "-ac", "1", "pipe:1"),
    ]
    try:
        done = subprocess.run(command, capture_output=True, timeout=CONVERSION_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        done = None
    if done is None or done.returncode or not done.stdout:
        raise BadInput(gettext("This recording is broken or no sound; record it again, please."))
    return np.frombuffer(done.stdout[: len(done.stdout) // 2 * 2], "<i2")
